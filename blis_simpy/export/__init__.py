"""What a run found out, in files for other programs: tables, a timeline for Perfetto, metrics for Prometheus."""
