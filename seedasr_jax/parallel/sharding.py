"""Shardings of a state and of a Batch, from the one table.

Dims: B global batch.
"""

from flax import nnx
import jax
from jax.sharding import NamedSharding, PartitionSpec
import numpy as np

from seedasr_jax.errors import ConfigError
from seedasr_jax.parallel import rules


def of_params(params: nnx.State, mesh):
    """A tree like `params` (abstract or not) of shardings, by each parameter's axes."""

    def one(path, param):
        name = ".".join(str(key) for key in path)
        spec = rules.spec(param.get_metadata("axes"), param.shape, mesh, name)
        return param.replace(NamedSharding(mesh, spec))

    return nnx.map_state(one, params)


def placed(abstract, shardings):
    """A tree of shapes with where each lies, for compiling ahead of time."""

    def one(shape, place):
        return jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=place)

    return jax.tree.map(one, abstract, shardings)


def like_params(tree, params, shardings, mesh):
    """Shardings of an optimiser's state: what belongs to a parameter lies where it lies.

    Adafactor's rows and columns too: they are parameters without one axis. What has any other
    shape is small and lies everywhere.

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
    """Everywhere the same."""
    return NamedSharding(mesh, PartitionSpec())


def of_batch(mesh):
    """B over the mesh axes that share examples."""
    return NamedSharding(mesh, PartitionSpec(rules.BATCH))


def check_batch(utterances: int, mesh, accum: int):
    """Checks that a bucket divides over mesh and accumulation.

    Raises:
        ConfigError: names the nearest number of utterances that does.
    """
    parts = accum * int(np.prod([mesh.shape[axis] for axis in rules.BATCH]))
    if utterances % parts:
        above = -(-utterances // parts) * parts
        raise ConfigError(
            f"a bucket of {utterances} utterances does not divide by mesh.data x mesh.fsdp x"
            f" mesh.expert x run.accum = {parts}; the nearest that does is {above}"
        )


def share(mesh) -> tuple[int, int]:
    """Which of how many equal shares of a batch's rows this process holds.

    Processes over which the width of a row lies hold the same.

    Raises:
        ConfigError: some hold rows in part the same.
    """
    parts = int(np.prod([mesh.shape[axis] for axis in rules.BATCH]))
    held = {}
    for device, (where,) in of_batch(mesh).devices_indices_map((parts,)).items():
        held.setdefault(device.process_index, set()).add(where.indices(parts)[0])
    own = sorted(held[jax.process_index()])
    shares = sorted({tuple(sorted(places)) for places in held.values()})
    if sum(map(len, shares)) != parts:
        raise ConfigError(uneven(mesh.shape["tensor"], len(mesh.local_devices)))
    return shares.index(tuple(own)), len(shares)


def uneven(width: int, devices: int) -> str:
    """Says that rows `width` devices wide do not lie evenly on processes of so many devices."""
    return (
        f"mesh.tensor = {width}, and each process has {devices} devices: expected one to divide the"
        " other, so that a process reads whole rows; set mesh.tensor accordingly"
    )


def put_batch(batch, mesh):
    """A process's rows of a numpy Batch to global arrays, B over rules.BATCH."""
    place, (_, shares) = of_batch(mesh), share(mesh)

    def put(x):
        whole = (len(x) * shares, *x.shape[1:])
        return jax.make_array_from_process_local_data(place, x, whole)

    return jax.tree.map(put, batch)


def take_rows(x) -> np.ndarray:
    """Rows of this process of a global array [B ...] that lies as `of_batch` says."""
    by_start = {shard.index[0].start or 0: shard.data for shard in x.addressable_shards}
    return np.concatenate([np.asarray(by_start[start]) for start in sorted(by_start)])
