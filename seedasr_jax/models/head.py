"""Head: a linear layer from encoder frames to pieces, of which one is CTC's blank, or to codes.

Dims: B batch, T frames, D encoder width, V classes: pieces or codes.
"""

from flax import nnx
import jax.numpy as jnp

from seedasr_jax import shapes
from seedasr_jax.models.layers import Dense, mask_surplus, padded_vocabulary


class Head(nnx.Module):
    """[B T D] -> [B T V] float32 logits, shapes.NEVER at padding of the classes."""

    def __init__(self, width, classes, *, dtype, rngs):
        self.classes = classes
        options = dict(bias=True, dtype=dtype, rngs=rngs, out=jnp.float32)
        self.project = Dense(width, padded_vocabulary(classes), ("width", "vocab"), **options)

    def __call__(self, x):
        shapes.check(x, "B T D")
        return mask_surplus(self.project(x), self.classes)
