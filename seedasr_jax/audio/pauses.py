"""Where a recording pauses, and how it is cut there into pieces that a model can take.

Speech is what rises above the noise around it, whatever the level: each ten seconds have a
threshold of their own, a part of the way (in dB) from their noise floor to their loudest sound.
Dims: S samples, T frames.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from seedasr_jax.audio import files

FRAME_SECONDS = 0.01
PAUSE_SECONDS = 0.5  # the longest usual pause in training, where that is not known
LEAST_SECONDS = 0.2  # shorter ones are in all speech
MARGIN_SECONDS = 0.1  # of what lies around speech is kept, where a pause is cut out
_FRAME = round(FRAME_SECONDS * files.RATE)  # samples
_SMOOTH = 5  # frames: shorter dips belong to a sound
_BLOCK = 1_000  # frames that have one threshold, by what lies up to as many before and behind
_FLOOR, _LOUD = 10, 99  # percentiles of the levels
_THRESHOLD = 0.25  # of the way from the floor up
_STEADY = 6.0  # dB: sound that varies less has no floor
_SILENT = -80.0  # dB of full scale: no microphone is as quiet
_USUAL = 95  # percentile
_BREATH = 10  # frames of a pause at least, where one is cut that need not be


def pieces(wave: np.ndarray, seconds: float, pause: float) -> list[tuple[int, int]]:
    """The stretches of a wave that are decoded each by itself.

    A wave that is short enough and pauses for no longer than allowed is one piece, whole. Else
    longer pauses are cut out, all but a margin at each side; what then is too long still is cut in
    the middle of its pauses, as seldom as possible, and where it has none, at its quietest point.

    Args:
        wave: [S], int16 or float in [-1, 1].
        seconds: of the longest piece.
        pause: seconds of the longest pause in a piece, at its ends too.

    Returns:
        (first sample, end) in order; none where nothing is to be heard. All sound is in one.
    """
    levels, most = _levels(wave), int(seconds * files.RATE)
    gaps = [(a * _FRAME, min(b * _FRAME, len(wave))) for a, b in _gaps(levels)]
    if gaps == [(0, len(wave))]:
        return []
    long = [gap for gap in gaps if gap[1] - gap[0] > pause * files.RATE]
    if len(wave) <= (seconds + files.ROUNDING_SECONDS) * files.RATE and not long:
        return [(0, len(wave))]
    middles = [(a + b) // 2 for a, b in gaps if b - a >= _BREATH * _FRAME]
    spread = _SMOOTH // 2 * _FRAME  # so far sound seems to reach into a pause
    long = [(a - spread if a else 0, min(b + spread, len(wave))) for a, b in long]
    found, behind = [], [*long, (len(wave), len(wave))]
    for (before, start), (end, after) in zip([(0, 0), *long], behind, strict=True):
        margin, room = round(max(MARGIN_SECONDS, pause / 2) * files.RATE), most - (end - start)
        if room >= 0:  # what fits by itself is not cut for its margins
            margin = min(margin, room // 2)
        first = start - min(margin, (start - before) // 2)
        last = end + min(margin, (after - end) // 2)
        if start < end:
            found += _split(first, last, most, middles, levels)
    return found


def longest(wave: np.ndarray) -> float:
    """Seconds of the longest pause, of which silence before and behind the speech is one."""
    return max((b - a for a, b in _gaps(_levels(wave))), default=0) * FRAME_SECONDS


def usual(seconds: Sequence[float]) -> float:
    """The longest pause that is usual: 95 of 100 utterances, of each its longest, have no longer.

    At least LEAST_SECONDS; 0 where there are no utterances.
    """
    return max(LEAST_SECONDS, float(np.percentile(seconds, _USUAL))) if len(seconds) else 0.0


def _split(start, end, most, middles, levels) -> Iterator[tuple[int, int]]:
    """Pieces of a stretch, none of them longer than allowed."""
    while end - start > most:
        leaving = max(end - round(MARGIN_SECONDS * files.RATE), start + most // 2)
        latest = min(start + most, leaving)  # the last piece is no sliver
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
    """[S] -> [T] dB of full scale, smoothed, _SILENT at least; a last frame may be shorter."""
    scale = 32_768.0 if wave.dtype == np.int16 else 1.0
    parts = []
    for start in range(0, len(wave), _BLOCK * _FRAME):
        block = wave[start : start + _BLOCK * _FRAME].astype(np.float32) / scale
        whole = len(block) // _FRAME * _FRAME
        parts.append(block[:whole].reshape(-1, _FRAME).var(axis=1))
        if whole < len(block):
            parts.append(block[whole:].var(keepdims=True))
    power = np.concatenate(parts)
    around = np.pad(power, _SMOOTH // 2, mode="edge")
    smooth = np.convolve(around, np.full(_SMOOTH, 1 / _SMOOTH), mode="valid")
    return np.maximum(10 * np.log10(smooth + 1e-12), _SILENT)


def _gaps(levels) -> list[tuple[int, int]]:
    """(first frame, end) of each stretch without speech."""
    quiet = np.zeros(len(levels), bool)
    for start in range(0, len(levels), _BLOCK):
        near = levels[max(0, start - _BLOCK) : start + 2 * _BLOCK]
        quiet[start : start + _BLOCK] = levels[start : start + _BLOCK] <= _threshold(near)
    steps = np.flatnonzero(np.diff(np.concatenate([[False], quiet, [False]]).astype(np.int8)))
    return list(zip(steps[::2].tolist(), steps[1::2].tolist()))


def _threshold(levels) -> float:
    floor, loud = np.percentile(levels, (_FLOOR, _LOUD))
    return floor + _THRESHOLD * (loud - floor) if loud - floor > _STEADY else _SILENT
