"""Departures from the paper for models that train on a laptop; off unless a recipe imports them.

A recipe imports them by `c.imports = ("seedasr_jax.small",)`: kinds are registered here with their
options, without JAX, and reached only through registries. Parts and objectives are registered at
the first lookup of one.
"""

from seedasr_jax import config
from seedasr_jax.small import options

__all__ = ["options"]

config.import_later("seedasr_jax.small.models.parts", "seedasr_jax.small.objectives.kinds")
