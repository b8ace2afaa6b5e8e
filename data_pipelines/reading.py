"""Reading: the audio of rows before their turn, several files at a time.

A host of a pod takes a hundred recordings a second. One file after another neither comes from a
disk behind a network nor out of a decoder so fast.

Dims: S samples.
"""

import collections
from collections.abc import Iterable, Iterator
import concurrent.futures
import os

import numpy as np

from seedasr_jax import workdir as disk
from seedasr_jax.data_pipelines import sources
from seedasr_jax.data_pipelines.batching import Fault
from seedasr_jax.data_pipelines.manifest import Row
from seedasr_jax.errors import DataError

FILES = 4, 32  # read at a time: fewest and most, in between as many as there are processors
_SILENCE = np.zeros(0, np.int16)


class Reader:
    """Reads rows in threads of its own."""

    def __init__(self, fit, cache):
        """Args: `fit`, index.Fit, says whether audio is heard; `cache`, files.WaveCache."""
        self._fit, self._cache = fit, cache
        fewest, most = FILES
        count = max(fewest, min(most, len(os.sched_getaffinity(0))))
        self._threads = concurrent.futures.ThreadPoolExecutor(count, "audio")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        """Reads no more, and waits for the threads."""
        self._threads.shutdown(cancel_futures=True)

    def begin(self, row: Row) -> concurrent.futures.Future | None:
        """Starts to read a row; see `read`. None where that takes no time: its audio is held."""
        if not self._fit.hears or all(sources.is_held(p, self._cache) for p in row.parts or (row,)):
            return None
        return self._threads.submit(self.read, row)

    def read(self, row: Row) -> tuple[np.ndarray | None, Fault | None]:
        """[S] int16 and no fault, or no wave and why; a Fault of the row itself reads nothing."""
        parts = row.parts or (row,)
        for part in parts:
            reason = self._fit.fault(part)
            if reason:
                return None, Fault(reason, f"line {part.line} of its manifest", part.id)
        if not self._fit.hears:
            return _SILENCE, None
        waves = []
        for part in parts:
            try:
                waves.append(sources.recording(part, self._cache))
            except DataError as error:
                reason = "missing audio" if disk.is_missing(part.audio) else "unreadable audio"
                return None, Fault(reason, str(error), part.id)
        return sources.joined(waves, row.pauses), None


class Turn:
    """A row in its place among others: its audio may begin to be read before it is asked for.

    Attributes:
        row: the row.
        draw: a pair of integers that no other row has.
    """

    def __init__(self, reader: Reader, row: Row, draw: tuple[int, int]):
        self._reader, self._begun, self._waits = reader, None, True
        self.row, self.draw = row, draw

    def begin(self):
        """Starts to read; once, and not after `read`."""
        if self._waits:
            self._waits, self._begun = False, self._reader.begin(self.row)

    def read(self):
        """As `Reader.read`, waiting for it; to be called once, for the wave is held no longer."""
        begun, self._begun, self._waits = self._begun, None, False
        return begun.result() if begun else self._reader.read(self.row)


def ahead(turns: Iterable[Turn], count: int) -> Iterator[Turn]:
    """Yields turns, `count` of them begun ahead."""
    begun = collections.deque()
    for turn in turns:
        turn.begin()
        begun.append(turn)
        if len(begun) > count:
            yield begun.popleft()
    yield from begun
