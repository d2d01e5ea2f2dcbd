"""Shared by all packages: environment, requests, token spans, resources, observers, random streams, tables."""
