"""Shardings of a state and of a Batch, from the one table.

Dims: B global batch.
"""

import functools
import math

from flax import nnx
import jax
from jax.sharding import NamedSharding, PartitionSpec
import numpy as np

from seedasr_jax.errors import ConfigError
from seedasr_jax.parallel import rules
from seedasr_jax.parallel.mesh import AXES


def of_params(params: nnx.State, mesh, *, gathered=False):
    """A tree like `params` (abstract or not) of shardings, by each parameter's axes.

    `gathered`: as of `rules.spec`.
    """

    def one(path, param):
        name = ".".join(str(key) for key in path)
        axes = param.get_metadata("axes")
        spec = rules.spec(axes, param.shape, mesh, name, gathered=gathered)
        return param.replace(NamedSharding(mesh, spec))

    return nnx.map_state(one, params)


def bytes_of(tree) -> int:
    """Bytes on each device of a tree of shapes with shardings."""
    return sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(tree)
    )


def placed(abstract, shardings):
    """A tree of shapes with their shardings, for compiling ahead of time."""

    def one(shape, place):
        return jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=place)

    return jax.tree.map(one, abstract, shardings)


def like_params(tree, params, shardings, mesh):
    """Shardings of an optimiser's state: what belongs to a parameter is sharded as it is.

    So are Adafactor's rows and columns, which are parameters without one axis. What has any other
    shape is small and replicated.

    Args:
        tree: abstract optimiser state, holding trees like `params` and scalars.
        params, shardings: trees of one structure.
    """
    structure = jax.tree.structure(params)

    def is_params(node):
        return jax.tree.structure(node) == structure

    def follow(leaf, param, place):
        spec = (*place.spec, *(None,) * (param.ndim - len(place.spec)))
        for gone in range(param.ndim):  # of two equal axes either will do: values do not move
            if leaf.shape == param.shape[:gone] + param.shape[gone + 1 :]:
                return NamedSharding(mesh, PartitionSpec(*spec[:gone], *spec[gone + 1 :]))
        return place if leaf.shape == param.shape else replicated(mesh)

    def one(node):
        if is_params(node):
            leaves = map(jax.tree.leaves, (node, params, shardings))
            return jax.tree.unflatten(structure, map(follow, *leaves))
        return replicated(mesh)

    return jax.tree.map(one, tree, is_leaf=is_params)


def replicated(mesh):
    """Replicated on all devices."""
    return NamedSharding(mesh, PartitionSpec())


def of_batch(mesh):
    """B over the mesh axes that share examples."""
    return NamedSharding(mesh, PartitionSpec(rules.BATCH))


def rows(utterances: int, mesh) -> int:
    """Utterances rounded up to a multiple of the devices that share a batch."""
    parts = math.prod(mesh.shape[axis] for axis in rules.BATCH)
    return -(-utterances // parts) * parts


def check_batch(utterances: int, mesh, accum: int):
    """Checks that a bucket is divisible over mesh and accumulation.

    Raises:
        ConfigError: names the nearest number of utterances that does.
    """
    parts = accum * math.prod(mesh.shape[axis] for axis in rules.BATCH)
    if utterances % parts:
        above = -(-utterances // parts) * parts
        raise ConfigError(
            f"a bucket of {utterances} utterances is not divisible by mesh.data x mesh.fsdp x"
            f" mesh.expert x run.accum = {parts}; the nearest that is: {above}"
        )


def share(mesh) -> tuple[int, int]:
    """Which of how many equal shares of a batch's rows this process holds.

    Raises:
        ConfigError: see `shares`.
    """
    return _held(mesh)[jax.process_index()]


def holders(mesh) -> list[int]:
    """A process that holds each share of a batch's rows, in the order of the shares."""
    found = {place: process for process, (place, _) in _held(mesh).items()}
    return [found[place] for place in sorted(found)]


@functools.lru_cache(maxsize=64)
def _held(mesh):
    """`shares` of a mesh: each step asks, and a pod has thousands of devices."""
    return shares(np.vectorize(lambda device: device.process_index)(mesh.devices))


def shares(owners: np.ndarray) -> dict[int, tuple[int, int]]:
    """Which of how many equal shares of a batch's rows each process holds.

    Processes that share the width of a row hold the same rows.

    Args:
        owners: the process of each device, by the axes of a mesh.

    Raises:
        ConfigError: the rows of some processes overlap without being equal.
    """
    sizes = dict(zip(AXES, owners.shape))
    grid = [size if axis in rules.BATCH else 1 for axis, size in sizes.items()]
    rows = np.broadcast_to(np.arange(math.prod(grid)).reshape(grid), owners.shape)
    held = {owner: tuple(np.unique(rows[owners == owner])) for owner in np.unique(owners).tolist()}
    places = sorted(set(held.values()))
    if sum(map(len, places)) != math.prod(grid):
        raise ConfigError(
            f"mesh.tensor={sizes['tensor']}, mesh.expert={sizes['expert']}: the rows of a batch on"
            f" some of {len(held)} processes would overlap in part; expected"
            f" mesh.tensor x mesh.expert to divide the {owners.size // len(held)} devices of each"
        )
    return {owner: (places.index(own), len(places)) for owner, own in held.items()}


def put_batch(batch, mesh):
    """A process's rows of a numpy Batch to global arrays, B over rules.BATCH.

    Their shape is stated: to find it out JAX would go over all devices for each axis of each array.
    """
    place, (_, count) = of_batch(mesh), share(mesh)

    def put(x):
        return jax.make_array_from_process_local_data(place, x, (len(x) * count, *x.shape[1:]))

    return jax.tree.map(put, batch)


def take_rows(x) -> np.ndarray:
    """Rows of this process of a global array [B ...] that is sharded as `of_batch` says."""
    by_start = {shard.index[0].start or 0: shard.data for shard in x.addressable_shards}
    return np.concatenate([np.asarray(by_start[start]) for start in sorted(by_start)])
