"""Audio files -> waves at 16 kHz, mono, from any format, rate and number of channels; without JAX.

Dims: S samples, C channels.
"""

import collections
import contextlib
import io
import os
import pathlib
import reprlib
import threading

import numpy as np
import soundfile
import soxr

from seedasr_jax import errors, filesystem
from seedasr_jax.audio import containers, paths
from seedasr_jax.config import RATE

LOWEST_RATE, HIGHEST_RATE = 1_000, 1_000_000  # Hz, accepted rates of recordings
SLACK_SECONDS = 0.1  # a file may be shorter: manifests round, for example to MPEG frames (72 ms)
ROUNDING_SECONDS = 0.01  # a wave may be longer than its row's duration by this much
_FULL_SCALE = 32_768  # int16 value of 1.0
QUIETEST = 2.0**-15  # one step of int16; a wave below it everywhere was scaled down twice
_FLOATS = ("FLOAT", "DOUBLE")  # subtypes whose scale no header states
_LOUD = 0.01  # -40 dB of full scale; samples above it count for _CLIPPED
_CLIPPED = 0.01  # fraction of loud samples that may exceed full scale and be clipped (glitches)
_HOTTEST = 8.0  # +18 dB: highest peak of a wave that is scaled down instead of refused
_CANCELLED = 0.05  # averaged channels with less than this fraction of the loudest one's power
_BLOCK = 1 << 20  # frames per decoded block, more than most utterances have


def read(source, *, offset: float = 0.0, duration: float | None = None) -> np.ndarray:
    """Reads a path or open binary file of any format of libsndfile: WAV, FLAC, Ogg, Opus, MP3, ...

    Reads `duration` seconds (None: to the end) from second `offset` on, without decoding the rest.
    Returns [S] int16 at RATE, channels averaged; a 16-bit mono file at RATE bit by bit.

    Raises:
        DataError: the file is missing, not audio, damaged, cut off, empty, or shorter than
            requested by more than SLACK_SECONDS; names the file.
    """
    if not (0 <= offset < float("inf") and (duration is None or 0 < duration < float("inf"))):
        raise errors.DataError(
            f"{source}: expected offset >= 0 s and duration > 0 s, found {offset} and {duration}"
        )
    with _opened(source) as (name, sound):
        return _interval(name, sound, offset, duration)


def seconds(source) -> float:
    """Seconds of a file, as its container states, or by decoding it; raises as `read`."""
    with _opened(source) as (name, sound):
        if sound.fault:
            raise errors.DataError(f"{name}: {sound.fault}")
        frames = sound.frames
        if frames is None:
            frames = sum(map(len, sound.blocks(_BLOCK, "int16")))
        return frames / sound.file.samplerate


def channels(source) -> int:
    """Number of channels of a file, which `read` averages; raises as `read`."""
    with _opened(source) as (_, sound):
        return sound.file.channels


@contextlib.contextmanager
def _opened(source):
    """Yields the name of a file, for messages, and its containers.Sound; raises as `read`."""
    if isinstance(source, str | os.PathLike):
        name = source = paths.found(source)
        if name.lower().endswith(".raw"):
            raise errors.DataError(f"{name}: headerless audio; convert it to WAV or FLAC")
    elif hasattr(source, "readinto") and not source.closed:
        name = getattr(source, "name", "audio")
    else:
        raise errors.DataError(f"expected a path or an open file, found {reprlib.repr(source)}")
    try:
        with containers.opened(source, name) as sound:
            if fault := rate_fault(sound.file.samplerate):
                raise errors.DataError(f"{name}: {fault}")
            yield name, sound
    except (soundfile.LibsndfileError, OSError) as error:
        raise errors.DataError(f"{name}: damaged or unreadable: {error}") from error


def _interval(name, sound, offset, duration):
    """The samples of an open file from `offset` on; see `read`."""
    rate, start = sound.file.samplerate, round(offset * sound.file.samplerate)
    stated = sound.frames
    wanted = None if duration is None else max(round(duration * rate), 1)
    left = None if stated is None else max(stated - start, 0)
    slack = SLACK_SECONDS * rate
    if left is not None and (left == 0 or (wanted or 0) - left > slack):
        raise errors.DataError(_short(name, sound, stated, offset, duration))
    to_end = wanted is None or (left is not None and wanted >= left - 1)  # seconds are rounded
    if to_end and sound.fault:
        raise errors.DataError(f"{name}: {sound.fault}")
    exact = rate == RATE and sound.file.channels == 1 and sound.file.subtype == "PCM_16"
    if start:
        sound.skip(start)
    count = left if to_end and left is not None else wanted
    wave = np.concatenate([*sound.blocks(_BLOCK, "int16" if exact else "float32", count)])
    if to_end and left is not None and (len(wave) < left or sound.more()):
        found = f"{len(wave) / rate:.3f} s" if len(wave) < left else "more"
        raise errors.DataError(
            f"{name}: damaged or cut off: its header states {left / rate:.3f} s from {offset:.3f} s"
            f" on, {found} can be decoded"
        )
    if not len(wave) or (wanted or 0) - len(wave) > slack:
        raise errors.DataError(_short(name, sound, start + len(wave), offset, duration))
    if exact:
        return wave
    out = to_int16(resample(checked(wave, name), rate))
    if not len(out):
        raise errors.DataError(_short(name, sound, start, offset, duration))
    if sound.file.subtype in _FLOATS and not out.any() and wave.any():
        raise errors.DataError(
            f"{name}: expected samples from -1 to 1, found a peak of {np.abs(wave).max():.1g};"
            " scale the file first"
        )
    return out


