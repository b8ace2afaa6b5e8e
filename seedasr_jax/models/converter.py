"""Converters: splice K encoder frames into one token of the LLM's width (Seed-ASR section 3.3).

Dims: B batch, T frames, D encoder width, K splice, U = ceil(T / K) tokens, E LLM width.
"""

from flax import nnx
import jax
import jax.numpy as jnp

from seedasr_jax import shapes
from seedasr_jax.models.layers import Dense, gelu
from seedasr_jax.parallel import layout

ACTIVATIONS = {"gelu": gelu, "relu": jax.nn.relu, "silu": jax.nn.silu}


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
        x = spliced(x, length, self.splice)
        length = self.tokens(length, self.splice)
        return shapes.zero_padding(self.project(x), length), length


class Mlp(nnx.Module):
    """Splice, linear layer, activation, linear layer, as in Qwen3-ASR (without splicing there)."""

    tokens = staticmethod(lambda frames, splice, **_: Converter.tokens(frames, splice))

    def __init__(self, frame_width, token_width, *, splice, hidden, activation, dtype, rngs):
        self.splice, self.activation = splice, ACTIVATIONS[activation]
        options = dict(bias=True, dtype=dtype, rngs=rngs)
        self.first = Dense(splice * frame_width, hidden, ("embed", "mlp"), **options)
        self.second = Dense(hidden, token_width, ("mlp", "embed"), **options)

    def __call__(self, x, length):
        """As Converter."""
        x = self.first(spliced(x, length, self.splice))
        length = Converter.tokens(length, self.splice)
        return shapes.zero_padding(self.second(layout.hidden(self.activation(x))), length), length


def spliced(x, length, splice):
    """[B T D], [B] int32 valid frames -> [B U K*D], zero at padding."""
    dims = shapes.check(x, "B T D")
    shapes.check(length, "B", dims)
    x = shapes.zero_padding(x, length)
    # Padded, not cut: a lost tail is a lost word.
    x = jnp.pad(x, ((0, 0), (0, -dims["T"] % splice), (0, 0)))
    return x.reshape(dims["B"], -1, splice * dims["D"])
