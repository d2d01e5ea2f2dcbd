"""Clusters: router, policies, snapshots, life cycle of replicas, nodes and decision log."""
