"""Reading the Orbax checkpoints of a stage, STAGE/checkpoints/STEP; writer.py saves them.

A step contains step, skipped, params, opt_state and rng by name. `frozen` is not saved: stage.json
refers to the parent stage. A step is complete once its inventory exists.
"""

import contextlib
import functools
import os
import re

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from seedasr_jax import inventory
from seedasr_jax import workdir as disk
from seedasr_jax.checkpoint import trees
from seedasr_jax.checkpoint.record import absolute
from seedasr_jax.errors import ConfigError, UserError, nearest

_CURE = "; the recipe changed: choose a new --workdir, or pass --from this stage"


def latest(folder) -> int | None:
    """The newest complete step of a stage directory, or None."""
    return inventory.newest(absolute(folder))[0]


def find(folder, step: int):
    """The folder of a step; a UserError that lists the existing ones if there is none."""
    steps = complete(absolute(folder))
    if step not in steps:
        found = ", ".join(map(str, steps)) or "none; `seedasr train` writes them"
        raise UserError(f"{folder}: no checkpoint of step {step}; found: {found}")
    return absolute(folder) / disk.CHECKPOINTS / str(step)


def note(folder, step: int) -> dict:
    """The JSON that was saved with a step."""
    return ocp.metadata(find(folder, step)).custom_metadata or {}


def restore(folder, step: int, abstract_state, shardings):
    """Restores a state, bit for bit as saved, onto any mesh.

    `abstract_state`, `shardings`: TrainStates of shapes or arrays, and of their shardings. Returns
    the former with arrays, its `frozen` unchanged; a ConfigError if names, shapes or types differ.
    """
    path = find(folder, step)
    wanted = saved(abstract_state)
    _compare(path, shapes(path), wanted)
    found = _load(path, trees.with_shardings(wanted, shardings))
    return trees.fill(abstract_state, trees.flat(found))


def shapes(path) -> dict:
    """{name: ShapeDtypeStruct} of all arrays in a step's folder; random keys as their key data."""
    sealed = os.stat(path / disk.INVENTORY)
    return dict(_shapes(path, sealed.st_ino, sealed.st_mtime_ns))


@functools.lru_cache(maxsize=64)
def _shapes(path, *sealed) -> dict:
    """`shapes`, cached: it is called for each part, and a step with an inventory never changes."""
    saved = trees.flat(ocp.metadata(path).metadata)
    return {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in saved.items()}


def read(path, wanted: dict) -> dict:
    """{name: array} of some arrays of a step's folder. Every process of a job must call it.

    `wanted`: {name: ShapeDtypeStruct}, the types and shardings (None: NumPy) of the result.
    """
    known = shapes(path)
    abstract = {
        name: x if x.sharding else np.broadcast_to(np.zeros((), x.dtype), known[name].shape)
        for name, x in wanted.items()
    }
    context = ocp.Context()
    context.pytree.loading.partial_load = True  # silent about missing names
    with context:
        return trees.flat(_load(path, abstract))


def complete(folder) -> list[int]:
    """The complete steps of a stage directory, ascending."""
    saved = folder / disk.CHECKPOINTS
    return [n for n in inventory.steps(folder) if (saved / str(n) / disk.INVENTORY).exists()]


@contextlib.contextmanager
def os_errors(path):
    """Raises TensorStore's file-system errors, which are ValueErrors, as OSError."""
    try:
        yield
    except ValueError as error:
        found = re.search(r"os_error_code='(\d+)'", str(error))
        if found is None:
            raise
        raise OSError(int(found[1]), os.strerror(int(found[1])), str(path)) from error


def _load(path, leaves):
    try:
        with os_errors(path):
            return ocp.load(path, trees.nest(leaves))
    except ValueError as error:  # names and shapes were compared: the files are damaged
        line = str(error).strip().splitlines()[0]
        raise UserError(
            f"{path} is damaged: {line}; move it away to resume from the step before it"
        ) from error


def saved(state) -> dict:
    """{name: leaf} of what a step contains of a TrainState: all but `frozen`."""
    leaves = trees.flat(state)
    return {name: leaf for name, leaf in leaves.items() if not name.startswith("frozen.")}


def _compare(path, found, wanted):
    for name, like in wanted.items():
        if name not in found:
            raise ConfigError(f"{path}: expected {name}, not found.{nearest(name, found)}{_CURE}")
        if jax.dtypes.issubdtype(like.dtype, jax.dtypes.prng_key):
            like = jax.eval_shape(jax.random.key_data, like)
        leaf = found[name]
        if (like.shape, like.dtype) != (leaf.shape, leaf.dtype):
            raise ConfigError(
                f"{path}: {name}: expected {like.dtype}{list(like.shape)}, found"
                f" {leaf.dtype}{list(leaf.shape)}{_CURE}"
            )
    for name in found.keys() - wanted.keys():
        raise ConfigError(f"{path}: found {name}, which this stage does not have{_CURE}")
