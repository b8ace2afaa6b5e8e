"""`Batch.extra` of the small recipes' objectives, and the functions that fill it in.

A manifest's `alignment` has the times at which a synthesiser begins each unit and each phone.

Dims: B utterances, L tokens, Q phones.
"""

from collections.abc import Callable
import dataclasses
import functools
import math
import zlib

import jax
import numpy as np

from seedasr_jax.batch import Batch, empty
from seedasr_jax.errors import ConfigError
from seedasr_jax.text import languages
from seedasr_jax.text.normalize import normalize

PHONES_PER_SECOND = 32  # maximum, for which a batch has room


@functools.cache
def _unit(language) -> str:
    """The unit of an alignment; words if the language is unknown."""
    try:
        return languages.lookup(language).unit
    except ConfigError:
        return "word"


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Progress:
    """Batch.extra of a stage whose loss depends on its progress."""

    progress: jax.Array  # [B] float32, share of the stage's steps done, the same in all rows


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Times(Progress):
    """Batch.extra of a stage that learns when tokens and phones begin."""

    starts: jax.Array  # [B L] float32, seconds at which each token of `ids` begins
    phones: jax.Array  # [B Q] int32 classes, in order of time; 0: none
    phone_starts: jax.Array  # [B Q] float32, seconds
    phones_length: jax.Array  # [B] int32; 0 if the utterance has no timing


def progress_shapes(utterances: int, bucket: tuple[float, int, int]) -> Progress:
    """The Progress of a bucket as shapes."""
    del bucket
    return Progress(jax.ShapeDtypeStruct((utterances,), np.float32))


def shapes(utterances: int, bucket: tuple[float, int, int]) -> Times:
    """The Times of a bucket as shapes."""
    seconds, tokens, _ = bucket
    phones = math.ceil(PHONES_PER_SECOND * seconds)
    return Times(
        progress=jax.ShapeDtypeStruct((utterances,), np.float32),
        starts=jax.ShapeDtypeStruct((utterances, tokens), np.float32),
        phones=jax.ShapeDtypeStruct((utterances, phones), np.int32),
        phone_starts=jax.ShapeDtypeStruct((utterances, phones), np.float32),
        phones_length=jax.ShapeDtypeStruct((utterances,), np.int32),
    )


def progress_filler(steps: int) -> Callable:
    """(Batch, its rows, bucket, step) -> Batch with the Progress of a stage of `steps` steps."""

    def fill(batch: Batch, _rows, _bucket, step: int) -> Batch:
        progress = np.full(len(batch.weight), step / steps, np.float32)
        return dataclasses.replace(batch, extra=Progress(progress))

    return fill


def times_filler(vocab, normalizer: str, *, phones: int, steps: int) -> Callable:
    """As `progress_filler`, with the Times of the rows that have an alignment.

    `vocab`, `normalizer`: for transcripts; `phones`: number of classes.
    """
    spelling = speller(vocab, normalizer)

    def fill(batch, rows, bucket, step):
        times = empty(shapes(len(batch.weight), bucket))
        times.progress[:] = step / steps
        for at, row in enumerate(rows):
            if not batch.weight[at] or row.alignment is None:
                continue
            starts = token_starts(row, spelling)
            named = row.alignment.phones[: times.phones.shape[1]]
            if starts is None or not named:
                continue
            times.starts[at, : len(starts)] = starts
            times.phones[at, : len(named)] = [phone(row, name, phones) for _, name in named]
            times.phone_starts[at, : len(named)] = [start for start, _ in named]
            times.phones_length[at] = len(named)
        return dataclasses.replace(batch, extra=times)

    return fill


def phone(row, name: str, phones: int) -> int:
    """Class of a phone of the row's language, from 1: a hash, because names are arbitrary."""
    return 1 + zlib.crc32(f"{row.language}:{name}".encode()) % (phones - 1)


def token_starts(row, spelling: Callable) -> np.ndarray | None:
    """[L] seconds at which each token begins, or None if the alignment is of another text.

    Times inside a unit are interpolated by characters. `spelling`: of `speller`.
    """
    units, firsts = spelling(row.text, _unit(row.language))
    if len(units) != len(row.alignment.words):
        return None
    ends = np.cumsum(units)
    unit = np.searchsorted(ends, firsts, "right")
    starts = np.array([*row.alignment.words, row.seconds])
    share = (firsts - (ends - units)[unit]) / units[unit]
    return starts[unit] + share * (starts[unit + 1] - starts[unit])


def speller(vocab, normalizer: str) -> Callable:
    """(text, unit) -> numbers of characters in each unit and before each token, without spaces."""

    @functools.lru_cache(maxsize=100_000)
    def spelling(text, unit):
        text = normalize(normalizer, text)
        pieces = text.split() if unit == "word" else "".join(text.split())
        ids = vocab.encode(text)
        written = [len("".join(vocab.decode(ids[:n]).split())) for n in range(len(ids))]
        units = np.array([len(piece) for piece in pieces], np.int64)
        return units, np.minimum(np.array(written, np.int64), max(units.sum() - 1, 0))

    return spelling
