"""Workloads: arrivals and lengths of requests, their clients and sessions, and the processes that send them."""
