"""Audio files -> waves: 16 kHz mono, whatever the file holds. No JAX and no TensorFlow here.

Dims: S samples, C channels.
"""

import collections
import os
import pathlib
import threading

import numpy as np
import soundfile
import soxr

from seedasr_jax import errors

RATE = 16_000  # Hz, of every wave that the models hear
SLACK_SECONDS = (
    0.02  # manifests round their durations: a file may end this much before its row says
)
_FULL_SCALE = 32_768  # int16 of 1.0


def read(path, *, offset: float = 0.0, duration: float | None = None) -> np.ndarray:
    """Reads a file, or a stretch of it, without decoding the rest.

    Args:
        path: anything that libsndfile opens (WAV, FLAC, Ogg, Opus, MP3, ...).
        offset: seconds to skip.
        duration: seconds to read; None for all that is left.

    Returns:
        [S] int16 at RATE, channels averaged. A 16-bit mono file at RATE comes back bit by bit.

    Raises:
        DataError: names the file and says what is wrong: missing, not audio, damaged, empty, or
            shorter than asked for by more than SLACK_SECONDS.
    """
    path = pathlib.Path(path)
    if not (0 <= offset < float("inf") and (duration is None or 0 < duration < float("inf"))):
        raise errors.DataError(
            f"{path}: expected offset >= 0 s and duration > 0 s, found {offset} and {duration}"
        )
    if not os.path.isfile(path):  # pathlib's own raises on a name that is too long
        raise errors.DataError(
            f"{path}: no such audio file; is the manifest's path relative to it?"
        )
    if path.suffix.lower() == ".raw":
        raise errors.DataError(f"{path}: headerless audio; convert it to WAV or FLAC")
    try:
        with soundfile.SoundFile(path) as file:
            return _read_open(path, file, offset, duration)
    except (soundfile.LibsndfileError, MemoryError) as error:  # memory: a length that is a lie
        raise errors.DataError(f"{path}: not a readable audio file: {error}") from error


def _read_open(path, file, offset, duration):
    rate, start = file.samplerate, round(offset * file.samplerate)
    left = max(file.frames - start, 0)
    wanted = left if duration is None else max(round(duration * rate), 1)
    if not left or wanted - left > SLACK_SECONDS * rate:
        raise errors.DataError(
            f"{path}: holds {file.frames / rate:.3f} s of audio; asked for"
            f" {'all' if duration is None else f'{duration:.3f} s'} from {offset:.3f} s on"
        )
    wanted = min(wanted, left)
    exact = rate == RATE and file.channels == 1 and file.subtype == "PCM_16"
    file.seek(start)
    wave = file.read(wanted, dtype="int16" if exact else "float32")
    if len(wave) != wanted:
        raise errors.DataError(
            f"{path}: damaged or cut off: its header promises {wanted / rate:.3f} s from"
            f" {offset:.3f} s on, {len(wave) / rate:.3f} s can be decoded"
        )
    return wave if exact else to_int16(resample(_finite(path, wave), rate))


def _finite(path, wave):
    if not np.isfinite(wave).all():
        raise errors.DataError(f"{path}: holds samples that are not numbers (NaN or infinite)")
    return wave


def to_float(wave: np.ndarray) -> np.ndarray:
    """int16 of any shape -> float32 in [-1, 1), exactly: a division by a power of two."""
    return wave.astype(np.float32) / _FULL_SCALE


def to_int16(wave: np.ndarray) -> np.ndarray:
    """float of any shape -> int16, rounded to nearest; what is beyond full scale is clipped."""
    return np.clip(np.rint(wave * _FULL_SCALE), -_FULL_SCALE, _FULL_SCALE - 1).astype(np.int16)


def resample(wave: np.ndarray, rate: int) -> np.ndarray:
    """Averages channels and resamples.

    Args:
        wave: [S] or [S C] float32.
        rate: Hz, of `wave`.

    Returns:
        [S'] float32 at RATE, S' = S * RATE / rate to the nearest (a half counts as one).
    """
    if wave.ndim == 2:
        wave = wave.mean(axis=1, dtype=np.float32)
    return wave if rate == RATE else soxr.resample(wave, rate, RATE)


def write(path, wave: np.ndarray, rate: int) -> None:
    """Writes a 16-bit mono file, WAV or FLAC by its extension; equal waves give equal bytes.

    Args:
        path: ends in .wav or .flac.
        wave: [S] int16.
        rate: Hz.

    Raises:
        DataError: another extension, or a wave that is not [S] int16.
    """
    suffix = pathlib.Path(path).suffix.lower()
    if suffix not in (".wav", ".flac"):
        raise errors.DataError(f"{path}: expected a name ending in .wav or .flac")
    if wave.dtype != np.int16 or wave.ndim != 1:
        raise errors.DataError(f"{path}: expected int16 [S], found {wave.dtype} {wave.shape}")
    soundfile.write(path, wave, rate, subtype="PCM_16", format=suffix[1:].upper())


class WaveCache:
    """`read` with a memory: waves in order of last use, within a budget. Safe to share by threads.

    The file behind a key is taken to stay as it is. A wave comes back read-only, for it is shared.
    """

    def __init__(self, budget_bytes: int):
        self.budget_bytes, self.used_bytes = budget_bytes, 0
        self._waves = collections.OrderedDict()
        self._lock = threading.Lock()

    def read(self, path, offset: float = 0.0, duration: float | None = None) -> np.ndarray:
        """[S] int16 at RATE: what `read(path, offset=offset, duration=duration)` gives."""
        key = (os.fspath(path), offset, duration)
        with self._lock:
            if key in self._waves:
                self._waves.move_to_end(key)
                return self._waves[key]
        wave = read(path, offset=offset, duration=duration)  # unlocked: decoding runs in parallel
        wave.flags.writeable = False
        if wave.nbytes > self.budget_bytes:
            return wave
        with self._lock:
            if key not in self._waves:  # else another thread was faster
                self._waves[key] = wave
                self.used_bytes += wave.nbytes
            while self.used_bytes > self.budget_bytes:
                self.used_bytes -= self._waves.popitem(last=False)[1].nbytes
        return wave
