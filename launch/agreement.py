"""What all processes of a job agree on: lists, the same data, the largest request."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec
import numpy as np

from seedasr_jax.errors import DataError
from seedasr_jax.parallel import processes


def shared(work: Callable[[], list]) -> list:
    """The lists (JSON) that `work()` returns in all processes, joined; raises as `together`."""
    return processes.gathered(processes.together(work))


def alike(find: Callable[[], dict[str, str]]) -> None:
    """Raises a DataError in all processes unless `find()` returns the same {name: value} in all."""
    if processes.is_alone():
        return
    first_found, *others = processes.gathered([find()])
    for number, found in enumerate(others, 1):
        for name, value in first_found.items():
            if found.get(name) != value:
                raise DataError(
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
        if processes.is_alone():
            return self._request()
        previous, local = self._vote, np.full(jax.local_device_count(), self._request(), np.int32)
        requests = jax.make_array_from_process_local_data(self._sharding, local)
        self._vote = self._maximum(requests)
        return int(previous) if previous is not None else 0
