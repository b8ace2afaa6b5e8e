"""Prefill: what stands before the transcript goes into a cache once, then token after token.

Greedy decoding, search and sampling share it.

Dims: B batch, U speech tokens, N prefix slots, V vocabulary, E LLM width.
"""

import dataclasses

import jax
import jax.numpy as jnp

from seedasr_jax.audio import logmel
from seedasr_jax.batch import Batch
from seedasr_jax.models import cache as caches
from seedasr_jax.models.acllm import AcLLM, Speech


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Stream:
    """A cache, and where it goes on: one per row and per prefix that is followed."""

    cache: caches.KVCache
    next: jax.Array  # [B] int32, position of the next token
    before: jax.Array  # [B] int32, the token that was followed last; -1: none yet
    prefix: int = dataclasses.field(metadata=dict(static=True))  # N


def hear(model: AcLLM, batch: Batch) -> Speech:
    """Waves to speech tokens, once for all that follow them."""
    mel, count = logmel.log_mel(batch.wave, batch.wave_length, model.config.features)
    return model.listen(mel, count)


def begin(model: AcLLM, batch: Batch, speech: Speech, room: int) -> Stream:
    """Fills a cache with the batch's instruction and context and with the speech.

    Args:
        model: with a decoder.
        batch: its prompt and context are read.
        speech: of `hear`.
        room: slots left for tokens, the start token one of them.
    """
    prefix, decoder = model.prefix(batch, speech), model.decoder
    rows, slots = prefix.real.shape
    cache = caches.empty(decoder.config, rows, slots + room, decoder.dtype)
    _, cache = decoder.step(prefix.x, prefix.positions, prefix.real, cache)
    return Stream(cache, prefix.next, jnp.full(rows, -1, jnp.int32), slots)


def follow(model: AcLLM, stream: Stream, last) -> tuple[jax.Array, Stream]:
    """Goes on by one token each, `last` [B]: log-probabilities [B V] of the next one."""
    decoder = model.decoder
    x = decoder.embed_tokens(last[:, None], before=stream.before[:, None])
    real = jnp.ones((len(last), 1), bool)
    hidden, cache = decoder.step(x, stream.next[:, None], real, stream.cache)
    logits = decoder.logits(hidden[:, 0])[:, : decoder.vocabulary]
    return jax.nn.log_softmax(logits, -1), dataclasses.replace(
        stream, cache=cache, next=stream.next + 1, before=last
    )


def spread(stream: Stream, count: int) -> Stream:
    """Each row `count` times, side by side: [B] -> [B * count]."""
    rows = jnp.repeat(jnp.arange(len(stream.next)), count)
    cache = caches.reorder(stream.cache, rows)
    return dataclasses.replace(
        stream, cache=cache, next=stream.next[rows], before=stream.before[rows]
    )


def reorder(stream: Stream, rows) -> Stream:
    """Row n goes on from row rows[n], which has the same prefix: only what follows it moves."""
    cache = caches.reorder(stream.cache, rows, since=stream.prefix)
    return dataclasses.replace(
        stream, cache=cache, next=stream.next[rows], before=stream.before[rows]
    )
