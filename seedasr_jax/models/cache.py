"""KV cache: keys and values of all layers, which slots are real, and where the next one goes.

Dims: L layers, B batch, M slots, G key-value heads, K head width.
"""

import dataclasses

import jax
import jax.numpy as jnp


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class KVCache:
    """Slots are filled in order for the whole batch; padding slots stay, unseen."""

    k: jax.Array  # [L B M G K]
    v: jax.Array  # [L B M G K]
    valid: jax.Array  # [B M] bool
    slot: jax.Array  # scalar int32, the next free slot


def empty(config, batch: int, slots: int, dtype) -> KVCache:
    """A cache for a decoder config."""
    shape = (config.layers, batch, slots, config.groups, config.head_width)
    return KVCache(
        k=jnp.zeros(shape, dtype),
        v=jnp.zeros(shape, dtype),
        valid=jnp.zeros((batch, slots), bool),
        slot=jnp.zeros((), jnp.int32),
    )


def extend(cache: KVCache, real: jax.Array) -> tuple[KVCache, jax.Array]:
    """Claims the next slots for `real` [B N] bool.

    Returns:
        The cache with them marked and counted, and the mask [B N M] of what each may see: real
        slots up to its own. k and v are the decoder's to fill.
    """
    size, slots = real.shape[1], cache.valid.shape[1]
    valid = jax.lax.dynamic_update_slice(cache.valid, real, (0, cache.slot))
    own = cache.slot + jnp.arange(size)
    mask = valid[:, None] & (jnp.arange(slots)[None] <= own[:, None])[None]
    return dataclasses.replace(cache, valid=valid, slot=cache.slot + size), mask


def reorder(cache: KVCache, rows: jax.Array, since: int = 0) -> KVCache:
    """The cache whose row n goes on from row rows[n].

    Args:
        cache: of B rows.
        rows: [B'] int32; B' may differ from B where `since` is 0: so a row is spread over beams.
        since: slots before it are equal in rows that replace each other and stay where they are.
    """

    def pick(x, axis, slots):
        moved = jnp.take(jax.lax.slice_in_dim(x, since, None, axis=slots), rows, axis)
        kept = jax.lax.slice_in_dim(x, 0, since, axis=slots)
        return jnp.concatenate([kept, moved], slots) if since else moved

    return dataclasses.replace(
        cache, k=pick(cache.k, 1, 2), v=pick(cache.v, 1, 2), valid=pick(cache.valid, 0, 1)
    )
