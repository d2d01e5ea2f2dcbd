"""Facts that a simulation rests on: models, GPUs, coefficients, presets, and the KV capacity that follows from them."""
