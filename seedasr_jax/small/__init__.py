"""Departures from the paper for models that train on a laptop; off unless a recipe imports them.

A recipe imports them by `c.imports = ("seedasr_jax.small",)`: kinds are registered with their
options, without JAX, and parts and objectives at the first lookup of one.
"""

from seedasr_jax import config
from seedasr_jax.small import options

__all__ = ["options"]

_OBJECTIVES = ("clocked_ctc", "copying_lm", "dense_ssl")
config.import_later("seedasr_jax.small.models.parts")
config.import_later(*(f"seedasr_jax.small.objectives.{name}" for name in _OBJECTIVES))
