"""The audio of rows: lengths, waves, pauses. Dims: S samples."""

from collections.abc import Sequence
import dataclasses

import numpy as np

from seedasr_jax import filesystem
from seedasr_jax.audio import files, pauses
from seedasr_jax.data_pipelines.manifest import Row
from seedasr_jax.data_pipelines.table import Chain
from seedasr_jax.errors import DataError

_MAX_SAMPLED = 100  # utterances whose pauses are measured


def measured(row: Row) -> Row:
    """The row with its seconds, of the file if the manifest states none; 0: unreadable."""
    if row.seconds or not row.audio:
        return row
    try:
        seconds = files.seconds(row.audio)
    except DataError:
        return row
    return dataclasses.replace(row, seconds=max(seconds - row.offset, 0.0))


def samples(row: Row) -> int:
    """Number of samples of a recording at 16 kHz, by its row."""
    return round(row.seconds * files.RATE)


def read_recording(row: Row, cache: files.WaveCache) -> np.ndarray:
    """[S] int16: the wave of a row that is not joined; DataError as `files.read`."""
    try:
        return cache.read(row.audio, row.offset, row.seconds or None)
    except DataError as error:
        if not filesystem.is_missing(row.audio):
            raise
        raise DataError(f"{error}; paths are relative to the manifest's folder") from error


def is_cached(row: Row, cache: files.WaveCache) -> bool:
    """Whether `read_recording` finds the wave in the cache."""
    return cache.holds(row.audio, row.offset, row.seconds or None)


def joined(waves, pauses) -> np.ndarray:
    """[S] int16: concatenates waves [s] int16 with `pauses` samples of silence between them."""
    if len(waves) == 1:
        return waves[0]
    out = np.zeros(sum(map(len, waves)) + sum(pauses), np.int16)
    start = 0
    for wave, pause in zip(waves, (*pauses, 0)):
        out[start : start + len(wave)] = wave
        start += len(wave) + pause
    return out


def read_wave(row: Row, cache: files.WaveCache) -> np.ndarray:
    """[S] int16: the wave of any row; errors as for `read_recording`."""
    waves = [read_recording(one, cache) for one in row.segments or (row,)]
    return joined(waves, row.pauses)


def usual_pause(tables: Sequence[Sequence[Row]]) -> float:
    """`pauses.usual` in seconds, of evenly spaced utterances; unreadable ones are skipped."""
    found, rows = [], Chain(tables)
    for place in range(0, len(rows), max(1, -(-len(rows) // _MAX_SAMPLED))):
        row = rows[place]
        try:
            found.append(pauses.longest(read_wave(row, files.WaveCache(0))))
        except DataError:
            continue
    return pauses.usual(found)
