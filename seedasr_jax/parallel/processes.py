"""Agreement among the processes of a job: decisions, barriers, gathering.

Decisions that depend on the view of a disk are made by process 0 for all (`first`). If one process
raises, all raise (`together`), so that none waits for the others in a step. Every process of a job
must call the functions of this file equally often and in the same order.

Dims: P processes.
"""

from collections.abc import Callable
import concurrent.futures
import itertools
import json
from typing import Any

import jax
from jax.experimental import multihost_utils
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec
import numpy as np
from orbax.checkpoint import multihost

from seedasr_jax import errors
from seedasr_jax import workdir as disk

_BLOCK = 4096  # bytes: few sizes are few programs
_PATIENCE = 24 * 3600  # seconds: a process may be making hours of speech
_meetings = itertools.count()


def is_first() -> bool:
    """Whether this process writes what one process writes."""
    return jax.process_index() == 0


def is_alone() -> bool:
    """Whether the job has no other process."""
    return jax.process_count() == 1


def meet():
    """Returns when every process is here."""
    wait = multihost.get_barrier_sync_fn()  # of the coordinator: a collective would time out
    key = f"seedasr_jax {next(_meetings)}"
    thread = concurrent.futures.ThreadPoolExecutor(1)  # this one takes signals meanwhile
    thread.submit(wait, key=key, timeout_ms=_PATIENCE * 1000).result()


def first(decide: Callable[[], Any]) -> Any:
    """What `decide()`, which process 0 alone calls, returns (JSON) or raises (a UserError)."""
    if is_alone():
        return decide()
    said = ""
    if is_first():
        try:
            said = json.dumps([None, decide()])
        except (errors.UserError, OSError) as error:
            said = json.dumps(_described(error))
    meet()
    text = np.frombuffer(said.encode(), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.array(text.size)))
    text = np.pad(text, (0, max(0, _rounded(size) - text.size)))
    kind, value = json.loads(multihost_utils.broadcast_one_to_all(text)[:size].tobytes())
    if kind is not None:
        raise getattr(errors, kind)(value)
    return value


def together(work: Callable[[], Any], *, patient: bool = True) -> Any:
    """`work()` of each process; where it raises a UserError in any, all raise that of the first.

    Args:
        work: what each process does by itself: nothing in it waits for another process.
        patient: whether it may take minutes.
    """
    if is_alone():
        return work()
    value, failed = None, []
    try:
        value = work()
    except (errors.UserError, OSError) as error:
        failed = [_described(error)]
    if patient:
        meet()
    if multihost_utils.process_allgather(np.array(bool(failed))).any():
        kind, text = gathered(failed)[0]
        raise getattr(errors, kind)(text)
    return value


def shared(work: Callable[[], list]) -> list:
    """The lists (JSON) that `work()` returns in all processes, joined; refusals as `together`."""
    return gathered(together(work))


def alike(find: Callable[[], dict[str, str]]) -> None:
    """Makes sure that `find()` gives all processes the same: what it found by name.

    Raises:
        DataError: it does not, on every process; names the first that differs.
    """
    if is_alone():
        return
    first_found, *others = gathered([find()])
    for number, found in enumerate(others, 1):
        for name in first_found:
            if found.get(name) != first_found[name]:
                raise errors.DataError(
                    f"{name}: process {number} finds other data than process 0: expected the same"
                    " manifests and audio on every host, on one disk or as equal copies"
                )


def _described(error) -> tuple[str, str]:
    """A class of errors.py and its line; raises what is no error of a user."""
    line = disk.as_user_error(error) if isinstance(error, OSError) else error
    if line is None:
        raise error
    return type(line).__name__, str(line)


def stacked(arrays: tuple) -> tuple:
    """NumPy arrays [...], of equal shapes on every process, as [P ...]."""
    if is_alone():
        return tuple(x[None] for x in arrays)
    return multihost_utils.process_allgather(arrays)


def gathered(rows: list) -> list:
    """The lists of all processes (JSON), joined in their order."""
    if is_alone():
        return rows
    text = np.frombuffer(json.dumps(rows).encode(), np.uint8)
    sizes = multihost_utils.process_allgather(np.array(text.size))  # [P]
    texts = multihost_utils.process_allgather(
        np.pad(text, (0, _rounded(int(sizes.max())) - text.size))
    )  # [P, up to a block more than the longest]
    return [row for line, size in zip(texts, sizes) for row in json.loads(line[:size].tobytes())]


def _rounded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


class Agreed:
    """What the processes were asked: the same answer for all at the same call.

    Signals reach each process at its own time. Every call takes a vote and returns the result of
    the one before, so that no step waits for another.
    """

    def __init__(self, asked: Callable[[], int]):
        """Args: `asked`, what this process was asked, 0 for nothing."""
        self._asked, self._vote = asked, None
        mesh = jax.make_mesh((jax.device_count(),), ("all",), axis_types=(AxisType.Auto,))
        self._place = NamedSharding(mesh, PartitionSpec("all"))
        self._most = jax.jit(jnp.max, out_shardings=NamedSharding(mesh, PartitionSpec()))

    def __call__(self) -> int:
        """The largest of all processes; every process calls it equally often."""
        if is_alone():
            return self._asked()
        own = np.full(jax.local_device_count(), self._asked(), np.int32)
        before = self._vote
        self._vote = self._most(jax.make_array_from_process_local_data(self._place, own))
        return int(before) if before is not None else 0
