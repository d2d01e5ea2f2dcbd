"""How long an engine step takes."""
