"""Models of the small recipes, on the same floor as seedasr_jax/models."""
