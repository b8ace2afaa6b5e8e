"""The clock: when the tokens and phones of a batch are said, for objectives that want to know.

A manifest's `alignment` says when each unit of a text and each phone begins; a synthesiser knows
it. Dims: L tokens.
"""

import functools
import zlib

import numpy as np

from seedasr_jax.batch import Times
from seedasr_jax.data_pipelines.manifest import Row
from seedasr_jax.errors import ConfigError
from seedasr_jax.text import languages
from seedasr_jax.text.normalize import normalize

PHONES_PER_SECOND = 32  # at most: a batch has room for so many


@functools.cache
def _unit(language) -> str:
    """What an alignment counts; words where no language is known."""
    try:
        return languages.lookup(language).unit
    except ConfigError:
        return "word"


class Clock:
    """Fills in the `times` of batches."""

    def __init__(self, vocab, normalizer: str, *, phones: int):
        """Args: `phones`, number of their classes."""
        self._vocab, self._normalizer, self._phones = vocab, normalizer, phones
        self._spelled = functools.lru_cache(maxsize=100_000)(self._spell)

    def fill(self, times: Times, rows, weight) -> None:
        """Writes the times of the rows that have an alignment; numpy, in place."""
        for place, row in enumerate(rows):
            if not weight[place] or row.alignment is None:
                continue
            starts = self.token_starts(row)
            phones = row.alignment.phones[: times.phones.shape[1]]
            if starts is None or not phones:
                continue
            times.starts[place, : len(starts)] = starts
            times.phones[place, : len(phones)] = [self.phone(row, name) for _, name in phones]
            times.phone_starts[place, : len(phones)] = [start for start, _ in phones]
            times.phones_length[place] = len(phones)

    def phone(self, row: Row, name: str) -> int:
        """The class of a phone of the row's language, from 1: a hash, for names are anyone's."""
        return 1 + zlib.crc32(f"{row.language}:{name}".encode()) % (self._phones - 1)

    def token_starts(self, row: Row) -> np.ndarray | None:
        """[L] seconds at which each token begins, or None where the alignment is of another text.

        A token that begins inside a unit begins at its share of the unit's characters.
        """
        text = normalize(self._normalizer, row.text)
        units, firsts = self._spelled(text, _unit(row.language))
        if len(units) != len(row.alignment.words):
            return None
        ends = np.cumsum(units)
        unit = np.searchsorted(ends, firsts, "right")
        starts = np.array([*row.alignment.words, row.seconds])
        share = (firsts - (ends - units)[unit]) / units[unit]
        return starts[unit] + share * (starts[unit + 1] - starts[unit])

    def _spell(self, text, unit):
        """Characters of each unit, and the number of characters before each token; no spaces."""
        pieces = text.split() if unit == "word" else "".join(text.split())
        ids = self._vocab.encode(text)
        written = [len("".join(self._vocab.decode(ids[:n]).split())) for n in range(len(ids))]
        units = np.array([len(piece) for piece in pieces], np.int64)
        return units, np.minimum(np.array(written, np.int64), max(units.sum() - 1, 0))
