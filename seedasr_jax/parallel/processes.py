"""How the processes of a job exchange what each of them knows.

Dims: P processes.
"""

import json

import jax
from jax.experimental import multihost_utils
import numpy as np

_BLOCK = 4096  # bytes: few sizes are few programs


def stacked(arrays: tuple) -> tuple:
    """NumPy arrays [...], of equal shapes on every process, as [P ...]; every process calls it."""
    if jax.process_count() == 1:
        return tuple(x[None] for x in arrays)
    return multihost_utils.process_allgather(arrays)


def gathered(rows: list) -> list:
    """The lists of all processes (JSON), joined in their order; every process calls it."""
    if jax.process_count() == 1:
        return rows
    text = np.frombuffer(json.dumps(rows).encode(), np.uint8)
    sizes = multihost_utils.process_allgather(np.array(text.size))  # [P]
    room = -(-int(sizes.max()) // _BLOCK) * _BLOCK
    texts = multihost_utils.process_allgather(np.pad(text, (0, room - text.size)))  # [P room]
    return [row for line, size in zip(texts, sizes) for row in json.loads(line[:size].tobytes())]
