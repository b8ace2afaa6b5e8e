"""A decoder outside the package, for tests: `config.imports = ("outside_decoder",)`.

Its logits are capped softly, as in Gemma 2 (arXiv 2408.00118).
"""

import dataclasses

import jax.numpy as jnp

from seedasr_jax import config
from seedasr_jax.models.decoder import Decoder
from seedasr_jax.models.layers import mask_surplus


@config.register("capped", "outside_decoder:Capped")
@dataclasses.dataclass(frozen=True)
class Options(config.Transformer):
    """A transformer whose logits are between -cap and cap."""

    cap: float = config.above(0, 1e3)


class Capped(Decoder):
    """See Options."""

    def logits(self, x):
        """See decoders.Decoder."""
        cap = self.config.cap
        return mask_surplus(cap * jnp.tanh(super().logits(x) / cap), self.vocabulary)
