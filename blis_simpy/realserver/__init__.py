"""Send a workload to a real server over HTTP, and record what happens as a workload trace."""