def _short(name, sound, frames, offset, duration):
    """Message for a file that is shorter than requested."""
    wanted = "all" if duration is None else f"{duration:.3f} s"
    fault = f" ({sound.fault})" if sound.fault else ""
    found = f"{name}: contains {frames / sound.file.samplerate:.3f} s of audio{fault}"
    if not frames:
        return found
    found += f"; expected {wanted} from {offset:.3f} s on"
    if offset * sound.file.samplerate >= frames:
        return f"{found}; correct the row's start"
    return (
        f"{found}, of which at most {SLACK_SECONDS:g} s may be missing; correct the row's duration,"
        " or remove it to use the file's"
    )


def checked(wave: np.ndarray, name: str) -> np.ndarray:
    """Brings floats of any shape into [-1, 1]: clips a few samples, or divides all by the peak.

    Raises:
        DataError: not finite, or on another scale, such as int16's.
    """
    if not np.isfinite(wave).all():
        raise errors.DataError(f"{name}: contains samples that are NaN or infinite")
    level = np.abs(wave)
    peak, loud = level.max(initial=0.0), np.count_nonzero(level > _LOUD)
    if np.count_nonzero(level > 1) <= _CLIPPED * loud:
        return np.clip(wave, -1.0, 1.0)
    if peak <= _HOTTEST:
        return wave / peak
    raise errors.DataError(
        f"{name}: expected samples from -1 to 1, found many beyond, up to {peak:g}; scale it first:"
        f" int16 values, for example, must be divided by {_FULL_SCALE}"
    )


def rate_fault(rate) -> str:
    """The error of a sampling rate, or "" if it is acceptable."""
    kinds = (int, float, np.integer, np.floating)
    integral = isinstance(rate, kinds) and rate % 1 == 0
    if isinstance(rate, bool) or not integral or not LOWEST_RATE <= rate <= HIGHEST_RATE:
        return f"expected a rate of {LOWEST_RATE} to {HIGHEST_RATE} Hz, found {rate!r}"
    return ""


def to_float(wave: np.ndarray) -> np.ndarray:
    """int16 of any shape -> float32 in [-1, 1); exact, a division by a power of two."""
    return wave.astype(np.float32) / _FULL_SCALE


def to_int16(wave: np.ndarray) -> np.ndarray:
    """float of any shape -> int16, rounded to nearest and clipped to full scale."""
    return np.clip(np.rint(wave * _FULL_SCALE), -_FULL_SCALE, _FULL_SCALE - 1).astype(np.int16)


def resample(wave: np.ndarray, rate: int) -> np.ndarray:
    """[S] or [S C] float32 at `rate` Hz -> [S'] float32 at RATE, with averaged channels.

    If channels cancel each other, as with one of reversed polarity, the loudest one is taken
    instead. S' = S * RATE / rate, rounded to nearest, half up.
    """
    if wave.ndim == 2:
        mean, power = wave.mean(axis=1, dtype=np.float32), np.square(wave).sum(axis=0)
        cancelled = np.square(mean).sum() < _CANCELLED * power.max()
        wave = np.ascontiguousarray(wave[:, power.argmax()]) if cancelled else mean
    return wave if rate == RATE else soxr.resample(wave, rate, RATE)


def write(path, wave: np.ndarray, rate: int) -> None:
    """Writes [S] int16 at `rate` Hz as .wav or .flac, else DataError; equal waves, equal bytes."""
    suffix = pathlib.Path(path).suffix.lower()
    if suffix not in (".wav", ".flac"):
        raise errors.DataError(f"{path}: expected a name ending in .wav or .flac")
    if wave.dtype != np.int16 or wave.ndim != 1:
        raise errors.DataError(f"{path}: expected int16 [S], found {wave.dtype} {wave.shape}")
    content = io.BytesIO()  # libsndfile's own errors in writing files are uninformative
    soundfile.write(content, wave, rate, subtype="PCM_16", format=suffix[1:].upper())
    with filesystem.naming(path):
        pathlib.Path(path).write_bytes(content.getbuffer())


class WaveCache:
    """`read` with a least-recently-used cache of a fixed size; thread-safe. Waves are read-only."""

    def __init__(self, budget_bytes: int):
        self.budget_bytes, self.used_bytes = budget_bytes, 0
        self._waves = collections.OrderedDict()
        self._lock = threading.Lock()

    def holds(self, path, offset: float = 0.0, duration: float | None = None) -> bool:
        """Whether `read` would return it from memory."""
        with self._lock:
            return (os.fspath(path), offset, duration) in self._waves

    def read(self, path, offset: float = 0.0, duration: float | None = None) -> np.ndarray:
        """[S] int16 at RATE, as `read(path, offset=offset, duration=duration)`."""
        key = (os.fspath(path), offset, duration)
        with self._lock:
            if key in self._waves:
                self._waves.move_to_end(key)
                return self._waves[key]
        wave = read(path, offset=offset, duration=duration)  # without the lock: decodes in parallel
        wave.flags.writeable = False
        if wave.nbytes > self.budget_bytes:
            return wave
        with self._lock:
            if key not in self._waves:  # unless another thread has added it meanwhile
                self._waves[key] = wave
                self.used_bytes += wave.nbytes
            while self.used_bytes > self.budget_bytes:
                self.used_bytes -= self._waves.popitem(last=False)[1].nbytes
        return wave
