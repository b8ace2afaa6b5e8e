"""Batch: the one type shared by the data pipeline and the core.

Dims: B utterances, S samples, P prompt tokens, C context tokens, L transcript tokens,
X suffix tokens.
"""

import dataclasses
from typing import Any

import jax
import numpy as np

CONTINUED = "continued"  # example of a row that continues the utterance of the previous row


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
    """Fixed-shape inputs of one step; numpy on the host, jax arrays on the devices.

    Neither padding nor a row of weight 0 may change a result.
    """

    wave: jax.Array  # [B S] float32 in [-1, 1]; S = 0 if no audio is read
    wave_length: jax.Array  # [B] int32, samples
    prompt: jax.Array  # [B P] int32, the text before the context
    prompt_length: jax.Array  # [B] int32
    context: jax.Array  # [B C] int32, context and text up to the speech; C = 0: no context
    context_length: jax.Array  # [B] int32
    suffix: jax.Array  # [B X] int32, the text after the speech, without its last token
    suffix_length: jax.Array  # [B] int32
    start: jax.Array  # [B] int32, that token, or the tokenizer's start token: `ids` follow it
    language: jax.Array  # [B] int32, row of the template's languages; 0: not stated or not read
    ids: jax.Array  # [B L] int32, the answer without start and end tokens
    ids_length: jax.Array  # [B] int32
    weight: jax.Array  # [B] float32: 1, or 0 for a bad row or a padding row
    position: jax.Array  # [B] int32, row index in the global batch, folded into every random draw
    extra: Any = None  # additional input declared by the stage's objective: arrays [B ...]


def abstract(
    utterances: int, samples: int, prompt: int, context: int, tokens: int, suffix=0, extra=None
) -> Batch:
    """The shapes of one bucket's Batch, for compilation ahead of time; `extra`: shapes too."""

    def integers(*shape):
        return jax.ShapeDtypeStruct(shape, np.int32)

    def floats(*shape):
        return jax.ShapeDtypeStruct(shape, np.float32)

    rows = utterances
    return Batch(
        wave=floats(rows, samples),
        wave_length=integers(rows),
        prompt=integers(rows, prompt),
        prompt_length=integers(rows),
        context=integers(rows, context),
        context_length=integers(rows),
        suffix=integers(rows, suffix),
        suffix_length=integers(rows),
        start=integers(rows),
        language=integers(rows),
        ids=integers(rows, tokens),
        ids_length=integers(rows),
        weight=floats(rows),
        position=integers(rows),
        extra=extra,
    )


def empty(shapes):
    """A tree of shapes (ShapeDtypeStruct) as NumPy arrays of zeros."""
    return jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes)


def zeros(*sizes: int, **more) -> Batch:
    """A Batch of padding rows, `position` counting up; arguments as of `abstract`."""
    batch = empty(abstract(*sizes, **more))
    return dataclasses.replace(batch, position=np.arange(len(batch.weight), dtype=np.int32))


def padded(batch: Batch, rows: int) -> Batch:
    """Appends padding rows to a Batch on the host, up to `rows` in total."""
    more = rows - len(batch.weight)
    if not more:
        return batch
    return jax.tree.map(lambda x: np.pad(x, ((0, more), *((0, 0),) * (x.ndim - 1))), batch)
