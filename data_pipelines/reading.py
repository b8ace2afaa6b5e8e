"""Reads the audio of rows ahead of their turn, several files in parallel.

A host of a pod needs a hundred recordings per second: more than a network disk or a decoder gives
one file at a time. Dims: S samples.
"""

import collections
from collections.abc import Iterable, Iterator
import concurrent.futures
import os

import numpy as np

from seedasr_jax import filesystem
from seedasr_jax.data_pipelines import waves
from seedasr_jax.data_pipelines.batching import Fault
from seedasr_jax.data_pipelines.manifest import Row
from seedasr_jax.errors import DataError

FILES = 4, 32  # limits of the number of parallel reads, which is the number of processors
_SILENCE = np.zeros(0, np.int16)


class Reader:
    """Reads the audio of rows in threads."""

    def __init__(self, fit, cache):
        """`fit`: index.Fit, decides whether audio is read; `cache`: files.WaveCache."""
        self._fit, self._cache = fit, cache
        fewest, most = FILES
        count = max(fewest, min(most, len(os.sched_getaffinity(0))))
        self._threads = concurrent.futures.ThreadPoolExecutor(count, "audio")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        """Cancels pending reads and waits for the threads."""
        self._threads.shutdown(cancel_futures=True)

    def begin(self, row: Row) -> concurrent.futures.Future | None:
        """Starts `read` in a thread; returns None if no file must be read."""
        segments = row.segments or (row,)
        if not self._fit.has_audio or all(waves.is_cached(one, self._cache) for one in segments):
            return None
        return self._threads.submit(self.read, row)

    def read(self, row: Row) -> tuple[np.ndarray | None, Fault | None]:
        """([S] int16, None), or (None, Fault); nothing is read if the row itself has a fault."""
        segments = row.segments or (row,)
        for one in segments:
            reason = self._fit.fault(one)
            if reason:
                return None, Fault(reason, f"line {one.line} of its manifest", one.id)
        if not self._fit.has_audio:
            return _SILENCE, None
        found = []
        for one in segments:
            try:
                found.append(waves.read_recording(one, self._cache))
            except DataError as error:
                reason = "missing audio" if filesystem.is_missing(one.audio) else "unreadable audio"
                return None, Fault(reason, str(error), one.id)
        return waves.joined(found, row.pauses), None


class Turn:
    """A row whose audio may be read ahead of its turn; `draw` is unique to the turn."""

    def __init__(self, reader: Reader, row: Row, draw: tuple[int, int]):
        self._reader, self._pending, self._is_new = reader, None, True
        self.row, self.draw = row, draw

    def begin(self):
        """Starts to read; does nothing if reading was started before."""
        if self._is_new:
            self._is_new, self._pending = False, self._reader.begin(self.row)

    def read(self):
        """`Reader.read` of the row; must be called only once, since the wave is then released."""
        pending, self._pending, self._is_new = self._pending, None, False
        return pending.result() if pending else self._reader.read(self.row)


def ahead(turns: Iterable[Turn], count: int) -> Iterator[Turn]:
    """Yields turns, each `count` turns after its reading was started."""
    begun = collections.deque()
    for turn in turns:
        turn.begin()
        begun.append(turn)
        if len(begun) > count:
            yield begun.popleft()
    yield from begun
