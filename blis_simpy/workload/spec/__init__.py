"""The workload specification: settings classes and their readers."""
