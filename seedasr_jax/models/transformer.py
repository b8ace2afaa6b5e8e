"""Transformer encoder block of Whisper (arXiv 2212.04356): pre-norm, GELU, no positions of its own.

Dims: B batch, T frames, D width, H heads, K head width.
"""

from flax import nnx
import jax.numpy as jnp

from seedasr_jax.models import kernels
from seedasr_jax.models.layers import Dense, LayerNorm, gelu
from seedasr_jax.parallel import layout


class SelfAttention(nnx.Module):
    """Bidirectional multi-head attention over valid frames."""

    def __init__(self, width, heads, *, key_bias, dtype, rngs):
        def dense(axes, bias=True):
            return Dense(width, width, axes, bias=bias, dtype=dtype, rngs=rngs)

        into = ("width", "encoder_heads")
        self.query, self.key, self.value = dense(into), dense(into, key_bias), dense(into)
        self.out = dense(("encoder_heads", "width"))
        self.heads = heads

    def __call__(self, x, valid):
        """[B T D], [B T] bool -> [B T D]."""

        def split(y):
            return layout.heads(y.reshape(*y.shape[:2], self.heads, -1))

        q, k, v = split(self.query(x)), split(self.key(x)), split(self.value(x))
        y = layout.heads(kernels.attend(q, k, v, valid[:, None]))
        return self.out(y.reshape(x.shape))


class EncoderBlock(nnx.Module):
    """x + attention(norm x), then x + feedforward(norm x)."""

    def __init__(self, config, *, key_bias, dtype, rngs):
        options = dict(dtype=dtype, rngs=rngs)
        self.attention_norm = LayerNorm(config.width, dtype=dtype)
        self.attention = SelfAttention(config.width, config.heads, key_bias=key_bias, **options)
        self.feedforward_norm = LayerNorm(config.width, dtype=dtype)
        options["bias"] = True
        self.up = Dense(config.width, config.ffn_dim, ("width", "encoder_mlp"), **options)
        self.down = Dense(config.ffn_dim, config.width, ("encoder_mlp", "width"), **options)

    def __call__(self, x, valid, per_layer=None):
        """[B T D] frames, [B T] bool valid ones -> ([B T D], None)."""
        del per_layer
        x = jnp.where(valid[..., None], x, 0)  # NaN times a weight of 0 is NaN
        y = self.attention(layout.all_positions(self.attention_norm(x)), valid)
        x = layout.residual(x + y)
        y = gelu(self.up(layout.all_positions(self.feedforward_norm(x))))
        return layout.residual(x + self.down(layout.hidden(y))), None


def flops(options, frames: int, keys: int) -> float:
    """FLOPs of one block over `frames` frames, each of which reads `keys`."""
    products = 4 * options.width**2 + 2 * options.width * options.ffn_dim
    return 2.0 * frames * (products + 2 * keys * options.width)


def positions(count: int, width: int, dtype):
    """[count width] sinusoids of Whisper: sines, then cosines, wavelengths up to 10,000 * 2 pi."""
    rates = 10_000.0 ** -(jnp.arange(width // 2, dtype=jnp.float32) / (width // 2 - 1))
    angles = jnp.arange(count, dtype=jnp.float32)[:, None] * rates[None]
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], -1).astype(dtype)
