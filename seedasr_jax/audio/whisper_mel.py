"""Log-mel filter bank of Whisper (arXiv 2212.04356), which Qwen3-ASR and others took over.

25 ms Hann windows every 10 ms, centred and reflected at both ends; Slaney's mel scale; decimal
logarithm, floored at 8 below the utterance's maximum. The algorithm and its constants are those of
WhisperFeatureExtractor and Qwen3ASRFeatureExtractor (transformers 5.24).

Dims: B batch, S samples, T frames, R bins of the spectrum, F mel bins.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from seedasr_jax import config, shapes
from seedasr_jax.audio import logmel
from seedasr_jax.audio.logmel import HOP, WINDOW
from seedasr_jax.config import RATE

_HALF = WINDOW // 2  # samples reflected in front
_TAIL = _HALF - HOP  # samples of the last window behind the utterance
_RANGE = 8.0  # decades below the maximum


@functools.cache
def filters(mels: int) -> np.ndarray:
    """[R F] weights of triangles of equal area, equally spaced on Slaney's mel scale to 8 kHz.

    The scale (Auditory Toolbox, 1998) is linear up to 1 kHz, 15 mel, and logarithmic above.
    """
    step = np.log(6.4) / 27  # per mel above 1 kHz
    top = 15 + np.log(RATE / 2 / 1000) / step
    mel = np.linspace(0, top, mels + 2)
    hz = np.where(mel < 15, mel * 200 / 3, 1000 * np.exp(step * (mel - 15)))
    bins = np.arange(WINDOW // 2 + 1)[:, None] * (RATE / WINDOW)
    rising = (bins - hz[:-2]) / (hz[1:-1] - hz[:-2])
    falling = (hz[2:] - bins) / (hz[2:] - hz[1:-1])
    triangles = np.maximum(0, np.minimum(rising, falling))
    return (triangles * 2 / (hz[2:] - hz[:-2])).astype(np.float32)


def whisper_mel(wave, length, options: config.WhisperMel):
    """[B S] waves of [B] int32 samples -> [B T F], zero at padding, and [B] int32 valid frames.

    Waves shorter than `options.least` samples are padded to it, and that padding counts as speech.
    """
    shapes.check(length, "B", shapes.check(wave, "B S"))
    wave = shapes.zero_padding(wave, length)
    wave = jnp.pad(wave, ((0, 0), (0, max(0, options.least - wave.shape[1]))))
    length = jnp.maximum(length, options.least)
    frames, count = wave.shape[1] // HOP, length // HOP
    windows = logmel.cut(_reflected(wave, length, frames))
    hann = np.hanning(WINDOW + 1)[:-1].astype(np.float32)  # periodic
    energies = logmel.power(windows * hann[None, None], WINDOW)
    x = jnp.dot(energies, filters(options.mels), precision="highest")
    x = jnp.log10(jnp.maximum(x, 1e-10))
    valid = shapes.valid(count, frames)[..., None]
    top = jnp.where(valid, x, -jnp.inf).max((1, 2), keepdims=True)
    x = (jnp.maximum(x, top - _RANGE) + 4) / 4
    return shapes.zero_padding(x, count), count


def _reflected(wave, length, frames):
    """[B (T+2)*HOP]: each wave reflected at its first and at its last sample."""
    front = wave[:, _HALF:0:-1]
    behind = jax.vmap(lambda row, n: jax.lax.dynamic_slice(row, (n - 1 - _TAIL,), (_TAIL,)))
    tail = behind(wave, length)[:, ::-1]
    wave = jnp.pad(wave, ((0, 0), (0, _TAIL)))
    put = jax.vmap(lambda row, tail, n: jax.lax.dynamic_update_slice(row, tail, (n,)))
    wave = jnp.concatenate([front, put(wave, tail, length)], 1)
    size = (frames + 2) * HOP
    return jnp.pad(wave, ((0, 0), (0, max(0, size - wave.shape[1]))))[:, :size]
