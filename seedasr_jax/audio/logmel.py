"""Log-mel filter bank: 25 ms Hann windows every 10 ms, normalised per utterance.

The channel of audio/perturb.py is applied to the energies between filter bank and logarithm.

Dims: B batch, S samples, T frames, R bins of the spectrum, F mel bins.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from seedasr_jax import config, shapes
from seedasr_jax.config import FFT, RATE
from seedasr_jax.parallel import layout

WINDOW = RATE * 25 // 1000  # samples: 400
HOP = RATE // 100  # samples: 160
FRAMES_PER_SECOND = RATE // HOP
# For each norm, one or two tuples of axes of [B T F] over which features are normalised.
NORMS = {"bin": ((1,),), "level": ((1, 2),), "both": ((1,), (1, 2))}


def num_frames(length, tempo=1.0):
    """Samples -> frames of a voice sped up by `tempo`: a last frame may be partly padding."""
    frames = length / (HOP * tempo)
    return math.ceil(frames) if isinstance(frames, float) else jnp.ceil(frames).astype(jnp.int32)


def buffer(samples: int) -> int:
    """T of [B T F], of waves [B S] with S = `samples`."""
    return samples // HOP


def mel(hz):
    """Hertz -> mel (the HTK formula: 2595 log10(1 + f / 700))."""
    return 2595.0 * jnp.log10(1.0 + hz / 700.0)


def filters(features: config.LogMel, warp):
    """[B R F] weights of triangular filters of unit peak, equally spaced in mel.

    `warp`: [B] factors on the edges in hertz: above 1, a voice seems lower, as from a longer tract.
    """
    low, high = mel(features.low_hz), mel(features.high_hz)
    edges = jnp.linspace(low, high, features.mels + 2)
    hz = 700.0 * (10.0 ** (edges / 2595.0) - 1.0)
    hz = jnp.minimum(hz[None] * warp[:, None], RATE / 2)[:, None]  # [B 1 F+2]
    bins = (jnp.arange(FFT // 2 + 1) * (RATE / FFT))[None, :, None]  # [1 R 1]
    left, centre, right = hz[..., :-2], hz[..., 1:-1], hz[..., 2:]
    rising = (bins - left) / jnp.maximum(centre - left, 1e-3)
    falling = (right - bins) / jnp.maximum(right - centre, 1e-3)
    return jnp.maximum(0.0, jnp.minimum(rising, falling))


def spectrum(wave, length, tempo=None):
    """[B S] waves, [B] int32 valid samples -> [B T R] energies, T = S // HOP, [B] valid frames.

    `tempo`: [B] speaking-rate factors, by which the hop is multiplied, or None.
    """
    dims = shapes.check(wave, "B S")
    shapes.check(length, "B", dims)
    frames = buffer(dims["S"])
    wave = shapes.zero_padding(wave, length)
    if tempo is None:
        windows = cut(jnp.pad(wave[:, : frames * HOP], ((0, 0), (0, 2 * HOP))))
        count = num_frames(length)
    else:
        starts = jnp.arange(frames)[None, :] * (HOP * tempo[:, None])
        starts = jnp.round(starts).astype(jnp.int32)  # [B T]
        sample = starts[..., None] + jnp.arange(WINDOW)[None, None]
        row = jnp.arange(dims["B"])[:, None, None]
        windows = wave.at[row, sample].get(mode="fill", fill_value=0.0)
        count = num_frames(length, tempo)
    count = jnp.minimum(count, frames)
    hann = np.hanning(WINDOW + 1)[:-1].astype(np.float32)  # periodic
    energies = power(windows * hann[None, None], FFT)
    return shapes.zero_padding(energies, count), count


def cut(wave):
    """[B (T+2)*HOP] -> its windows [B T WINDOW], a HOP apart."""
    blocks = wave.reshape(len(wave), -1, HOP)
    hops = (blocks[:, :-2], blocks[:, 1:-1], blocks[:, 2:, : WINDOW - 2 * HOP])
    return jnp.concatenate(hops, -1)


def power(windows, size: int):
    """Samples [B T W] -> energies [B T R] of a spectrum of `size` points: R = size // 2 + 1."""
    # An FFT takes TPU's compiler two minutes; matrix products suit the chip.
    by_rows = functools.partial(layout.by_rows, functools.partial(by_fft, size=size))
    products = functools.partial(by_products, size=size)
    return jax.lax.platform_dependent(
        windows,
        tpu=products,
        default=by_rows,  # XLA would gather the examples
    )


def by_fft(windows, size=FFT):
    """Samples [... W] -> energy spectrum [... R], by an FFT of `size` points."""
    return jnp.abs(jnp.fft.rfft(windows, size)) ** 2


def by_products(windows, size=FFT):
    """Samples [... W] -> energy spectrum [... R], by products with cosines and sines."""
    bins = size // 2 + 1
    # In units of 1 / size of a period.
    phase = np.outer(np.arange(windows.shape[-1]), np.arange(bins)) % size
    phase = phase * (2 * np.pi / size)
    waves = np.concatenate([np.cos(phase), np.sin(phase)], 1).astype(np.float32)  # [W 2R]
    squares = jnp.dot(windows, waves, precision="highest") ** 2
    return squares[..., :bins] + squares[..., bins:]


def log_mel(wave, length, features: config.LogMel, channel=None):
    """Waves to normalised log-mel.

    Normalisation per bin removes the microphone's spectrum and, in a single short word, also the
    vowel's; normalisation of the level keeps both.

    Args:
        wave, length: [B S] in [-1, 1]; [B] int32 valid samples.
        features: bins, edges, floor and norm.
        channel: `perturb.Channel` of this batch, or None.

    Returns:
        [B T F], F = features.width, T = S // HOP, with mean 0 and variance 1 per utterance (and
        bin), zero at padding; and [B] int32 valid frames.
    """
    dims = shapes.check(wave, "B S")
    energies, count = spectrum(wave, length, None if channel is None else channel.tempo)
    warp = jnp.ones(1) if channel is None else channel.warp
    bank = jnp.broadcast_to(filters(features, warp), (dims["B"], FFT // 2 + 1, features.mels))
    x = jnp.einsum("BTR,BRF->BTF", energies, bank, precision="highest")
    if channel is not None:
        x = shapes.zero_padding(channel.colour(x, count), count)
    frames = jnp.maximum(count, 1).astype(jnp.float32)[:, None, None]
    level = x.sum((1, 2), keepdims=True) / (frames * features.mels)
    x = jnp.log(x / jnp.maximum(level, 1e-20) + features.floor)
    x = shapes.zero_padding(x, count)
    return jnp.concatenate([_normalise(x, count, axes) for axes in NORMS[features.norm]], -1), count


def _normalise(x, count, axes):
    """[B T F], zero at padding -> mean 0 and variance 1 over `axes` of the [B] valid frames."""
    bins = x.shape[2] if 2 in axes else 1
    values = (jnp.maximum(count, 1) * bins).astype(jnp.float32)[:, None, None]
    x = shapes.zero_padding(x - x.sum(axes, keepdims=True) / values, count)
    variance = (x * x).sum(axes, keepdims=True) / values
    return x * jax.lax.rsqrt(variance + 1e-5)
