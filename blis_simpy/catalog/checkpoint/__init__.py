"""What a published checkpoint holds: its layers, caches and weights, read from its configuration files."""
