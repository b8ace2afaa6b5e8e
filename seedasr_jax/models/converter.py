"""Converter: splices K encoder frames into one token of the LLM's width (Seed-ASR section 3.3).

Dims: B batch, T frames, D encoder width, K splice, U = ceil(T / K) tokens, E LLM width.
"""

from flax import nnx
import jax
import jax.numpy as jnp

from seedasr_jax import shapes
from seedasr_jax.models.layers import Dense


class Converter(nnx.Module):
    """Maps encoder frames [B T D] to LLM embeddings [B U E]: splice, then one linear layer."""

    def __init__(self, frame_width, token_width, *, splice, dtype, rngs):
        self.splice = splice
        axes = ("splice", "embed")
        self.project = Dense(splice * frame_width, token_width, axes, dtype=dtype, rngs=rngs)

    @staticmethod
    def tokens(frames, splice):
        """Number of tokens of `frames` frames; a partial splice counts as one."""
        return -(-frames // splice)

    def __call__(self, x: jax.Array, length: jax.Array) -> tuple[jax.Array, jax.Array]:
        """[B T D], [B] int32 valid frames -> [B U E], zero at padding, and [B] valid tokens."""
        dims = shapes.check(x, "B T D")
        shapes.check(length, "B", dims)
        x = shapes.zero_padding(x, length)
        # Padded, not cut: a lost tail is a lost word.
        x = jnp.pad(x, ((0, 0), (0, -dims["T"] % self.splice), (0, 0)))
        x = x.reshape(dims["B"], -1, self.splice * dims["D"])  # [B U K*D]
        length = self.tokens(length, self.splice)
        return shapes.zero_padding(self.project(x), length), length
