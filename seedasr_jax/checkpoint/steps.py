"""Orbax checkpoints of a stage, STAGE/checkpoints/STEP, written whole in the background.

A step holds step, skipped, params, opt_state and rng by name. `frozen` is not in it: stage.json
refers to the parent stage. It is whole once it has its inventory.
"""

from collections.abc import Callable
import contextlib
import dataclasses
import functools
import logging
import os
import re
import sys
import threading
import warnings

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from seedasr_jax import inventory
from seedasr_jax import workdir as disk
from seedasr_jax.checkpoint import trees
from seedasr_jax.checkpoint.record import absolute
from seedasr_jax.errors import ConfigError, UserError, nearest
from seedasr_jax.parallel import processes

_REMOVED = ".removed"  # renamed before it is deleted: a half-deleted step is none
_UNFINISHED = ".orbax-checkpoint-tmp"
_DAMAGED = ".damaged"  # set aside: nothing reads it, and its number is free
_PASSING = "passing"  # file of a step that is none of the `keep` newest
_SLICE = 2**20  # bytes; each replica writes as much of an array, or one writes it whole


class Writer:
    """Saves a stage's states and keeps the newest. Every process of a job has one.

    At most one save is under way; `save` waits for the one before it.
    """

    def __init__(self, folder, keep: int, pinned=()):
        """Args: `folder`, of the stage; `keep`, newest steps that stay on disk (at least 1), those
        that are `passing` not counted; `pinned`, steps that stay too.

        Removes what an earlier process left unfinished, and sets damaged steps aside.
        """
        assert keep >= 1, keep
        _drop_what_is_raised_too()
        self._folder = absolute(folder) / disk.CHECKPOINTS
        self._keep, self._pinned, self._passing = keep, set(pinned), False
        self._response, self._durable = None, processes.first(lambda: self._begin(folder))
        self._started, self._sealing = self._durable, threading.Lock()

    def _begin(self, folder) -> int | None:
        """Makes room; returns the newest whole step."""
        durable = latest(folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in self._folder.iterdir():
            if _UNFINISHED in path.name or _REMOVED in path.name:
                _remove(path)
        for step in inventory.steps(folder):
            if durable is None or step > durable:
                aside = self._folder / f"{step}{_DAMAGED}"
                _remove(aside)
                (self._folder / str(step)).rename(aside)
        return durable

    def save(self, step: int, state, note: dict | None = None, *, passing: bool = False) -> None:
        """Copies a state to the host and goes on writing it in the background.

        When this returns, the state's arrays may be donated. A step that is saved already is left
        alone.

        Args:
            step: its number, which names the folder.
            state: TrainState or the like; `state.frozen` is not saved.
            note: JSON that becomes durable with the step, for `note`.
            passing: whether the step goes as soon as a later one is durable.

        Raises:
            OSError and what else the save before this one failed with.
        """
        self.wait()
        if step == self._started:
            return
        leaves = _saved(state)
        empty = [name for name, leaf in leaves.items() if 0 in leaf.shape]
        if empty:
            raise ValueError(f"{empty[0]} has no elements, which Orbax cannot store: remove it")
        context = ocp.Context()
        # In the background, a folder that cannot be made leaves threads that wait for it.
        context.asynchronous.create_directories_asynchronously = False
        context.array.saving.min_slice_bytes_for_replica_parallel = _SLICE
        with context, _os_errors(self._folder):
            self._response = ocp.save_async(
                self._folder / str(step), trees.nest(leaves), custom_metadata=note or {}
            )
        self._started, self._passing = step, passing
        self._response.on_complete(lambda _: self._seal(step))

    def _seal(self, step):
        """Makes a step that is written a whole one, in the background or, failing there, again."""
        with self._sealing:
            if self._durable != step:
                if processes.is_first():
                    _check_arrays(self._folder / str(step))
                    if self._passing:
                        (self._folder / str(step) / _PASSING).touch()
                    inventory.write(self._folder / str(step))
                inventory.trust(self._folder / str(step))
                self._durable = step

    def finished(self) -> int | None:
        """The newest step that is durable, or None; never waits."""
        return self._durable

    def wait(self) -> None:
        """Waits for the save under way, raises what it failed with; removes what need not stay:
        of the steps that are not passing those past `keep`, and passing ones but the newest step.
        """
        if self._response is not None:
            response, self._response = self._response, None
            step, self._started = self._started, self._durable  # a save that fails may be repeated
            with _os_errors(self._folder):
                response.result()
            self._seal(step)
            self._started = step
        if processes.is_first():
            found = _steps(self._folder)
            regular = [n for n in found if not (self._folder / str(n) / _PASSING).exists()]
            for step in {*found} - {*regular[-self._keep :], *found[-1:], *self._pinned}:
                gone = self._folder / f"{step}{_REMOVED}"
                (self._folder / str(step)).rename(gone)
                _remove(gone)

    def close(self) -> None:
        """Waits; use before the process ends."""
        self.wait()


def latest(folder) -> int | None:
    """The newest step of a stage directory that is whole, or None."""
    return inventory.newest(absolute(folder))[0]


def find(folder, step: int):
    """The folder of a step.

    Raises:
        UserError: there is no such step; names those that are.
    """
    steps = _steps(absolute(folder) / disk.CHECKPOINTS)
    if step not in steps:
        found = ", ".join(map(str, steps)) or "none; `seedasr train` writes them"
        raise UserError(f"{folder}: no checkpoint of step {step}; found: {found}")
    return absolute(folder) / disk.CHECKPOINTS / str(step)


def note(folder, step: int) -> dict:
    """The note that was saved with a step."""
    return ocp.metadata(find(folder, step)).custom_metadata or {}


def restore(folder, step: int, abstract_state, shardings):
    """A state, bit for bit as saved, laid out for any mesh.

    Args:
        folder: of the stage.
        step: such as `latest` gives.
        abstract_state: TrainState of shapes (arrays do as well).
        shardings: a tree like it.

    Returns:
        `abstract_state` with arrays; its `frozen` stays as it is.

    Raises:
        UserError: there is no such step.
        ConfigError: names, shapes or types differ from what was saved.
    """
    path = find(folder, step)
    places, wanted = trees.flat(shardings), _saved(abstract_state)
    _compare(path, shapes(path), wanted)
    leaves = {
        name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=places[name])
        for name, leaf in wanted.items()
    }
    return trees.fill(abstract_state, trees.flat(_load(path, leaves)))


