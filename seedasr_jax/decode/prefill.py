"""Prefill of a cache with everything before the transcript, then decoding one token at a time.

Dims: B batch, W hypotheses, V vocabulary.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from seedasr_jax import shapes
from seedasr_jax.batch import Batch
from seedasr_jax.models import cache as caches
from seedasr_jax.models.acllm import AcLLM, Speech
from seedasr_jax.parallel import layout


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Stream:
    """A cache of W hypotheses per row, and the position where they continue."""

    cache: caches.KVCache
    start: jax.Array  # [B] int32, position of the start token
    memory: Any  # the decoder's state of previous tokens, [B W ...]


def encode(model: AcLLM, batch: Batch) -> Speech:
    """Encodes waves to speech tokens, once for all hypotheses and prefixes."""
    return model.speech(batch.wave, batch.wave_length)


def fill(model: AcLLM, batch: Batch, speech: Speech, room: int, count: int = 1) -> Stream:
    """Fills a cache with the batch's prompt, context and suffix around the speech.

    `room`: slots for tokens, including the start token; `count`: W, all with the same prefix.
    """
    prefix = model.prefix(batch, speech)
    cache = model.decoder.prefill(prefix.x, prefix.positions, prefix.valid, count, room)
    return Stream(cache, prefix.next, model.decoder.memory(len(batch.weight), count))


def decode_step(model: AcLLM, stream: Stream, last) -> tuple[jax.Array, Stream]:
    """Feeds one token per hypothesis, `last` [B W]; returns float32 logits [B W V] of the next.

    V is padded so that it can be sharded; logits of the padding are shapes.NEVER.
    """
    decoder = model.decoder
    x, memory = decoder.embed_next(last, stream.memory)
    positions = jnp.broadcast_to(stream.start[:, None] + stream.cache.slot, last.shape)
    hidden, cache = decoder.decode_step(x, positions, stream.cache)
    logits = layout.hidden(decoder.logits(hidden))
    return logits, dataclasses.replace(stream, cache=cache, memory=memory)


def select(tree, index):
    """Selects within each row: arrays [B W ...] -> [B W' ...] by index [B W'] int32."""
    return jax.tree.map(lambda x: jnp.take_along_axis(x, shapes.align_left(index, x), 1), tree)


def reorder(stream: Stream, parent) -> Stream:
    """Makes hypothesis w of row b continue parent[b, w] [B W]; the prefix is not moved."""
    cache = caches.reorder(stream.cache, parent)
    return dataclasses.replace(stream, cache=cache, memory=select(stream.memory, parent))
