"""Parts of a workload specification: settings classes that know neither how traffic is generated nor how it is sent."""
