"""Perturbation of voice and channel, drawn per example: makes a recogniser independent of them.

Tempo, vocal-tract warp, equaliser, reverberation and noise are applied where each is cheap: to the
hop, to the filters' edges and to mel energies (energies of independent sounds add). Every draw
folds in the example's position in the global batch. Noise is drawn for all T frames at once: in a
longer bucket an example gets other noise of the same level and colour; all other draws are equal.

Dims: B batch, T frames, F mel bins.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from seedasr_jax import config, shapes
from seedasr_jax.audio.logmel import FRAMES_PER_SECOND

KNOTS = 5  # of the random equaliser


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Channel:
    """The perturbations of a batch, [B] each unless stated."""

    tempo: jax.Array  # factor of the speaking rate
    warp: jax.Array  # factor of the filters' edges
    equaliser: jax.Array  # [B KNOTS] dB
    tail: jax.Array  # energy of the reverberation's first frame relative to direct sound; 0: none
    seconds: jax.Array  # T60 of the reverberation
    noise: jax.Array  # noise energy relative to mean speech energy; 0: none
    tilt: jax.Array  # [B KNOTS] dB, colour of the noise
    key: jax.Array  # [B] random keys of the noise

    def colour(self, x, count):
        """Applies equaliser, reverberation and noise to energies [B T F] of [B] valid frames."""
        bins = x.shape[2]
        x = x * _gain(self.equaliser, bins)
        x = shapes.zero_padding(x + _reverberate(x, self.tail, self.seconds), count)
        frames = jnp.maximum(count, 1)[:, None, None]
        level = x.sum((1, 2), keepdims=True) / (frames * bins)
        draws = jax.vmap(lambda key: jax.random.normal(key, x.shape[1:]))(self.key)
        # A mel bin is a sum of a few squared Gaussians: log-normal with a variance of about 1/2.
        tilt = _gain(self.tilt, bins)
        draws = jnp.exp(0.65 * draws - 0.21) * (tilt / tilt.mean(-1, keepdims=True))
        return x + self.noise[:, None, None] * level * draws


def _gain(decibels, bins):
    """[B KNOTS] dB -> [B 1 bins] energy factors, linear in dB between knots."""
    place = np.linspace(0, KNOTS - 1, bins)
    weights = np.maximum(0, 1 - abs(place[None] - np.arange(KNOTS)[:, None])).astype(np.float32)
    return 10 ** ((decibels @ weights) / 10)[:, None]


def _reverberate(x, tail, seconds):
    """Exponentially decaying echoes of energies [B T F], without the direct sound."""
    frames = x.shape[1]
    lag = jnp.arange(frames)[:, None] - jnp.arange(frames)[None]  # [T T]
    rate = 6 * np.log(10) / (FRAMES_PER_SECOND * seconds)  # -60 dB after T60
    weights = jnp.exp(-rate[:, None, None] * (lag - 1)[None])
    weights = jnp.where((lag > 0)[None], weights, 0) * tail[:, None, None]
    return jnp.einsum("BTs,BsF->BTF", weights, x)


def draw(rng, position, augment: config.Augment) -> Channel:
    """Draws a channel for each of [B] positions in the global batch."""

    def one(position):
        keys = iter(jax.random.split(jax.random.fold_in(rng, position), 12))

        def span(low, high):
            return jax.random.uniform(next(keys), (), minval=low, maxval=high)

        def chance(probability):
            return jax.random.bernoulli(next(keys), probability)

        def normal():
            return jax.random.normal(next(keys), (KNOTS,))

        speed = span(*augment.speed)
        return Channel(
            tempo=span(*augment.tempo) * speed,
            warp=span(*augment.warp) / speed,
            equaliser=augment.eq_db * normal(),
            tail=chance(augment.reverb) * 10 ** (span(-15.0, -3.0) / 10),
            seconds=span(*augment.reverb_seconds),
            noise=chance(augment.noise) * 10 ** (-span(*augment.noise_snr_db) / 10),
            tilt=span(-4.0, 1.0) * jnp.arange(KNOTS) + 3.0 * normal(),
            key=next(keys),
        )

    return jax.vmap(one)(position)
