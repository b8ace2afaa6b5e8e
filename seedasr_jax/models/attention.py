"""Attention: relative positions for the encoder, RoPE (models/rope.py) for the decoder.

Dims: B batch, N queries, M keys, H heads, G key-value heads, K head width, T frames, R distances,
D encoder width, E decoder width.
"""

from flax import nnx
import jax
import jax.numpy as jnp

from seedasr_jax import shapes
from seedasr_jax.models import kernels
from seedasr_jax.models.layers import Dense, RMSNorm
from seedasr_jax.models.rope import rope
from seedasr_jax.parallel import layout


def sinusoids(distances, width):
    """Embeds distances [R] as sinusoids [R width]: sines, then cosines."""
    rates = 10_000.0 ** -(jnp.arange(0, width, 2, dtype=jnp.float32) / width)
    angles = distances[:, None].astype(jnp.float32) * rates[None]
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], -1)


class RelativeAttention(nnx.Module):
    """Multi-head self-attention with relative positions, for the encoder.

    clip = 0: projected sinusoids of distances and two query biases (arXiv 1901.02860, equation in
    section 3.3; Conformer). clip > 0: one learned key per distance, shared by all heads; larger
    distances are clipped (arXiv 1803.02155).
    """

    def __init__(self, width, heads, *, clip, bias, dtype, rngs):
        self.heads, self.clip, self.width, self.dtype = heads, clip, width, dtype
        size = width // heads

        def dense(axes, bias):
            return Dense(width, width, axes, bias=bias, dtype=dtype, rngs=rngs)

        into = ("width", "encoder_heads")
        self.query, self.key, self.value = dense(into, bias), dense(into, bias), dense(into, bias)
        self.out = dense(("encoder_heads", "width"), bias)
        if clip:
            table = jax.random.normal(rngs.params(), (2 * clip + 1, size)) * size**-0.5
            self.distance = nnx.Param(table, axes=("distance", "head"))
        else:
            self.position = dense(into, False)
            zeros = jnp.zeros((heads, size))
            self.content_bias = nnx.Param(zeros, axes=("encoder_heads", "head"))
            self.position_bias = nnx.Param(zeros, axes=("encoder_heads", "head"))

    def __call__(self, x, mask):
        """[B T D] frames, [B T] bool valid frames -> [B T D]; padding is ignored."""
        dims = shapes.check(x, "B T D")
        x = jnp.where(mask[..., None], x, 0)  # NaN times a weight of 0 is NaN
        size, heads = self.width // self.heads, self.heads

        def split(y):
            return layout.heads(y.reshape(dims["B"], dims["T"], heads, size))

        q, k, v = split(self.query(x)), split(self.key(x)), split(self.value(x))
        distances = jnp.arange(dims["T"] - 1, -dims["T"], -1)
        by_distance = q
        if self.clip:
            at = jnp.clip(distances, -self.clip, self.clip) + self.clip
            keys = self.distance[...].astype(self.dtype)[at]  # [2T-1 K]
        else:
            keys = self.position(sinusoids(distances, self.width)).reshape(-1, heads, size)
            by_distance = q + shapes.align(self.position_bias[...].astype(self.dtype), q)
            q = q + shapes.align(self.content_bias[...].astype(self.dtype), q)
        y = layout.heads(kernels.relative(q, k, v, by_distance, keys, mask))
        return self.out(y.reshape(dims["B"], dims["T"], self.width))


class GroupedAttention(nnx.Module):
    """Causal self-attention of the decoder: grouped keys and values, RoPE, optional q/k norm."""

    def __init__(self, config, *, lora, dtype, rngs):
        self.heads, self.kv_heads, self.size = config.heads, config.kv_heads, config.head_dim
        self.theta, self.scaling = config.rope_theta, config.rope_scaling
        queries, keys = self.heads * self.size, self.kv_heads * self.size

        options = dict(lora=lora.rank, alpha=lora.alpha, dtype=dtype, rngs=rngs)
        self.query = Dense(config.width, queries, ("embed", "heads"), **options)
        self.key = Dense(config.width, keys, ("embed", "kv_heads"), **options)
        self.value = Dense(config.width, keys, ("embed", "kv_heads"), **options)
        self.out = Dense(queries, config.width, ("heads", "embed"), **options)
        self.query_norm = self.key_norm = nnx.data(None)
        if config.qk_norm:
            norm = dict(dtype=dtype, epsilon=config.norm_eps)
            self.query_norm, self.key_norm = RMSNorm(self.size, **norm), RMSNorm(self.size, **norm)

    def __call__(self, x, positions, valid, slot, cache):
        """Attends over x or, with a cache, from one new token per hypothesis over cache and token.

        Args:
            x: [B N E]; with a cache N = W, one token of each hypothesis.
            positions: [B N] int32.
            valid: [B N] bool, valid positions of x or, with a cache, of its prefix.
            slot: None: no keys and values are returned. With a cache: scalar, token slot of x.
            cache: this layer's (k, v) of the prefix and (k, v) of the tokens; or None.

        Returns:
            [B N E], and (k, v) of x, each [B N G K], or None.
        """
        dims = shapes.check(x, "B N E")

        def split(y, heads):
            return layout.heads(y.reshape(dims["B"], dims["N"], heads, self.size))

        q = split(self.query(x), self.heads)
        k, v = split(self.key(x), self.kv_heads), split(self.value(x), self.kv_heads)
        if self.query_norm is not None:
            q, k = self.query_norm(q), self.key_norm(k)
        q, k = (rope(x, positions, self.theta, self.scaling) for x in (q, k))
        if cache is None:
            y = kernels.causal(q, k, v, valid)
        else:
            prefix, tokens = cache
            put = jax.lax.dynamic_update_index_in_dim
            tokens = [put(old, new, slot, 2) for old, new in zip(tokens, (k, v))]
            y = kernels.attend_cached(q, prefix, valid, tokens, slot)
        y = layout.heads(y).reshape(dims["B"], dims["N"], self.heads * self.size)
        return self.out(y), None if slot is None else (k, v)
