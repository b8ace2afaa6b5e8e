"""Labels by the clock: what is being said in each frame, where its times are known.

Ours, for small recipes on synthesised speech: the synthesiser knows when each phone and token
begins. Dims: B batch, T frames, N sounds.
"""

import jax.numpy as jnp

from seedasr_jax import shapes


def spoken(ids, starts, length, seconds):
    """What is being said at given moments.

    Args:
        ids: [B N] int32, what is said one after another.
        starts: [B N] seconds at which each begins, ascending.
        length: [B] int32, real ones of N.
        seconds: [B T] moments.

    Returns:
        [B T] int32 ids, and [B T] bool: False before the first begins, where nothing is said.
    """
    dims = shapes.check(starts, "B N", shapes.check(ids, "B N"))
    shapes.check(seconds, "B T", dims)
    begun = (starts[:, None] <= seconds[..., None]) & shapes.valid(length, dims["N"])[:, None]
    count = begun.sum(-1)
    at = jnp.maximum(count - 1, 0)
    return jnp.take_along_axis(ids, at, 1), count > 0
