"""One inference engine: queue, batch, KV cache and the process that steps it."""
