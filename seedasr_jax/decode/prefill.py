"""Prefill: what stands before the transcript goes into a cache once, then token after token.

Greedy decoding, search and sampling share it.

Dims: B batch, W hypotheses, U speech tokens, V vocabulary.
"""

import dataclasses

import jax
import jax.numpy as jnp

from seedasr_jax.audio import logmel
from seedasr_jax.batch import Batch
from seedasr_jax.models import cache as caches
from seedasr_jax.models.acllm import AcLLM, Speech
from seedasr_jax.parallel import layout


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Stream:
    """A cache of W hypotheses per row, and where they go on."""

    cache: caches.KVCache
    start: jax.Array  # [B] int32, position of the start token
    before: jax.Array  # [B W] int32, the token that was followed last; -1: none yet


def hear(model: AcLLM, batch: Batch) -> Speech:
    """Waves to speech tokens, once for all that follow them."""
    mel, count = logmel.log_mel(batch.wave, batch.wave_length, model.config.features)
    return model.listen(mel, count)


def begin(model: AcLLM, batch: Batch, speech: Speech, room: int, count: int = 1) -> Stream:
    """Fills a cache with the batch's instruction and context and with the speech.

    Args:
        model: with a decoder.
        batch: its prompt and context are read.
        speech: of `hear`.
        room: slots for tokens, the start token one of them.
        count: W; the prefix is kept once for all of a row.
    """
    prefix = model.prefix(batch, speech)
    cache = model.decoder.prefill(prefix.x, prefix.positions, prefix.real, count, room)
    return Stream(cache, prefix.next, jnp.full((len(batch.weight), count), -1, jnp.int32))


def follow(model: AcLLM, stream: Stream, last) -> tuple[jax.Array, Stream]:
    """Goes on by one token each, `last` [B W]: float32 logits [B W V] of the next one.

    V as padded, so that it shards: logits of padding rows are layers.NEVER.
    """
    decoder = model.decoder
    x = decoder.embed_tokens(last, before=stream.before)
    positions = jnp.broadcast_to(stream.start[:, None] + stream.cache.slot, last.shape)
    hidden, cache = decoder.step(x, positions, stream.cache)
    logits = layout.wide(decoder.logits(hidden))
    return logits, dataclasses.replace(stream, cache=cache, before=last)


def reorder(stream: Stream, parent) -> Stream:
    """Hypothesis w of row b goes on from parent[b, w] [B W]; the prefix stays where it is."""
    before = jnp.take_along_axis(stream.before, parent, 1)
    return dataclasses.replace(stream, cache=caches.reorder(stream.cache, parent), before=before)
