"""Results as files for other programs: tables, a timeline for Perfetto, metrics for Prometheus."""
