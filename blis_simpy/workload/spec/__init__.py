"""Parts of a workload specification: settings classes, which know neither the generator nor the processes."""
