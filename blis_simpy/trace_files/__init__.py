"""Workload traces in files: TraceV2 and the formats of other programs."""
