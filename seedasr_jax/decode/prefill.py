"""Prefill: what stands before the transcript fills a cache once; then one token at a time.

Greedy decoding, search and sampling share it.

Dims: B batch, W hypotheses, U speech tokens, V vocabulary.
"""

import dataclasses

import jax
import jax.numpy as jnp

from seedasr_jax.batch import Batch
from seedasr_jax.models import cache as caches
from seedasr_jax.models.acllm import AcLLM, Speech
from seedasr_jax.parallel import layout


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Stream:
    """A cache of W hypotheses per row, and where they continue."""

    cache: caches.KVCache
    start: jax.Array  # [B] int32, position of the start token
    before: jax.Array  # [B W] int32, the token before the next one; -1: none yet


def encode(model: AcLLM, batch: Batch) -> Speech:
    """Waves to speech tokens, once for all hypotheses and prefixes."""
    return model.listen(batch.wave, batch.wave_length)


def fill(model: AcLLM, batch: Batch, speech: Speech, room: int, count: int = 1) -> Stream:
    """Fills a cache with the batch's prompt, context and suffix around the speech.

    Args:
        model: with a decoder.
        batch: its prompt, context and suffix are read.
        speech: of `encode`.
        room: slots for tokens, the start token one of them.
        count: W; the prefix is kept once for all of a row.
    """
    prefix = model.prefix(batch, speech)
    cache = model.decoder.prefill(prefix.x, prefix.positions, prefix.real, count, room)
    return Stream(cache, prefix.next, jnp.full((len(batch.weight), count), -1, jnp.int32))


def decode_step(model: AcLLM, stream: Stream, last) -> tuple[jax.Array, Stream]:
    """Feeds one token per hypothesis, `last` [B W]; returns float32 logits [B W V] of the next.

    V as padded, so that it shards: logits of padding rows are shapes.NEVER.
    """
    decoder = model.decoder
    x = decoder.embed_tokens(last, before=stream.before)
    positions = jnp.broadcast_to(stream.start[:, None] + stream.cache.slot, last.shape)
    hidden, cache = decoder.step(x, positions, stream.cache)
    logits = layout.hidden(decoder.logits(hidden))
    return logits, dataclasses.replace(stream, cache=cache, before=last)


def reorder(stream: Stream, parent) -> Stream:
    """Hypothesis w of row b continues parent[b, w] [B W]; the prefix stays where it is."""
    before = jnp.take_along_axis(stream.before, parent, 1)
    return dataclasses.replace(stream, cache=caches.reorder(stream.cache, parent), before=before)
