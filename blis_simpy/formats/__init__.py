"""Files in and out: workload traces, and text files whole or not at all."""
