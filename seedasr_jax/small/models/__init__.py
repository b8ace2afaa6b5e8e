"""Models that are ours: they stand with seedasr_jax/models."""
