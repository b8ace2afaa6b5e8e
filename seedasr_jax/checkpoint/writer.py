"""Saving a stage's states: in the background, each step complete or not there at all."""

from collections.abc import Callable
import dataclasses
import logging
import os
import sys
import threading
import warnings

from orbax.checkpoint import v1 as ocp

from seedasr_jax import inventory
from seedasr_jax import workdir as disk
from seedasr_jax.checkpoint import steps, trees
from seedasr_jax.checkpoint.record import absolute
from seedasr_jax.errors import UserError
from seedasr_jax.parallel import processes

_REMOVED = ".removed"  # renamed before it is deleted: a half-deleted step is not a checkpoint
_UNFINISHED = ".orbax-checkpoint-tmp"
_DAMAGED = ".damaged"  # set aside: never read, and its number may be saved again
_TRANSIENT = "transient"  # marker file of a step that a later one replaces
_SLICE = 2**20  # bytes; from this size on, replicas share the writing of an array


class Writer:
    """Saves a stage's states and keeps the newest. Every process of a job has one.

    At most one save is in progress; `save` waits for the previous one. Call `wait` at the end.
    """

    def __init__(self, folder, keep: int, pinned=()):
        """Removes the unfinished saves of earlier processes and sets damaged steps aside.

        `keep`: number of newest steps to keep, transient ones not counted; `pinned`: also kept.
        """
        assert keep >= 1, keep
        _silence_repeated_errors()
        self._folder = absolute(folder) / disk.CHECKPOINTS
        self._keep, self._pinned, self._transient = keep, set(pinned), False
        self._response, self._durable = None, processes.first(lambda: self._clean(folder))
        self._started, self._sealing = self._durable, threading.Lock()

    def _clean(self, folder) -> int | None:
        """Removes leftovers, sets damaged steps aside; returns the newest complete step."""
        durable = steps.latest(folder)
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

    def save(self, step: int, state, note: dict | None = None, *, transient: bool = False) -> None:
        """Copies a state to the host, then writes it in the background, unless it is saved already.

        When this returns, the state's arrays may be donated. Raises the error with which the
        previous save failed, if any.

        Args:
            state: TrainState or a tree of the same form; `state.frozen` is not saved.
            note: JSON that becomes durable with the step; `steps.note` reads it.
            transient: whether to remove the step as soon as a later one is durable.
        """
        self.wait()
        if step == self._started:
            return
        leaves = steps.saved(state)
        empty = [name for name, leaf in leaves.items() if 0 in leaf.shape]
        if empty:
            raise ValueError(f"{empty[0]} has no elements, which Orbax cannot store: remove it")
        context = ocp.Context()
        # In the background, a folder that cannot be created leaves threads waiting for it.
        context.asynchronous.create_directories_asynchronously = False
        context.array.saving.min_slice_bytes_for_replica_parallel = _SLICE
        path, tree = self._folder / str(step), trees.nest(leaves)
        with context, steps.os_errors(self._folder):
            self._response = ocp.save_async(path, tree, custom_metadata=note or {})
        self._started, self._transient = step, transient
        self._response.on_complete(lambda _: self._seal(step))

    def _seal(self, step):
        """Completes a written step; in the background and, if that failed, again from `wait`."""
        path = self._folder / str(step)
        with self._sealing:
            if self._durable != step:
                if processes.is_first():
                    _check_arrays(path)
                    if self._transient:
                        (path / _TRANSIENT).touch()
                    inventory.write(path)
                inventory.trust(path)
                self._durable = step

    def durable(self) -> int | None:
        """The newest durable step, or None; does not wait."""
        return self._durable

    def wait(self) -> None:
        """Waits for the save in progress, raising its error, then removes superseded steps.

        The newest step, the `keep` newest that are not transient, and the pinned ones are kept.
        """
        if self._response is not None:
            response, self._response = self._response, None
            step, self._started = self._started, self._durable  # a failed save may be repeated
            with steps.os_errors(self._folder):
                response.result()
            self._seal(step)
            self._started = step
        if processes.is_first():
            found = steps.complete(self._folder.parent)
            regular = [n for n in found if not (self._folder / str(n) / _TRANSIENT).exists()]
            for step in {*found} - {*regular[-self._keep :], *found[-1:], *self._pinned}:
                removed = self._folder / f"{step}{_REMOVED}"
                (self._folder / str(step)).rename(removed)
                _remove(removed)


def _remove(path):
    """Removes a step: a folder, a link (its target is kept) or a file of that name."""
    if os.path.islink(path) or os.path.isfile(path):
        os.unlink(path)
    elif path.exists():
        path.rmtree()


def _check_arrays(path):
    """Refuses a step without arrays: Orbax only warns if it does not find the files written."""
    if not any(path.glob("*/manifest.ocdbt")):
        raise UserError(
            f"{path}: expected arrays of a saved step, found none: Orbax did not find the files"
            " that were written; choose another --workdir"
        )


def _silence_repeated_errors():
    """Suppresses what Orbax and each pending write of TensorStore report beside `wait`'s error."""
    logging.getLogger("absl").addFilter(_is_not_raised)
    warnings.filterwarnings("ignore", "coroutine '.*write_fragment'", RuntimeWarning)
    if not isinstance(sys.excepthook, _WithoutClosedLoops):
        sys.excepthook = _WithoutClosedLoops(sys.excepthook)


@dataclasses.dataclass(frozen=True)
class _WithoutClosedLoops:
    """A `sys.excepthook` that drops errors of closed event loops and passes on all others."""

    before: Callable

    def __call__(self, kind, error, traceback):
        if kind is not RuntimeError or str(error) != "Event loop is closed":
            self.before(kind, error, traceback)


def _is_not_raised(record) -> bool:
    """Log filter: drops the line about a save's error, which `wait` raises."""
    return "_SignalingThread.run() raised an exception" not in record.getMessage()
