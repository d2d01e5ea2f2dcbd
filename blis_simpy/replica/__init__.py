"""Replicas: process, wait queue, running batch, engine and KV stores."""
