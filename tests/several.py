"""The processes of a job as threads of this one, as `parallel/processes.py` sees them."""

import threading
import types

import jax
from jax.experimental import multihost_utils
import numpy as np

from seedasr_jax.parallel import processes


def run(monkeypatch, count, work) -> list:
    """[what `work(index)` returns or raises] of each process; each must reach the same barriers."""
    here, barrier = threading.local(), threading.Barrier(count, timeout=20)
    slots, results = [None] * count, [None] * count

    def exchange(value):
        slots[here.index] = value
        barrier.wait()
        everyone = list(slots)
        barrier.wait()
        return everyone

    def gather(tree):
        return jax.tree.map(lambda *leaves: np.stack(leaves), *exchange(tree))

    def one(index):
        here.index = index
        try:
            results[index] = work(index)
        except Exception as error:  # the test looks at it
            results[index] = error
            if isinstance(error, threading.BrokenBarrierError):
                raise

    own = types.SimpleNamespace(**vars(jax))
    own.process_count, own.process_index = lambda: count, lambda: here.index
    with monkeypatch.context() as patch:
        patch.setattr(processes, "jax", own)
        patch.setattr(processes, "barrier", lambda: exchange(None))
        patch.setattr(multihost_utils, "process_allgather", gather)
        patch.setattr(multihost_utils, "broadcast_one_to_all", lambda tree: exchange(tree)[0])
        threads = [threading.Thread(target=one, args=(index,)) for index in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return results
