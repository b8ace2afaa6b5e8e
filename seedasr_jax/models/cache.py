"""KV cache: keys and values of a prefix, once per row, and of the tokens of each hypothesis.

Dims: L layers, B batch, W hypotheses, N prefix and S token slots, G key-value heads, K head width.
"""

import dataclasses

import jax
import jax.numpy as jnp

from seedasr_jax import shapes
from seedasr_jax.parallel import layout, rules


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class KVCache:
    """The W hypotheses of a row share one prefix; each has its own token slots, filled in order.

    All arrays are sharded over examples and, if divisible, over heads.
    """

    prefix: tuple[jax.Array, jax.Array]  # keys and values, each [L B N G K]
    valid: jax.Array  # [B N] bool, valid prefix slots
    k: jax.Array  # [L B W S G K]
    v: jax.Array  # [L B W S G K]
    slot: jax.Array  # scalar int32, the next free token slot


def init(k, v, valid, count: int, room: int) -> KVCache:
    """A cache of `count` hypotheses with `room` free token slots each; `k`, `v`: [L B N G K]."""
    dims = shapes.check(k, "L B N G K")
    shapes.check(valid, "B N", dims)
    prefix = tuple(layout.constrain(x, None, rules.BATCH, None, "tensor", None) for x in (k, v))
    empty = _constrained(
        jnp.zeros((dims["L"], dims["B"], count, room, dims["G"], dims["K"]), k.dtype)
    )
    return KVCache(prefix, layout.rows(valid), empty, empty, jnp.zeros((), jnp.int32))


def add(cache: KVCache, k, v) -> KVCache:
    """Appends one token of each hypothesis: keys and values [L B W G K]."""

    def put(into, x):
        return _constrained(jax.lax.dynamic_update_index_in_dim(into, x, cache.slot, 3))

    return dataclasses.replace(cache, k=put(cache.k, k), v=put(cache.v, v), slot=cache.slot + 1)


def reorder(cache: KVCache, parent: jax.Array) -> KVCache:
    """Replaces hypothesis w of row b by hypothesis parent[b, w] of that row; `parent`: [B W] int32.

    The prefix is not moved, and no data leave their row, hence their device. Layers are updated one
    after another in place, so only one layer's tokens exist twice at a time.
    """
    parent = parent[:, :, None, None, None]

    def one(layer, both):
        def pick(x):
            new = jnp.take_along_axis(x[layer], parent, 1, mode="promise_in_bounds")
            return _constrained(jax.lax.dynamic_update_index_in_dim(x, new, layer, 0))

        return tuple(map(pick, both))

    k, v = jax.lax.fori_loop(0, len(cache.k), one, (cache.k, cache.v))
    return dataclasses.replace(cache, k=k, v=v)


def _constrained(x):
    return layout.constrain(x, None, rules.BATCH, None, None, "tensor", None)
