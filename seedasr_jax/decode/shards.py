"""Reductions of logits sharded over `tensor`: each device reduces its shard, then all combine.

Per row, the candidates of each shard, a maximum and a sum are communicated, never V logits.

Dims: B batch, V padded vocabulary, S shards of it, C candidates; `...` are other axes.
"""

from collections.abc import Callable
import dataclasses
import functools

import jax
import jax.numpy as jnp

from seedasr_jax.parallel import layout


@dataclasses.dataclass(frozen=True)
class Shard:
    """Reductions over a last axis of which a device has the shard [... V/S], to the same on all."""

    axis: str | None = None  # mesh axis; None: the device has all of [... V]

    def first(self, size: int):
        """Index in V of the first element of this device's shard of `size` elements."""
        return jax.lax.axis_index(self.axis) * size if self.axis else 0

    def indices(self, x):
        """[1 ... V/S]: indices in V of the elements of x, this device's shard."""
        index = self.first(x.shape[-1]) + jnp.arange(x.shape[-1])
        return jnp.expand_dims(index, range(x.ndim - 1))

    def best(self, x, count: int):
        """The `count` largest values in descending order, and their indices in V: [... count] each.

        Ties are in order of the index, as in `jax.lax.top_k`, however V is sharded.
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
        """Over all of V: [... 1] float32."""
        if self.axis is None:
            return jax.nn.logsumexp(x, -1, keepdims=True)
        largest = jax.lax.pmax(x.max(-1, keepdims=True), self.axis)
        total = jnp.exp(x - largest).sum(-1, keepdims=True)
        return largest + jnp.log(jax.lax.psum(total, self.axis))

    def at(self, x, index):
        """Takes x at index [... C], int32 in V, along the last axis: [... C]."""
        if self.axis is None:
            return jnp.take_along_axis(x, index, -1)
        index = index - self.first(x.shape[-1])
        inside = (index >= 0) & (index < x.shape[-1])
        found = jnp.take_along_axis(x, jnp.where(inside, index, 0), -1)
        return jax.lax.psum(jnp.where(inside, found, 0), self.axis)


ALL = Shard()


def over(function: Callable, logits, *trees):
    """Runs `function(shard, logits, *trees)` on each device's examples; returns arrays [B ...].

    `logits`: tree of [B ... V], sharded over `tensor` if V is divisible by its size; `trees`:
    arrays [B ...] and scalars.
    """
    size = jax.tree.leaves(logits)[0].shape[-1]
    sharded = layout.axis_size("tensor") > 1 and layout.if_divisible("tensor", size)
    reduce = functools.partial(function, Shard("tensor") if sharded else ALL)
    return layout.by_rows(reduce, logits, *trees, over_tensor=1)


def pick(shard: Shard, both):
    """(scores, logits), [B ... V] each -> argmax of scores and its log-probability, [B ...]."""
    scores, logits = both
    _, chosen = shard.best(scores, 1)
    gain = shard.at(logits, chosen) - shard.logsumexp(logits)
    return chosen[..., 0].astype(jnp.int32), gain[..., 0]
