"""Decoder of Qwen3 (dense or with experts, arXiv 2505.09388) or Llama (arXiv 2407.21783) form.

Dims: L layers, B batch, N positions, W hypotheses, E width, V vocabulary.
"""

import functools

from flax import nnx
import jax
import jax.numpy as jnp

from seedasr_jax import shapes
from seedasr_jax.losses import cross_entropy
from seedasr_jax.models import cache as caches
from seedasr_jax.models import decoders
from seedasr_jax.models.attention import GroupedAttention
from seedasr_jax.models.layers import (
    Dense,
    Embed,
    RMSNorm,
    Stack,
    mask_surplus,
    matmul,
    padded_vocabulary,
)
from seedasr_jax.models.moe import MixtureFeedForward
from seedasr_jax.parallel import layout


class GatedFeedForward(nnx.Module):
    """SwiGLU (arXiv 2002.05202): down(silu(gate x) * up x)."""

    def __init__(self, config, *, dtype, rngs):
        options = dict(dtype=dtype, rngs=rngs)
        self.gate = Dense(config.width, config.ffn_dim, ("embed", "mlp"), **options)
        self.up = Dense(config.width, config.ffn_dim, ("embed", "mlp"), **options)
        self.down = Dense(config.ffn_dim, config.width, ("mlp", "embed"), **options)

    def __call__(self, x, valid):
        del valid
        return self.down(layout.hidden(jax.nn.silu(self.gate(x)) * self.up(x))), None


class DecoderBlock(nnx.Module):
    """x + attention(norm x), then x + feedforward(norm x)."""

    def __init__(self, config, *, lora, dtype, rngs):
        norm = dict(dtype=dtype, epsilon=config.norm_eps)
        self.attention_norm = RMSNorm(config.width, **norm)
        self.attention = GroupedAttention(config, lora=lora, dtype=dtype, rngs=rngs)
        self.feedforward_norm = RMSNorm(config.width, **norm)
        kind = MixtureFeedForward if config.moe.experts else GatedFeedForward
        self.feedforward = kind(config, dtype=dtype, rngs=rngs)

    def __call__(self, x, positions, valid, slot, cache):
        y = layout.all_positions(self.attention_norm(x))
        y, keys_and_values = self.attention(y, positions, valid, slot, cache)
        x = x + layout.residual(y)
        y = layout.all_positions(self.feedforward_norm(x))
        y, routing = self.feedforward(y, valid if slot is None else None)
        return x + layout.residual(y), (keys_and_values, routing)


class Decoder(decoders.Decoder):
    """See config.Transformer."""

    def __init__(self, config, vocabulary, *, lora, remat, dtype, rngs, embed=Embed):
        """`embed`: builds the embedding table, called like layers.Embed."""
        super().__init__(config, vocabulary, dtype)
        self.embed_scale = config.embed_scale
        self.embed = embed(self.rows, config.width, dtype=dtype, rngs=rngs)
        block = functools.partial(DecoderBlock, config, lora=lora, dtype=dtype)
        self.blocks = Stack(config.layers, block, remat=remat, rngs=rngs)
        self.norm = RMSNorm(config.width, dtype=dtype, epsilon=config.norm_eps)
        self.head = nnx.data(None)
        if not config.tied:
            rows = padded_vocabulary(self.rows)
            options = dict(dtype=dtype, rngs=rngs, out=jnp.float32)
            self.head = Dense(config.width, rows, ("embed", "vocab"), **options)

    def pieces(self, ids):
        """Embeds each piece independently: [...] int32 -> [... E]."""
        return self.embed(ids) * self.embed_scale

    def embed_tokens(self, ids, *, in_context=False):
        """[B N] int32 -> [B N E], each independently; see decoders.Decoder."""
        del in_context
        return self.pieces(ids)

    def __call__(self, x, positions, valid):
        """[B N E] -> [B N E] and the Routing [L ...]; see decoders.Decoder."""
        dims = shapes.check(x, "B N E")
        shapes.check(positions, "B N", dims)
        shapes.check(valid, "B N", dims)
        x = jnp.where(valid[..., None], x, 0)  # NaN times a weight of 0 is NaN
        x, (_, routing) = self.blocks(layout.residual(x), positions, valid, None)
        return self.norm(x), routing

    def prefill(self, x, positions, valid, count: int, room: int) -> caches.KVCache:
        """The cache of a prefix [B N ...]; see decoders.Decoder."""
        x = jnp.where(valid[..., None], x, 0)
        _, ((k, v), _) = self.blocks(layout.residual(x), positions, valid, 0)
        return caches.init(k, v, valid, count, room)

    def decode_step(self, x, positions, cache: caches.KVCache):
        """[B W E] and the cache -> [B W E] and the new cache; see decoders.Decoder."""
        layers, x = (cache.prefix, (cache.k, cache.v)), layout.residual(x)
        x, ((k, v), _) = self.blocks(x, positions, cache.valid, cache.slot, per_layer=layers)
        return layout.all_positions(self.norm(x)), caches.add(cache, k, v)

    def logits(self, x):
        """[... E] -> [... V] float32, shapes.NEVER at vocabulary padding."""
        if self.head is not None:
            return mask_surplus(self.head(x), self.vocabulary)
        table = self.embed.table[...].astype(self.dtype)
        return mask_surplus(matmul(x, table.T, jnp.float32), self.vocabulary)

    def nll(self, x, targets, valid):
        """[B N E], [B N] int32 -> [B N] float32, -log P of the targets where `valid` [B N] is true.

        A large vocabulary is split into chunks, so that its logits never exist all at once.
        """
        count = cross_entropy.chunks(padded_vocabulary(self.rows))
        if count == 1:
            return cross_entropy.nll(self.logits(x), targets, valid)
        head = self.embed.table[...].T if self.head is None else self.head.kernel[...]
        kernel = head.astype(self.dtype)
        return cross_entropy.nll_by_chunks(x, kernel, targets, valid, self.vocabulary, count)

    @staticmethod
    def cache_sizes(options):
        """Layers, key-value heads and their width."""
        return options.layers, options.kv_heads, options.head_dim

    @staticmethod
    def flops(options, tokens):
        """FLOPs of a forward pass over one sequence of `tokens` tokens, without logits."""
        d = options
        queries, keys = d.heads * d.head_dim, d.kv_heads * d.head_dim
        layer = 2 * d.width * (queries + keys)
        layer += 3 * d.width * d.ffn_dim * (d.moe.active if d.moe.experts else 1)
        layer += d.width * d.moe.experts  # the router
        scores = 2 * queries * (tokens + 1) / 2  # a token attends to itself and all earlier ones
        return d.layers * 2.0 * tokens * (layer + scores)
