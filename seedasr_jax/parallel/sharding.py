"""Shardings of a state and of a Batch, from the table in rules.py.

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
    """The shardings of a tree of parameters (abstract or not); `gathered`: see `rules.spec`."""

    def one(path, param):
        name = ".".join(str(key) for key in path)
        axes = param.get_metadata("axes", None)
        spec = rules.spec(axes, param.shape, mesh, name, gathered=gathered)
        return param.replace(NamedSharding(mesh, spec))

    return nnx.map_state(one, params)


def bytes_of(tree) -> int:
    """Bytes per device of a tree of shapes with shardings."""
    return sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(tree)
    )


def placed(abstract, shardings):
    """A tree of shapes with a tree of shardings, or with one for all, to compile ahead of time."""

    def one(shape, sharding):
        return jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=sharding)

    if isinstance(shardings, NamedSharding):
        return jax.tree.map(lambda shape: one(shape, shardings), abstract)
    return jax.tree.map(one, abstract, shardings)


def like_params(tree, params, shardings, mesh):
    """Shardings of an optimiser's state: an array of a parameter's shape is sharded as it is.

    So are Adafactor's rows and columns, whose shape is the parameter's without one axis. Arrays of
    any other shape are small and replicated.

    Args:
        tree: abstract optimiser state: trees like `params`, and scalars.
        params, shardings, mesh: abstract parameters and their shardings on the mesh.
    """
    structure = jax.tree.structure(params)

    def is_params(node):
        return jax.tree.structure(node) == structure

    def follow(leaf, param, sharding):
        spec = (*sharding.spec, *(None,) * (param.ndim - len(sharding.spec)))
        for gone in range(param.ndim):  # of two axes of equal size, either gives equal values
            if leaf.shape == param.shape[:gone] + param.shape[gone + 1 :]:
                return NamedSharding(mesh, PartitionSpec(*spec[:gone], *spec[gone + 1 :]))
        return sharding if leaf.shape == param.shape else replicated(mesh)

    def one(node):
        if is_params(node):
            leaves = map(jax.tree.leaves, (node, params, shardings))
            return jax.tree.unflatten(structure, map(follow, *leaves))
        return replicated(mesh)

    return jax.tree.map(one, tree, is_leaf=is_params)


def replicated(mesh):
    """The sharding of an array that is replicated on all devices."""
    return NamedSharding(mesh, PartitionSpec())


def of_batch(mesh):
    """The sharding of arrays [B ...]: B over rules.BATCH."""
    return NamedSharding(mesh, PartitionSpec(rules.BATCH))


def padded_rows(utterances: int, mesh) -> int:
    """Utterances rounded up to a multiple of the devices that a batch is sharded over."""
    shards = math.prod(mesh.shape[axis] for axis in rules.BATCH)
    return -(-utterances // shards) * shards


def check_batch(utterances: int, mesh, accum: int):
    """Raises a ConfigError unless mesh axes x accumulation divide a bucket's utterances."""
    divisor = accum * math.prod(mesh.shape[axis] for axis in rules.BATCH)
    if utterances % divisor:
        above = -(-utterances // divisor) * divisor
        raise ConfigError(
            f"a bucket of {utterances} utterances is not divisible by mesh.data x mesh.fsdp x"
            f" mesh.expert x run.accum = {divisor}; the nearest that is: {above}"
        )


def share(mesh) -> tuple[int, int]:
    """(index, number of shares) of this process; see `shares`."""
    return _shares(mesh)[jax.process_index()]


def holders(mesh) -> list[int]:
    """For each share of a batch's rows, in order, a process that has it."""
    found = {index: process for process, (index, _) in _shares(mesh).items()}
    return [found[index] for index in sorted(found)]


@functools.lru_cache(maxsize=64)
def _shares(mesh):
    """`shares` of a mesh, cached: every step needs them, and a pod has thousands of devices."""
    return shares(np.vectorize(lambda device: device.process_index)(mesh.devices))


def shares(owners: np.ndarray) -> dict[int, tuple[int, int]]:
    """Divides a batch's rows into equal shares: {process: (index of its share, number of shares)}.

    Processes whose devices differ only along tensor have the same rows, and one share. `owners`:
    process index of each device, an array with the axes of a mesh.

    Raises:
        ConfigError: the rows of some processes overlap without being equal.
    """
    sizes = dict(zip(AXES, owners.shape))
    grid = [size if axis in rules.BATCH else 1 for axis, size in sizes.items()]
    rows = np.broadcast_to(np.arange(math.prod(grid)).reshape(grid), owners.shape)
    processes = np.unique(owners).tolist()
    by_owner = {process: tuple(np.unique(rows[owners == process])) for process in processes}
    distinct = sorted(set(by_owner.values()))
    if sum(map(len, distinct)) != math.prod(grid):
        raise ConfigError(
            f"mesh.tensor={sizes['tensor']}, mesh.expert={sizes['expert']}: batch rows of some of"
            f" {len(by_owner)} processes would overlap without being equal; choose a mesh.tensor x"
            f" mesh.expert that divides the {owners.size // len(by_owner)} devices of a process"
        )
    return {owner: (distinct.index(rows), len(distinct)) for owner, rows in by_owner.items()}


def put_batch(batch, mesh):
    """Makes global arrays, B over rules.BATCH, of a numpy Batch of this process's rows."""
    sharding, (_, count) = of_batch(mesh), share(mesh)

    def put(x):
        shape = (len(x) * count, *x.shape[1:])  # to infer it JAX would visit all devices per axis
        return jax.make_array_from_process_local_data(sharding, x, shape)

    return jax.tree.map(put, batch)


def take_rows(x) -> np.ndarray:
    """The rows that this process has of a global array [B ...], sharded as in `of_batch`."""
    by_start = {shard.index[0].start or 0: shard.data for shard in x.addressable_shards}
    return np.concatenate([np.asarray(by_start[start]) for start in sorted(by_start)])
