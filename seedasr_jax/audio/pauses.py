"""Pauses of a recording, and its division there into segments that a model can take.

Speech is detected independently of the level: each block of ten seconds has its own threshold, a
fixed fraction of the way in dB from its noise floor to its loudest sound.

Dims: S samples, T frames.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from seedasr_jax.audio import files

FRAME_SECONDS = 0.01
PAUSE_SECONDS = 0.5  # default of `pause` if the usual pause of the training data is unknown
LEAST_SECONDS = 0.2  # lower bound of the usual pause: any speech has pauses of this length
MARGIN_SECONDS = 0.1  # kept at each side where a pause is removed
_FRAME = round(FRAME_SECONDS * files.RATE)  # samples
_SMOOTH = 5  # frames of the moving average: shorter dips belong to a sound
_BLOCK = 1_000  # frames with one threshold, computed over them and one block at each side
_FLOOR, _LOUD = 10, 99  # percentiles of the levels
_THRESHOLD = 0.25  # fraction of the way from _FLOOR to _LOUD
_STEADY = 6.0  # dB; audio with a smaller range has no noise floor
_SILENT = -80.0  # dB of full scale, below the noise of any microphone
_USUAL = 95  # percentile
_BREATH = 10  # frames; minimum length of a pause at which a segment may be split


def segments(wave: np.ndarray, seconds: float, pause: float) -> list[tuple[int, int]]:
    """Divides [S] samples, int16 or float in [-1, 1], into segments that are decoded independently.

    A wave of at most `seconds` without a pause longer than `pause`, also in seconds, is a single
    segment. Otherwise longer pauses are removed except for a margin at each side; segments that are
    still too long are split in the middle of their pauses, as rarely as possible, or at the
    quietest point if they have none. Returns (start, end) of each in samples; a silent wave has no
    segment, every sound is in one.
    """
    levels, most = _levels(wave), int(seconds * files.RATE)
    gaps = [(a * _FRAME, min(b * _FRAME, len(wave))) for a, b in _gaps(levels)]
    if gaps == [(0, len(wave))]:
        return []
    long = [gap for gap in gaps if gap[1] - gap[0] > pause * files.RATE]
    if len(wave) <= (seconds + files.ROUNDING_SECONDS) * files.RATE and not long:
        return [(0, len(wave))]
    middles = [(a + b) // 2 for a, b in gaps if b - a >= _BREATH * _FRAME]
    spread = _SMOOTH // 2 * _FRAME  # smoothing extends sound this far into a pause
    long = [(a - spread if a else 0, min(b + spread, len(wave))) for a, b in long]
    found, following = [], [*long, (len(wave), len(wave))]
    for (before, start), (end, after) in zip([(0, 0), *long], following, strict=True):
        margin, room = round(max(MARGIN_SECONDS, pause / 2) * files.RATE), most - (end - start)
        if room >= 0:  # margins never make a segment too long
            margin = min(margin, room // 2)
        first = start - min(margin, (start - before) // 2)
        last = end + min(margin, (after - end) // 2)
        if start < end:
            found += _split(first, last, most, middles, levels)
    return found


def longest(wave: np.ndarray) -> float:
    """Duration in seconds of the longest pause, including silence before and after the speech."""
    return max((b - a for a, b in _gaps(_levels(wave))), default=0) * FRAME_SECONDS


def usual(seconds: Sequence[float]) -> float:
    """95th percentile of the utterances' longest pauses, at least LEAST_SECONDS; 0 without any."""
    return max(LEAST_SECONDS, float(np.percentile(seconds, _USUAL))) if len(seconds) else 0.0


def _split(start, end, most, middles, levels) -> Iterator[tuple[int, int]]:
    """Splits samples `start` to `end` into segments of at most `most` samples."""
    while end - start > most:
        leaving = max(end - round(MARGIN_SECONDS * files.RATE), start + most // 2)
        latest = min(start + most, leaving)  # prevents a very short last segment
        inside = [cut for cut in middles if start < cut <= latest]
        if inside:
            cut = inside[-1]
        else:
            first = (start + latest) // 2 // _FRAME + 1
            within = levels[first : latest // _FRAME]
            cut = (first + int(within.argmin())) * _FRAME + _FRAME // 2 if len(within) else latest
        yield start, cut
        start = cut
    if end > start:
        yield start, end


def _levels(wave) -> np.ndarray:
    """[S] -> [T] smoothed levels in dB of full scale, at least _SILENT; the last may be short."""
    scale = 32_768.0 if wave.dtype == np.int16 else 1.0
    powers = []
    for start in range(0, len(wave), _BLOCK * _FRAME):
        block = wave[start : start + _BLOCK * _FRAME].astype(np.float32) / scale
        full = len(block) // _FRAME * _FRAME
        powers.append(block[:full].reshape(-1, _FRAME).var(axis=1))
        if full < len(block):
            powers.append(block[full:].var(keepdims=True))
    padded = np.pad(np.concatenate(powers), _SMOOTH // 2, mode="edge")
    smooth = np.convolve(padded, np.full(_SMOOTH, 1 / _SMOOTH), mode="valid")
    return np.maximum(10 * np.log10(smooth + 1e-12), _SILENT)


def _gaps(levels) -> list[tuple[int, int]]:
    """(start, end) in frames of each pause."""
    quiet = np.zeros(len(levels), bool)
    for start in range(0, len(levels), _BLOCK):
        near = levels[max(0, start - _BLOCK) : start + 2 * _BLOCK]
        quiet[start : start + _BLOCK] = levels[start : start + _BLOCK] <= _threshold(near)
    steps = np.flatnonzero(np.diff(np.concatenate([[False], quiet, [False]]).astype(np.int8)))
    return list(zip(steps[::2].tolist(), steps[1::2].tolist()))


def _threshold(levels) -> float:
    """Level in dB up to which a frame is a pause."""
    floor, loud = np.percentile(levels, (_FLOOR, _LOUD))
    return floor + _THRESHOLD * (loud - floor) if loud - floor > _STEADY else _SILENT
