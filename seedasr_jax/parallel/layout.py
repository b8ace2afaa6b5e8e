"""Sharding of activations; that of parameters is in rules.py.

A program is traced `over` a mesh; inside, models name what an array is, which decides its sharding:
examples over (data, fsdp, expert), heads and hidden widths over tensor, and the residual stream,
whose sum is all that a layer hands on, along its positions over tensor too ("sequence parallel",
arXiv 2205.05198), so that what remat saves is spread over all devices. Without these constraints
XLA follows the parameters and gathers the examples.

Outside of `over`, and on one device, nothing is constrained. An axis that is not divisible by its
mesh axes stays replicated.

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
    """Traces the code inside for `mesh`.

    Args:
        mesh: of any number of devices.
        gathered: whether the decoder's parameters are replicated over rules.FSDP; see
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
    """Devices along a mesh axis, or along several; 1 outside of `over`."""
    return math.prod(mesh().shape[name] for name in rules.on(axis)) if mesh() else 1


def keep(x, *places):
    """Constrains x so that axis i is sharded over `places[i]` (None: replicated).

    Axes that are not divisible stay replicated.
    """
    if mesh() is None:
        return x
    spec = PartitionSpec(*map(dividing, places, x.shape))
    return jax.lax.with_sharding_constraint(x, NamedSharding(mesh(), spec))


def rows(tree):
    """Constrains a tree of arrays [B ...] to be sharded over examples alone."""
    return jax.tree.map(lambda x: keep(x, rules.BATCH, *(None,) * (x.ndim - 1)), tree)


def by_rows(function, *trees, wide=0):
    """`function` of trees of arrays [B ...] and scalars, which gives a tree of arrays [B ...].

    Each device runs it on its own examples: for what XLA would gather them, such as `top_k`. Of
    the first `wide` trees, of arrays [B ... V], it has its own share of the last axis too.
    """
    if mesh() is None:
        return function(*trees)
    size = next(x.shape[0] for x in jax.tree.leaves(trees) if x.ndim)
    spec = PartitionSpec(dividing(rules.BATCH, size))

    def narrow(x):
        return spec if x.ndim else PartitionSpec()

    def shared(x):
        return PartitionSpec(*spec, *(None,) * (x.ndim - 2), dividing("tensor", x.shape[-1]))

    specs = (*jax.tree.map(shared, trees[:wide]), *jax.tree.map(narrow, trees[wide:]))
    return jax.shard_map(function, mesh=mesh(), in_specs=specs, out_specs=spec, check_vma=False)(
        *trees
    )


def dividing(place, size):
    """`place`, or None where an axis of `size` is not divisible by its devices."""
    return place if size % axis_size(place) == 0 else None


def on_each(kernel, arrays, places, out):
    """`kernel` of `arrays`: each device runs it on what is its own.

    Args:
        places: for each array the mesh axes of its axes (None: each device has all of it), by which
            they must be divisible.
        out: the same of the result, one array.
    """
    if mesh() is None:
        return kernel(*arrays)
    return jax.shard_map(
        kernel,
        mesh=mesh(),
        in_specs=tuple(PartitionSpec(*place) for place in places),
        out_specs=PartitionSpec(*out),
        check_vma=False,
    )(*arrays)


def residual(x):
    """[B N E] between layers."""
    return keep(x, rules.BATCH, "tensor", None)


def whole(x):
    """[B N E] as a layer that mixes positions or widens reads it."""
    return keep(x, rules.BATCH, None, None)


def wide(x):
    """[B N F] inside a layer."""
    return keep(x, rules.BATCH, None, "tensor")


def heads(x):
    """[B N H K]."""
    return keep(x, rules.BATCH, None, "tensor", None)
