"""Importers: one module for each trace format of another program."""
