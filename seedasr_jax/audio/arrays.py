"""Samples in memory -> waves: what another library hands over, on its scale and in its shape.

Dims: S samples, C channels.
"""

import os
import reprlib

import numpy as np

from seedasr_jax import errors
from seedasr_jax.audio import files

CHANNELS = 8  # at most: the other axis is time, and an array with two such axes is ambiguous


def to_wave(array, rate, name: str = "wave") -> np.ndarray:
    """Makes a wave of an array.

    Args:
        array: [S], [S C] or [C S] with C up to CHANNELS; a list or an array of NumPy, JAX or torch.
            Floats in [-1, 1], or integers on the scale of their type, unsigned ones around its
            middle. Wide integers that need no more than 16, 24 or 32 bit are on that scale: a list
            of values of int16 becomes int64.
        rate: samples per second.
        name: for messages.

    Returns:
        [S'] float32 at files.RATE.

    Raises:
        DataError: none of these; says what was expected and found.
    """
    if fault := files.rate_fault(rate):
        raise errors.DataError(f"{name}: {fault}")
    if isinstance(array, str | bytes | bytearray | os.PathLike):
        raise errors.DataError(
            f"{name}: expected samples, found {reprlib.repr(array)}; transcribe_files takes paths"
        )
    if np.ma.is_masked(array):
        raise errors.DataError(f"{name}: holds masked samples; fill them: wave.filled(0)")
    kind = type(array).__name__
    if hasattr(array, "detach"):  # torch: NumPy takes no gradient, device or bfloat16
        array = array.detach().cpu()
        array = array.float() if array.is_floating_point() else array
    try:
        array = np.asarray(array)
    except (TypeError, ValueError) as error:
        raise errors.DataError(f"{name}: expected an array of samples: {error}") from error
    if array.dtype == object:
        raise errors.DataError(f"{name}: expected an array of samples, found objects ({kind})")
    wave = files.checked(_time_first(_scaled(array, name), name), name)
    return files.resample(wave, int(rate))


def _time_first(array, name) -> np.ndarray:
    """[S] or [S C]."""
    if array.size == 0:
        raise errors.DataError(f"{name}: expected sound, found no samples (shape {array.shape})")
    few = [axis for axis, size in enumerate(array.shape) if size <= CHANNELS]
    if array.ndim == 1:
        return array
    if array.ndim == 2 and len(few) == 1:
        return array if few == [1] else array.T
    raise errors.DataError(
        f"{name}: expected [S], [S C] or [C S] with up to {CHANNELS} channels and more samples,"
        f" found {list(array.shape)}; hand over one wave at a time"
    )


def _scaled(array, name) -> np.ndarray:
    """float32, of which full scale is 1."""
    kind, bits = array.dtype.kind, 8 * array.dtype.itemsize
    if kind == "f" or "float" in array.dtype.name:  # bfloat16 and its like have no kind
        with np.errstate(over="ignore"):  # infinite then, and refused
            return array.astype(np.float32)
    if kind not in "iu" or (kind == "u" and bits > 16):
        raise errors.DataError(
            f"{name}: expected floats, signed integers, uint8 or uint16, found an array of"
            f" {array.dtype}"
        )
    if kind == "i" and bits > 16 and array.size:  # a list of integers becomes int64
        peak = max(abs(int(array.min())), abs(int(array.max()) + 1))
        bits = next(width for width in (16, 24, 32, 64) if peak <= 1 << (width - 1))
    middle = 2.0 ** (bits - 1)
    wave = array.astype(np.float64 if bits > 24 else np.float32)  # which has 24 bits
    wave -= middle if kind == "u" else 0.0
    wave /= middle
    return wave.astype(np.float32, copy=False)
