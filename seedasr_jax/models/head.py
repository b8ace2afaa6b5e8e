"""Head: a linear layer from encoder frames to pieces, of which one is CTC's blank, or to codes.

Dims: B batch, T frames, N = `each` labels per frame, D encoder width, V classes: pieces or codes.
"""

from flax import nnx
import jax.numpy as jnp

from seedasr_jax import shapes
from seedasr_jax.models.layers import Dense, mask_surplus, padded_vocabulary


class Head(nnx.Module):
    """[B T D] -> [B N*T V] float32 logits, shapes.NEVER at padding of the classes."""

    def __init__(self, width, classes, *, each=1, dtype, rngs):
        self.classes, self.each = classes, each
        options = dict(bias=True, dtype=dtype, rngs=rngs, out=jnp.float32)
        outputs = each * padded_vocabulary(classes)
        self.project = Dense(width, outputs, ("width", "vocab"), **options)

    def __call__(self, x):
        dims = shapes.check(x, "B T D")
        logits = self.project(x)
        if self.each > 1:
            logits = logits.reshape(dims["B"], self.each * dims["T"], -1)
        return mask_surplus(logits, self.classes)
