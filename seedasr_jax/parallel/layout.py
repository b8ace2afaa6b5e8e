"""Sharding of activations; rules.py has the rules for parameters.

A program is traced `over` a mesh. Inside, models call the function here that names an array's kind,
and that decides the sharding: examples over (data, fsdp, expert), heads and hidden widths over
tensor. Positions of the residual stream are sharded over tensor too ("sequence parallel", arXiv
2205.05198), so that the activations that remat saves are spread over all devices. Without these
constraints XLA follows the parameters' shardings and gathers the examples. Outside of `over`, and
on a single device, nothing is constrained; an axis that is not divisible stays replicated.

Dims: B batch, N positions, E width, H heads, K head width, F hidden width.
"""

import contextlib
import contextvars
import math

import jax
from jax.sharding import NamedSharding, PartitionSpec

from seedasr_jax.parallel import rules

_OVER = contextvars.ContextVar("over", default=(None, False))


@contextlib.contextmanager
def over(mesh: jax.sharding.Mesh, *, gathered: bool = False):
    """Traces the code inside for `mesh`, of any number of devices.

    `gathered`: whether the decoder's parameters are replicated over rules.FSDP; see
    decode/gathering.py.
    """
    token = _OVER.set((mesh, gathered))
    try:
        yield
    finally:
        _OVER.reset(token)


def mesh() -> jax.sharding.Mesh | None:
    """The mesh of the innermost `over`, or None if it has a single device."""
    found, _ = _OVER.get()
    return found if found is not None and found.size > 1 else None


def gathered() -> bool:
    """Whether the decoder's parameters are replicated over rules.FSDP."""
    return _OVER.get()[1]


def platform() -> str | None:
    """Platform of the devices of the innermost `over` (cpu, gpu, tpu), or None."""
    found, _ = _OVER.get()
    return None if found is None else found.devices.flat[0].platform


def axis_size(axis) -> int:
    """Number of devices along a mesh axis, or along several; 1 outside of `over`."""
    return math.prod(mesh().shape[name] for name in rules.mesh_axes(axis)) if mesh() else 1


def constrain(x, *axes):
    """Constrains x so that its axis i is sharded over mesh axes `axes[i]` (None: replicated)."""
    if mesh() is None:
        return x
    spec = PartitionSpec(*map(if_divisible, axes, x.shape))
    return jax.lax.with_sharding_constraint(x, NamedSharding(mesh(), spec))


def rows(tree):
    """Constrains a tree of arrays [B ...] to be sharded over B alone."""
    return jax.tree.map(lambda x: constrain(x, rules.BATCH, *(None,) * (x.ndim - 1)), tree)


def by_rows(function, *trees, over_tensor=0):
    """Runs `function` on each device's examples, where XLA would gather them, such as for `top_k`.

    Args:
        function: maps trees like `trees`, of a device's shards, to a tree of arrays [B ...].
        *trees: trees of arrays [B ...] and scalars.
        over_tensor: number of leading trees whose last axis [B ... V] is sharded over tensor too.
    """
    if mesh() is None:
        return function(*trees)
    size = next(x.shape[0] for x in jax.tree.leaves(trees) if x.ndim)
    spec = PartitionSpec(if_divisible(rules.BATCH, size))

    def by_example(x):
        return spec if x.ndim else PartitionSpec()

    def by_last_axis(x):
        return PartitionSpec(*spec, *(None,) * (x.ndim - 2), if_divisible("tensor", x.shape[-1]))

    widened = jax.tree.map(by_last_axis, trees[:over_tensor])
    specs = widened + jax.tree.map(by_example, trees[over_tensor:])
    run = jax.shard_map(function, mesh=mesh(), in_specs=specs, out_specs=spec, check_vma=False)
    return run(*trees)


def if_divisible(axis, size):
    """The mesh axes `axis`, or None if `size` is not divisible by their number of devices."""
    return axis if size % axis_size(axis) == 0 else None


def on_shards(kernel, arrays, axes, out):
    """Runs `kernel` on each device's shards of `arrays`.

    Args:
        kernel: maps shards of `arrays` to the shard of one result.
        arrays: a tuple of arrays.
        axes: per array, the mesh axes of each of its axes (None: replicated), which must divide it.
        out: mesh axes of the result's axes.
    """
    if mesh() is None:
        return kernel(*arrays)
    specs, out = tuple(PartitionSpec(*each) for each in axes), PartitionSpec(*out)
    run = jax.shard_map(kernel, mesh=mesh(), in_specs=specs, out_specs=out, check_vma=False)
    return run(*arrays)


def residual(x):
    """Constrains the residual stream [B N E] between layers: N is sharded over tensor."""
    return constrain(x, rules.BATCH, "tensor", None)


def all_positions(x):
    """Constrains the input [B N E] of a layer that mixes positions or widens: N is replicated."""
    return constrain(x, rules.BATCH, None, None)


def hidden(x):
    """Constrains hidden activations or logits [B N F]: F is sharded over tensor."""
    return constrain(x, rules.BATCH, None, "tensor")


def heads(x):
    """Constrains queries, keys or values [B N H K]: H is sharded over tensor."""
    return constrain(x, rules.BATCH, None, "tensor", None)
