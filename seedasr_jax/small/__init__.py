"""What is ours and not the paper's, for models that train on a laptop; off where nothing names it.

A recipe that uses any of it says `c.imports = ("seedasr_jax.small",)`: kinds are registered here
with their options, without JAX, and reached through the registries alone. Parts and objectives
register themselves when one is looked up.
"""

from seedasr_jax import config
from seedasr_jax.small import options

__all__ = ["options"]

config.import_later("seedasr_jax.small.models.parts", "seedasr_jax.small.objectives.kinds")
