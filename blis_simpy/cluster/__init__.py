"""Everything in front of the replicas: admission, routing, and what they know."""
