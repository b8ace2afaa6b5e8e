"""What is ours and not the paper's, for models that train on a laptop.

A recipe that uses any of it says `c.imports = ("seedasr_jax.small",)`: kinds are registered here
with their options, without JAX, and reached through the registries alone.
"""

from seedasr_jax.small import options

__all__ = ["options"]
