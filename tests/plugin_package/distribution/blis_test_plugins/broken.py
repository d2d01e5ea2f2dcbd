"""A plug-in whose module cannot be imported."""

raise RuntimeError("no licence for this scheduler")
