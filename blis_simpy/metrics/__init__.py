"""Figures of a run, from requests and steps."""
