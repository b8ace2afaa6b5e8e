"""Models of the small recipes, built on seedasr_jax/models and reached through registries."""
