"""Agreement among the processes of a job: decisions, barriers, gathering.

Process 0 makes the decisions that depend on the contents of a disk, for all (`first`). If one
process raises, all raise (`together`), so that none is left waiting in a step. Every process of a
job must call these functions equally often and in the same order.

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

from seedasr_jax import errors, filesystem

_BLOCK = 4096  # bytes; texts are padded to multiples of it, so that few programs are compiled
_PATIENCE = 24 * 3600  # seconds; a process may be synthesising hours of speech
_barriers = itertools.count()


def is_first() -> bool:
    """Whether this is process 0, which writes the files that a single process writes."""
    return jax.process_index() == 0


def is_alone() -> bool:
    """Whether this is the only process of the job."""
    return jax.process_count() == 1


def barrier():
    """Returns once every process has called it."""
    wait = multihost.get_barrier_sync_fn()  # the coordinator's: a collective would time out
    key = f"seedasr_jax {next(_barriers)}"
    thread = concurrent.futures.ThreadPoolExecutor(1)  # the caller handles signals meanwhile
    thread.submit(wait, key=key, timeout_ms=_PATIENCE * 1000).result()


def first(decide: Callable[[], Any]) -> Any:
    """Calls `decide()` in process 0 alone; all return its result (JSON) or raise its UserError."""
    if is_alone():
        return decide()
    outcome = ""
    if is_first():
        try:
            outcome = json.dumps([None, decide()])
        except (errors.UserError, OSError) as error:
            outcome = json.dumps(_described(error))
    barrier()
    text = np.frombuffer(outcome.encode(), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.array(text.size)))
    text = np.pad(text, (0, max(0, _rounded(size) - text.size)))
    kind, value = json.loads(multihost_utils.broadcast_one_to_all(text)[:size].tobytes())
    if kind is not None:
        raise getattr(errors, kind)(value)
    return value


def together(work: Callable[[], Any], *, patient: bool = True) -> Any:
    """Calls `work()` in every process and returns its result.

    If it raises a UserError in any process, all raise the one of the first such process. It must
    not wait for another process; `patient`: whether it may take minutes.
    """
    if is_alone():
        return work()
    value, failed = None, []
    try:
        value = work()
    except (errors.UserError, OSError) as error:
        failed = [_described(error)]
    if patient:
        barrier()
    if multihost_utils.process_allgather(np.array(bool(failed))).any():
        kind, text = gathered(failed)[0]
        raise getattr(errors, kind)(text)
    return value


def _described(error) -> tuple[str, str]:
    """Class and message of a user's error; raises any other error again."""
    line = filesystem.as_user_error(error) if isinstance(error, OSError) else error
    if line is None:
        raise error
    return errors.kind_of(line).__name__, str(line)


def stacked(arrays: tuple) -> tuple:
    """Gathers NumPy arrays [...], of equal shapes in every process, as [P ...]."""
    if is_alone():
        return tuple(x[None] for x in arrays)
    return multihost_utils.process_allgather(arrays)


def gathered(rows: list) -> list:
    """The lists (JSON) of all processes, joined in the order of the processes."""
    if is_alone():
        return rows
    text = np.frombuffer(json.dumps(rows).encode(), np.uint8)
    sizes = multihost_utils.process_allgather(np.array(text.size))  # [P]
    text = np.pad(text, (0, _rounded(int(sizes.max())) - text.size))
    texts = multihost_utils.process_allgather(text)  # [P, longest text rounded up to a block]
    return [row for line, size in zip(texts, sizes) for row in json.loads(line[:size].tobytes())]


def _rounded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def shared(work: Callable[[], list]) -> list:
    """The lists (JSON) that `work()` returns in all processes, joined; raises as `together`."""
    return gathered(together(work))


def alike(find: Callable[[], dict[str, str]]) -> None:
    """Raises a DataError in all processes unless `find()` returns the same {name: value} in all."""
    if is_alone():
        return
    first_found, *others = gathered([find()])
    for number, found in enumerate(others, 1):
        for name, value in first_found.items():
            if found.get(name) != value:
                raise errors.DataError(
                    f"{name}: process {number} finds other data than process 0: expected the same"
                    " manifests and audio on every host, on one disk or as equal copies"
                )


class Agreed:
    """The largest request, such as a signal, that any process has received.

    Every call returns the result of the previous one, the same in all processes, and starts
    another, so that no step waits. `request()`: what this process has received; 0: nothing.
    """

    def __init__(self, request: Callable[[], int]):
        self._request, self._vote = request, None
        mesh = jax.make_mesh((jax.device_count(),), ("all",), axis_types=(AxisType.Auto,))
        self._sharding = NamedSharding(mesh, PartitionSpec("all"))
        self._maximum = jax.jit(jnp.max, out_shardings=NamedSharding(mesh, PartitionSpec()))

    def __call__(self) -> int:
        if is_alone():
            return self._request()
        previous, local = self._vote, np.full(jax.local_device_count(), self._request(), np.int32)
        requests = jax.make_array_from_process_local_data(self._sharding, local)
        self._vote = self._maximum(requests)
        return int(previous) if previous is not None else 0
