"""Logits stay sharded over `tensor`: each device reduces its shard, and what is left is combined.

Of a row W candidates of each shard, a maximum and a sum travel, never V logits.

Dims: B batch, W hypotheses, V vocabulary as padded, S shards of it, C candidates; `...` are other
axes.
"""

from collections.abc import Callable
import dataclasses
import functools

import jax
import jax.numpy as jnp

from seedasr_jax.parallel import layout


@dataclasses.dataclass(frozen=True)
class Shard:
    """Reductions of a last axis of which a device holds the part [... V/S]; all give all devices
    the same.
    """

    axis: str | None = None  # of the mesh; None: it holds all of [... V]

    def first(self, size: int):
        """The index in V of the first of `size` that this device holds."""
        return jax.lax.axis_index(self.axis) * size if self.axis else 0

    def indices(self, x):
        """[1 ... V/S]: where in V the elements of x are that this device holds."""
        size = x.shape[-1]
        return jnp.expand_dims(self.first(size) + jnp.arange(size), range(x.ndim - 1))

    def best(self, x, count: int):
        """The `count` largest, in order, and where they are in V: [... count] each.

        Of equal ones the first comes first, as of `jax.lax.top_k`, whatever the shards.
        """
        most = min(count, x.shape[-1])
        if most == 1:
            index = jnp.argmax(x, -1)[..., None]
            value = jnp.take_along_axis(x, index, -1)
        else:
            value, index = jax.lax.top_k(x, most)
        if self.axis is None:
            return value, index
        index = index + self.first(x.shape[-1])
        value, index = (
            jax.lax.all_gather(of, self.axis, axis=of.ndim - 1, tiled=True) for of in (value, index)
        )
        value, at = jax.lax.top_k(value, count)
        return value, jnp.take_along_axis(index, at, -1)

    def logsumexp(self, x):
        """[... 1] float32."""
        if self.axis is None:
            return jax.nn.logsumexp(x, -1, keepdims=True)
        largest = jax.lax.pmax(x.max(-1, keepdims=True), self.axis)
        total = jnp.exp(x - largest).sum(-1, keepdims=True)
        return largest + jnp.log(jax.lax.psum(total, self.axis))

    def at(self, x, index):
        """x[index] along the last axis, [... C] by [... C] int32 of V."""
        if self.axis is None:
            return jnp.take_along_axis(x, index, -1)
        index = index - self.first(x.shape[-1])
        own = (index >= 0) & (index < x.shape[-1])
        found = jnp.take_along_axis(x, jnp.where(own, index, 0), -1)
        return jax.lax.psum(jnp.where(own, found, 0), self.axis)


ALL = Shard()


def over(function: Callable, logits, *trees):
    """`function(shard, logits, *trees)`, a tree of arrays [B ...].

    Args:
        function: runs on each device, on its own examples.
        logits: a tree of [B ... V], of which a device has its shard, if `tensor` divides V.
        trees: arrays [B ...] and scalars.
    """
    size = jax.tree.leaves(logits)[0].shape[-1]
    sharded = layout.axis_size("tensor") > 1 and layout.if_divisible("tensor", size)
    reduce = functools.partial(function, Shard("tensor") if sharded else ALL)
    return layout.by_rows(reduce, logits, *trees, over_tensor=1)


def pick(shard: Shard, both):
    """Of (scores, logits), each [B ... V]: the index of the largest score, and the log-probability
    that it has by the logits, [B ...] each.
    """
    scores, logits = both
    _, chosen = shard.best(scores, 1)
    gain = shard.at(logits, chosen) - shard.logsumexp(logits)
    return chosen[..., 0].astype(jnp.int32), gain[..., 0]
