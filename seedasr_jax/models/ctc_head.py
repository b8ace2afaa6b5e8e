"""CTC head: one linear layer from encoder frames to pieces; the padding piece is the blank.

Dims: B batch, T frames, D encoder width, V vocabulary.
"""

from flax import nnx
import jax.numpy as jnp

from seedasr_jax import shapes
from seedasr_jax.models.layers import Dense, mask_surplus, padded_vocabulary


class CtcHead(nnx.Module):
    """[B T D] -> [B T V] float32 logits, shapes.NEVER at vocabulary padding."""

    def __init__(self, width, vocabulary, *, dtype, rngs):
        self.vocabulary = vocabulary
        rows = padded_vocabulary(vocabulary)
        options = dict(bias=True, dtype=dtype, rngs=rngs, out=jnp.float32)
        self.project = Dense(width, rows, ("width", "vocab"), **options)

    def __call__(self, x):
        shapes.check(x, "B T D")
        return mask_surplus(self.project(x), self.vocabulary)
