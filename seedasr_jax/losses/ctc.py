"""Connectionist temporal classification (Graves et al. 2006), summed.

Dims: B batch, T frames, L tokens, V vocabulary.
"""

import jax
import jax.numpy as jnp
import optax

from seedasr_jax import shapes


def feasible(ids, ids_length, frames):
    """[B] bool: whether the frames have room for the tokens and a blank between equal neighbours.

    Args:
        ids: [B L] int32; ids_length, frames: [B] int32.
    """
    dims = shapes.check(ids, "B L")
    pair = shapes.valid(ids_length - 1, dims["L"] - 1) if dims["L"] > 1 else False
    repeats = jnp.sum((ids[:, 1:] == ids[:, :-1]) & pair, 1)
    return (ids_length + repeats <= frames) & (ids_length > 0)


def ctc(logits, frames, ids, ids_length, weights, blank):
    """Sum of -weights * log P(ids | logits), natural logarithm, float32.

    Args:
        logits: [B T V], finite; frames: [B] int32, real frames; padding is ignored.
        ids: [B L] int32; ids_length: [B] int32.
        weights: [B] float32; must be 0 where `feasible` says no. Such a row is ignored.
        blank: id of the blank, never in ids.
    """
    dims = shapes.check(logits, "B T V")
    dims = shapes.check(ids, "B L", dims)
    shapes.check(weights, "B", dims)
    frames = jnp.where(weights > 0, frames, 0)
    logits = shapes.zero_padding(logits.astype(jnp.float32), frames)
    real = shapes.valid(ids_length, dims["L"])
    ids = jnp.where(real, ids, blank)  # a repeat behind the end would cost a bit of rounding
    padding = 1.0 - shapes.valid(frames, dims["T"])
    with jax.default_matmul_precision("highest"):  # it picks by a product with one-hot labels
        nll = optax.ctc_loss(logits, padding, ids, 1.0 - real, blank_id=blank)
    return jnp.where(weights > 0, nll * weights, 0).sum()
