"""Audio files -> waves: 16 kHz mono, whatever the file holds. No JAX and no TensorFlow here.

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

from seedasr_jax import errors
from seedasr_jax import workdir as disk
from seedasr_jax.audio import containers, paths

RATE = 16_000  # Hz, of every wave that the models hear
LOWEST_RATE, HIGHEST_RATE = 1_000, 1_000_000  # Hz, of any recording
# Manifests round their durations, to frames of MPEG audio for one (26 to 72 ms): a file may end so
# much before its row says.
SLACK_SECONDS = 0.1
ROUNDING_SECONDS = 0.01  # what a wave may last beyond the room that its row's seconds asked for
_FULL_SCALE = 32_768  # int16 of 1.0
QUIETEST = 2.0**-15  # a step of int16: a wave that stays below it was scaled twice
_FLOATS = ("FLOAT", "DOUBLE")  # samples on a scale that nothing states
_QUIET = 0.01  # -40 dB of full scale; of samples that are louder
_CLIPPED = 0.01  # so many may lie beyond full scale, and are clipped: glitches, single peaks
_HOTTEST = 8.0  # +18 dB: the loudest peak of a recording that is scaled down instead
_CANCELLED = 0.05  # power of averaged channels, by that of the loudest
_BLOCK = 1 << 20  # frames decoded at a time: more than most utterances have


def read(source, *, offset: float = 0.0, duration: float | None = None) -> np.ndarray:
    """Reads a file, or a stretch of it, without decoding the rest.

    Args:
        source: path of anything that libsndfile opens (WAV, FLAC, Ogg, Opus, MP3, ...), or such a
            file, open in binary.
        offset: seconds to skip.
        duration: seconds to read; None for all that is left.

    Returns:
        [S] int16 at RATE, channels averaged. A 16-bit mono file at RATE comes back bit by bit.

    Raises:
        DataError: names the file and says what is wrong: missing, not audio, damaged, cut off,
            empty, or shorter than asked for by more than SLACK_SECONDS.
    """
    if not (0 <= offset < float("inf") and (duration is None or 0 < duration < float("inf"))):
        raise errors.DataError(
            f"{source}: expected offset >= 0 s and duration > 0 s, found {offset} and {duration}"
        )
    with _opened(source) as (name, sound):
        return _stretch(name, sound, offset, duration)


def seconds(source) -> float:
    """Length of a file: what its container states where that can be relied on, else decoded.

    Raises:
        DataError: as `read`.
    """
    with _opened(source) as (name, sound):
        if sound.fault:
            raise errors.DataError(f"{name}: {sound.fault}")
        frames = sound.frames
        if frames is None:
            frames = sum(map(len, sound.blocks(_BLOCK, "int16")))
        return frames / sound.file.samplerate


def channels(source) -> int:
    """Channels of a file, which `read` averages; raises as it does."""
    with _opened(source) as (_, sound):
        return sound.file.channels


@contextlib.contextmanager
def _opened(source):
    """Yields the name of a file, for messages, and its containers.Sound; see `read`."""
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


def _stretch(name, sound, offset, duration):
    rate, start = sound.file.samplerate, round(offset * sound.file.samplerate)
    stated = sound.frames
    wanted = None if duration is None else max(round(duration * rate), 1)
    left = None if stated is None else max(stated - start, 0)
    slack = SLACK_SECONDS * rate
    if left is not None and (left == 0 or (wanted or 0) - left > slack):
        raise errors.DataError(_short(name, sound, stated, offset, duration))
    whole = wanted is None or (left is not None and wanted >= left - 1)  # seconds are rounded
    if whole and sound.fault:
        raise errors.DataError(f"{name}: {sound.fault}")
    exact = rate == RATE and sound.file.channels == 1 and sound.file.subtype == "PCM_16"
    if start:
        sound.skip(start)
    count = wanted
    if left is not None and whole:
        count = left
    dtype = "int16" if exact else "float32"
    wave = np.concatenate([*sound.blocks(_BLOCK, dtype, count)])
    if whole and left is not None and (len(wave) < left or sound.more()):
        found = f"{len(wave) / rate:.3f} s" if len(wave) < left else "more"
        raise errors.DataError(
            f"{name}: damaged or cut off: its header promises {left / rate:.3f} s from"
            f" {offset:.3f} s on, {found} can be decoded"
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
            f"{name}: expected samples from -1 to 1, the loudest is {np.abs(wave).max():.1g}:"
            " scale it first"
        )
    return out


def _short(name, sound, frames, offset, duration):
    asked = "all" if duration is None else f"{duration:.3f} s"
    fault = f" ({sound.fault})" if sound.fault else ""
    holds = f"{name}: holds {frames / sound.file.samplerate:.3f} s of audio{fault}"
    if offset * sound.file.samplerate >= frames > 0:
        return f"{holds}; asked for {asked} from {offset:.3f} s on; mend the row's start"
    if not frames:
        return holds
    return (
        f"{holds}; asked for {asked}"
        f" from {offset:.3f} s on, of which at most {SLACK_SECONDS:g} s may be missing; mend the"
        " row's duration, or leave it out: then the file's own counts"
    )


def checked(wave: np.ndarray, name: str) -> np.ndarray:
    """float of any shape, made sure of -> the same within full scale.

    Args:
        wave: float, expected in [-1, 1]. A few samples beyond are clipped; with more of them a wave
            is scaled down to its peak.
        name: of the wave, for messages.

    Raises:
        DataError: not finite, or on another scale, such as that of int16.
    """
    if not np.isfinite(wave).all():
        raise errors.DataError(f"{name}: holds samples that are not numbers (NaN or infinite)")
    level = np.abs(wave)
    peak, sound = level.max(initial=0.0), np.count_nonzero(level > _QUIET)
    if np.count_nonzero(level > 1) <= _CLIPPED * sound:
        return np.clip(wave, -1.0, 1.0)
    if peak <= _HOTTEST:
        return wave / peak
    raise errors.DataError(
        f"{name}: expected samples from -1 to 1, found many beyond, up to {peak:g}; scale it first:"
        f" values of int16, for one, are divided by {_FULL_SCALE}"
    )


def rate_fault(rate) -> str:
    """What is wrong with a sampling rate, or ""."""
    kinds = (int, float, np.integer, np.floating)
    whole = isinstance(rate, kinds) and rate % 1 == 0
    if isinstance(rate, bool) or not whole or not LOWEST_RATE <= rate <= HIGHEST_RATE:
        return (
            f"expected a rate of {LOWEST_RATE} to {HIGHEST_RATE} samples per second, found {rate!r}"
        )
    return ""


def to_float(wave: np.ndarray) -> np.ndarray:
    """int16 of any shape -> float32 in [-1, 1), exactly: a division by a power of two."""
    return wave.astype(np.float32) / _FULL_SCALE


def to_int16(wave: np.ndarray) -> np.ndarray:
    """float of any shape -> int16, rounded to nearest; what is beyond full scale is clipped."""
    return np.clip(np.rint(wave * _FULL_SCALE), -_FULL_SCALE, _FULL_SCALE - 1).astype(np.int16)


def resample(wave: np.ndarray, rate: int) -> np.ndarray:
    """Averages channels and resamples.

    Channels that cancel each other, as one with its polarity reversed does, leave the loudest.

    Args:
        wave: [S] or [S C] float32.
        rate: Hz, of `wave`.

    Returns:
        [S'] float32 at RATE, S' = S * RATE / rate to the nearest (a half counts as one).
    """
    if wave.ndim == 2:
        mean, power = wave.mean(axis=1, dtype=np.float32), np.square(wave).sum(axis=0)
        cancelled = np.square(mean).sum() < _CANCELLED * power.max()
        wave = np.ascontiguousarray(wave[:, power.argmax()]) if cancelled else mean
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
    content = io.BytesIO()  # of libsndfile's own files, an error says nothing
    soundfile.write(content, wave, rate, subtype="PCM_16", format=suffix[1:].upper())
    with disk.naming(path):
        pathlib.Path(path).write_bytes(content.getbuffer())


class WaveCache:
    """`read` with a memory: waves in order of last use, within a budget. Safe to share by threads.

    The file behind a key is taken to stay as it is. A wave comes back read-only, for it is shared.
    """

    def __init__(self, budget_bytes: int):
        self.budget_bytes, self.used_bytes = budget_bytes, 0
        self._waves = collections.OrderedDict()
        self._lock = threading.Lock()

    def holds(self, path, offset: float = 0.0, duration: float | None = None) -> bool:
        """Whether `read` has it in memory."""
        with self._lock:
            return (os.fspath(path), offset, duration) in self._waves

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
