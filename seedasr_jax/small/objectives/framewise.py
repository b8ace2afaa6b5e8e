"""Frame labels from the times that a synthesiser reports: the phone or token in each frame.

Dims: B batch, T frames, N phones or tokens.
"""

import jax.numpy as jnp

from seedasr_jax import shapes


def spoken(ids, starts, length, seconds):
    """The phones or tokens that are spoken at given times.

    Args:
        ids: [B N] int32, of which [B] `length` are valid.
        starts: [B N] seconds at which each begins, ascending.
        seconds: [B T] times.

    Returns:
        [B T] int32 ids, and [B T] bool: false before the first begins.
    """
    dims = shapes.check(starts, "B N", shapes.check(ids, "B N"))
    shapes.check(seconds, "B T", dims)
    begun = (starts[:, None] <= seconds[..., None]) & shapes.valid(length, dims["N"])[:, None]
    count = begun.sum(-1)
    latest = jnp.maximum(count - 1, 0)
    return jnp.take_along_axis(ids, latest, 1), count > 0
