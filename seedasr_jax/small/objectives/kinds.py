"""Registers the objectives of the small recipes."""

from seedasr_jax.small.objectives import clocked_ctc, copying_lm, dense_ssl

__all__ = ["clocked_ctc", "copying_lm", "dense_ssl"]
