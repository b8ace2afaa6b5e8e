"""What is hidden from the model: SpecAugment (arXiv 1904.08779), and spans to be predicted.

Dims: B batch, T frames, F mel bins.
"""

import jax
import jax.numpy as jnp

from seedasr_jax import config, shapes


def spec_augment(mel, count, rng, position, augment: config.Augment):
    """Masks spans of bins and of frames with 0, the mean after normalisation.

    Args:
        mel: [B T F]; count: [B] int32, real frames.
        rng: the step's key; position: [B] int32, folded in per example.
        augment: number and width of the masks.

    Returns:
        [B T F].
    """
    dims = shapes.check(mel, "B T F")

    def spans(key, masks, size, widest, length):
        """[size] bool: inside one of `masks` spans of up to `widest`, within `length`."""
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
        hidden = jnp.zeros((frames, bins), bool)
        if augment.frequency_masks:
            widest = min(augment.frequency_width, bins)
            hidden |= spans(keys[0], augment.frequency_masks, bins, widest, bins)[None]
        if augment.time_masks:
            widest = jnp.floor(augment.time_fraction * count)
            hidden |= spans(keys[1], augment.time_masks, frames, widest, count)[:, None]
        return hidden

    return jnp.where(jax.vmap(one)(position, count), 0, mel)


def spans(count, size, rng, position, *, start, span):
    """Spans of frames to be hidden and predicted (BEST-RQ, arXiv 2202.01855).

    Each real frame starts a span with probability `start`; spans may overlap and end with the
    utterance. One that drew none gets one, whole where there is room.

    Args:
        count: [B] int32, real frames; size: T.
        rng: the step's key; position: [B] int32, folded in per example.
        start: probability; span: frames.

    Returns:
        [B T] bool, false at padding.
    """

    def one(position, count):
        keys = jax.random.split(jax.random.fold_in(rng, position), 2)
        # What frame t draws depends on the key and on t alone: a longer bucket changes no mask.
        at = jnp.arange(size)
        starts = (jax.random.uniform(keys[0], (size,)) < start) & (at < count)
        room = jnp.maximum(count - span + 1, 1)
        only = jnp.floor(jax.random.uniform(keys[1]) * room).astype(jnp.int32)
        starts = jnp.where(starts.any(), starts, at == only)
        begun = jnp.cumsum(starts)
        ended = jnp.pad(begun, (span, 0))[:size]  # begun `span` frames ago or earlier
        return (begun > ended) & (at < count)

    return jax.vmap(one)(position, count)


def noise(mel, hidden, rng, position, deviation):
    """[B T F] with the hidden frames, [B T] bool, replaced by draws from N(0, deviation^2)."""
    dims = shapes.check(mel, "B T F")
    shapes.check(hidden, "B T", dims)

    def one(position):
        return jax.random.normal(jax.random.fold_in(rng, position), mel.shape[1:])

    return jnp.where(hidden[..., None], deviation * jax.vmap(one)(position), mel)
