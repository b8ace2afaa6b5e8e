"""Connectionist temporal classification (Graves et al. 2006), summed.

Dims: B batch, T frames, L tokens, V vocabulary.
"""

import jax
import jax.numpy as jnp
import optax

from seedasr_jax import shapes


def feasible(ids, ids_length, frames):
    """[B] bool: whether transcripts [B L] of [B] tokens have an alignment to [B] frames.

    It needs a frame for each token and for a blank between equal neighbours; empty ones have none.
    """
    dims = shapes.check(ids, "B L")
    pair = shapes.valid(ids_length - 1, dims["L"] - 1) if dims["L"] > 1 else False
    repeats = jnp.sum((ids[:, 1:] == ids[:, :-1]) & pair, 1)
    return (ids_length + repeats <= frames) & (ids_length > 0)


def ctc(logits, frames, ids, ids_length, weights, blank):
    """Sum of -weights * log P(ids | logits), natural logarithm, float32.

    Args:
        logits, frames: [B T V], finite at valid frames; [B] int32 valid frames.
        ids, ids_length: [B L] int32; [B] int32.
        weights: [B] float32; must be 0 where `feasible` is false. Rows of weight 0 are ignored.
        blank: id of the blank, never in ids.
    """
    dims = shapes.check(ids, "B L", shapes.check(logits, "B T V"))
    shapes.check(weights, "B", dims)
    frames = jnp.where(weights > 0, frames, 0)
    logits = shapes.zero_padding(logits.astype(jnp.float32), frames)
    valid = shapes.valid(ids_length, dims["L"])
    ids = jnp.where(valid, ids, blank)  # a repeated token in the padding would change rounding
    padding = 1.0 - shapes.valid(frames, dims["T"])
    with jax.default_matmul_precision("highest"):  # optax selects by a product with one-hot labels
        nll = optax.ctc_loss(logits, padding, ids, 1.0 - valid, blank_id=blank)
    return jnp.where(weights > 0, nll * weights, 0).sum()
