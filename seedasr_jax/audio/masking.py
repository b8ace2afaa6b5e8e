"""Masking of the encoder's input: SpecAugment (arXiv 1904.08779), and spans to be predicted.

Dims: B batch, T frames, F mel bins.
"""

import jax
import jax.numpy as jnp

from seedasr_jax import config, shapes


def spec_augment(mel, count, rng, position, augment: config.Augment):
    """Masks spans of bins and of frames of [B T F] with 0, the mean after normalisation.

    `count`: [B] int32 valid frames; `position`: [B] int32, folded into the step's key per example.
    """
    dims = shapes.check(mel, "B T F")

    def spans(key, masks, size, widest, length):
        """[size] bool: inside any of `masks` spans of at most `widest`, all within `length`."""
        keys = jax.random.split(key, 2)
        width = jax.random.uniform(keys[0], (masks,)) * (widest + 1)
        width = jnp.floor(width).astype(jnp.int32)
        start = jax.random.uniform(keys[1], (masks,)) * jnp.maximum(length - width + 1, 1)
        start = jnp.floor(start).astype(jnp.int32)[:, None]
        at = jnp.arange(size)[None]
        return ((at >= start) & (at < start + width[:, None])).any(0)

    def one(position, count):
        keys = jax.random.split(jax.random.fold_in(rng, position), 2)
        bins, frames = dims["F"], dims["T"]
        masked = jnp.zeros((frames, bins), bool)
        if augment.frequency_masks:
            widest = min(augment.frequency_width, bins)
            masked |= spans(keys[0], augment.frequency_masks, bins, widest, bins)[None]
        if augment.time_masks:
            widest = jnp.floor(augment.time_fraction * count)
            masked |= spans(keys[1], augment.time_masks, frames, widest, count)[:, None]
        return masked

    return jnp.where(jax.vmap(one)(position, count), 0, mel)


def spans(count, size, rng, position, *, start, span):
    """[B T] bool, false at padding: frames to be masked and predicted (BEST-RQ, arXiv 2202.01855).

    Each valid frame starts a span of `span` frames with probability `start`; spans may overlap and
    are cut at the end of the utterance. An utterance without any span gets one, uncut if it fits.
    `count`: [B] int32 valid frames; `position`: [B] int32, folded into the step's key per example.
    """

    def one(position, count):
        keys = jax.random.split(jax.random.fold_in(rng, position), 2)
        # The draw of frame t depends on the key and on t alone: a longer bucket changes no mask.
        frame = jnp.arange(size)
        starts = (jax.random.uniform(keys[0], (size,)) < start) & (frame < count)
        room = jnp.maximum(count - span + 1, 1)
        only = jnp.floor(jax.random.uniform(keys[1]) * room).astype(jnp.int32)
        starts = jnp.where(starts.any(), starts, frame == only)
        begun = jnp.cumsum(starts)
        ended = jnp.pad(begun, (span, 0))[:size]  # spans that began at least `span` frames ago
        return (begun > ended) & (frame < count)

    return jax.vmap(one)(position, count)


def noise(mel, masked, rng, position, deviation):
    """Replaces the masked frames, [B T] bool, of [B T F] by draws from N(0, deviation^2)."""
    dims = shapes.check(mel, "B T F")
    shapes.check(masked, "B T", dims)

    def one(position):
        return jax.random.normal(jax.random.fold_in(rng, position), mel.shape[1:])

    return jnp.where(masked[..., None], deviation * jax.vmap(one)(position), mel)
