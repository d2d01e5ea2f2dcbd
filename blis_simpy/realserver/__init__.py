"""Sends a workload to a real server over HTTP, and records its responses as a workload trace."""