def shapes(path) -> dict:
    """{name: ShapeDtypeStruct} of everything in a step's folder; a random key as its numbers."""
    sealed = os.stat(path / inventory.FILE)
    return dict(_shapes(path, sealed.st_ino, sealed.st_mtime_ns))


@functools.lru_cache(maxsize=64)
def _shapes(path, *sealed) -> dict:
    """`shapes`, read once: a step is asked part by part, and does not change once it is sealed."""
    saved = trees.flat(ocp.metadata(path).metadata)
    return {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in saved.items()}


def read(path, wanted: dict) -> dict:
    """Some leaves of a step's folder.

    Args:
        path: of the step.
        wanted: {name: ShapeDtypeStruct}, names of `shapes`: the type to read it as, and its
            sharding; without one: NumPy on the host. Every process of a job calls it.

    Returns:
        {name: array}.
    """
    known = shapes(path)
    abstract = {
        name: x if x.sharding else np.broadcast_to(np.zeros((), x.dtype), known[name].shape)
        for name, x in wanted.items()
    }
    context = ocp.Context()
    context.pytree.loading.partial_load = True  # which says nothing of a name that it lacks
    with context:
        return trees.flat(_load(path, abstract))


def _steps(folder) -> list[int]:
    """The steps of a folder that were finished."""
    return [
        n for n in inventory.steps(folder.parent) if (folder / str(n) / inventory.FILE).exists()
    ]


def _remove(path):
    """Removes a step: a folder, a link to one elsewhere, which stays, or a file in its place."""
    if os.path.islink(path) or os.path.isfile(path):
        os.unlink(path)
    elif path.exists():
        path.rmtree()


@contextlib.contextmanager
def _os_errors(path):
    """TensorStore's errors of the file system, a ValueError each, as Python's."""
    try:
        yield
    except ValueError as error:
        found = re.search(r"os_error_code='(\d+)'", str(error))
        if found is None:
            raise
        raise OSError(int(found[1]), os.strerror(int(found[1])), str(path)) from error


def _load(path, leaves):
    try:
        with _os_errors(path):
            return ocp.load(path, trees.nest(leaves))
    except ValueError as error:  # names and shapes were compared: the files are damaged
        line = str(error).strip().splitlines()[0]
        raise UserError(
            f"{path} is damaged: {line}; move it away, and the step before it is taken"
        ) from error


def _check_arrays(path):
    """Refuses a step that was committed without its arrays: where Orbax finds none of what the
    processes wrote, it only warns.
    """
    if not any(path.glob("*/manifest.ocdbt")):
        raise UserError(
            f"{path}: expected arrays of a step that was saved, found none of their files: Orbax"
            " did not find what was written; choose another --workdir"
        )


def _drop_what_is_raised_too():
    """What else Orbax and TensorStore say of a save that fails, beside what `wait` raises: a line
    of the log and, by each write that was under way, a traceback or a warning.
    """
    logging.getLogger("absl").addFilter(_is_not_raised)
    warnings.filterwarnings("ignore", "coroutine '.*write_fragment'", RuntimeWarning)
    if not isinstance(sys.excepthook, _WithoutClosedLoops):
        sys.excepthook = _WithoutClosedLoops(sys.excepthook)


@dataclasses.dataclass(frozen=True)
class _WithoutClosedLoops:
    """A `sys.excepthook` that leaves the rest to the one before it."""

    before: Callable

    def __call__(self, kind, error, traceback):
        if kind is not RuntimeError or str(error) != "Event loop is closed":
            self.before(kind, error, traceback)


def _is_not_raised(record) -> bool:
    """Whether a line of the log is none about an error of a save, which `wait` raises too."""
    return "_SignalingThread.run() raised an exception" not in record.getMessage()


def _saved(state) -> dict:
    leaves = trees.flat(state)
    return {name: leaf for name, leaf in leaves.items() if not name.startswith("frozen.")}


def _compare(path, found, wanted):
    for name, like in wanted.items():
        if name not in found:
            raise ConfigError(f"{path}: holds no {name}.{nearest(name, found)}{_CURE}")
        if jax.dtypes.issubdtype(like.dtype, jax.dtypes.prng_key):
            like = jax.eval_shape(jax.random.key_data, like)
        leaf = found[name]
        if (like.shape, like.dtype) != (leaf.shape, leaf.dtype):
            raise ConfigError(
                f"{path}: {name}: expected {like.dtype}{list(like.shape)}, found"
                f" {leaf.dtype}{list(leaf.shape)}{_CURE}"
            )
    for name in found.keys() - wanted.keys():
        raise ConfigError(f"{path}: {name} has no place in this stage{_CURE}")


_CURE = "; the recipe changed: take a new --workdir, or --from this stage"
