"""Arrays of samples -> waves: any library's array, with its own scale and axis order.

Dims: S samples, C channels.
"""

import os
import reprlib

import numpy as np

from seedasr_jax import errors
from seedasr_jax.audio import files

CHANNELS = 8  # maximum; the longer axis is time, and two axes of at most this size are ambiguous


def to_wave(array, rate, name: str = "wave") -> np.ndarray:
    """Converts an array at `rate` Hz to [S'] float32 at files.RATE, or raises a DataError.

    Args:
        array: [S], [S C] or [C S] with C up to CHANNELS; a list or an array of NumPy, JAX or torch.
            Floats in [-1, 1], or integers on the scale of their dtype, unsigned ones centred on its
            middle. Integers of more than 16 bits are taken to be on the smallest of the 16-, 24-,
            32- and 64-bit scales that fits their values: a list of int16 values becomes int64.
    """
    if fault := files.rate_fault(rate):
        raise errors.DataError(f"{name}: {fault}")
    if isinstance(array, str | bytes | bytearray | os.PathLike):
        raise errors.DataError(
            f"{name}: expected samples, found {reprlib.repr(array)}; transcribe_files takes paths"
        )
    if np.ma.is_masked(array):
        raise errors.DataError(f"{name}: contains masked samples; fill them: wave.filled(0)")
    kind = type(array).__name__
    if hasattr(array, "detach"):  # torch: NumPy accepts no gradients, device memory or bfloat16
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
    """The array as [S] or [S C]."""
    if array.size == 0:
        raise errors.DataError(f"{name}: expected audio, found no samples (shape {array.shape})")
    small = [axis for axis, size in enumerate(array.shape) if size <= CHANNELS]
    if array.ndim == 1:
        return array
    if array.ndim == 2 and len(small) == 1:
        return array if small == [1] else array.T
    raise errors.DataError(
        f"{name}: expected [S], [S C] or [C S] with up to {CHANNELS} channels and more samples,"
        f" found {list(array.shape)}; pass one wave at a time"
    )


def _scaled(array, name) -> np.ndarray:
    """The array as float32 with full scale 1."""
    kind, bits = array.dtype.kind, 8 * array.dtype.itemsize
    if kind == "f" or "float" in array.dtype.name:  # bfloat16 and the like have kind "V"
        with np.errstate(over="ignore"):  # becomes infinite, which files.checked rejects
            return array.astype(np.float32)
    if kind not in "iu" or (kind == "u" and bits > 16):
        raise errors.DataError(
            f"{name}: expected floats, integers, uint8 or uint16, found an array of {array.dtype}"
        )
    if kind == "i" and bits > 16 and array.size:  # a list of integers becomes int64
        peak = max(abs(int(array.min())), abs(int(array.max()) + 1))
        bits = next(width for width in (16, 24, 32, 64) if peak <= 1 << (width - 1))
    middle = 2.0 ** (bits - 1)
    wave = array.astype(np.float64 if bits > 24 else np.float32)  # float32 is exact up to 24 bits
    wave -= middle if kind == "u" else 0.0
    wave /= middle
    return wave.astype(np.float32, copy=False)
