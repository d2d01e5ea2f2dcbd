"""Results of a run: tables, metrics, summaries and their files."""
