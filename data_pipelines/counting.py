"""Token counts of all texts of a table, by several processes if the table is large.

The text of 30 s of speech takes 0.1 ms to parse, normalise and tokenise: 10^8 texts would take one
processor three hours, while a pod waits.

Dims: N rows.
"""

import collections
from collections.abc import Callable, Iterator
import concurrent.futures
from concurrent.futures.process import BrokenProcessPool
import functools
import itertools
import multiprocessing
import os
import signal
import threading

import numpy as np

from seedasr_jax.data_pipelines.manifest import Row
from seedasr_jax.errors import UserError
from seedasr_jax.text.counted import Counted

MIN_ROWS = 1 << 20  # smaller tables are counted in this process
MAX_PROCESSES = 64
_CHUNK = 1 << 16  # rows
_CACHED_TEXTS = 1 << 16
_worker: list[Callable] = []  # in a worker process: (begin, end) of a chunk -> counts


def blocks(rows, reopen: Callable | None, counted: Counted) -> Iterator[np.ndarray]:
    """Yields [n, 2] int32 in the order of the rows: tokens, and unknown tokens, of each text.

    `reopen` opens the same table in another process; None: not possible.

    Raises:
        UserError: a worker process was killed.
    """
    chunks = [(n, min(n + _CHUNK, len(rows))) for n in range(0, len(rows), _CHUNK)]
    processes = min(len(os.sched_getaffinity(0)), MAX_PROCESSES, len(chunks))
    if reopen is None or len(rows) < MIN_ROWS or processes < 2:
        yield from map(_counter(rows, counted), chunks)
        return
    spawned = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(
        processes, spawned, _start_worker, (reopen, len(rows), counted)
    ) as pool:
        remaining, pending = iter(chunks), collections.deque()
        try:
            for chunk in itertools.islice(remaining, 2 * processes):
                pending.append(pool.submit(_count, chunk))
            while pending:
                yield pending.popleft().result()
                pending.extend(pool.submit(_count, one) for one in itertools.islice(remaining, 1))
        except BrokenProcessPool as error:
            raise UserError(
                f"one of {processes} processes that count tokens was killed, possibly because"
                " memory ran out: start again, in that case on fewer processors (taskset -c 0-3)"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _start_worker(reopen, size, counted):
    for number in (signal.SIGINT, signal.SIGHUP):  # from the terminal: the parent handles them
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    rows = reopen()
    assert len(rows) == size, (len(rows), size)
    _worker.append(_counter(rows, counted))


def _exit_with_parent():
    """Ends this process when its parent is killed; otherwise it would wait for work forever."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _count(chunk):
    return _worker[-1](chunk)


def _counter(rows, counted):
    count = functools.lru_cache(_CACHED_TEXTS)(counted.count)

    def count_chunk(chunk):
        selected: Iterator[Row] = iter(rows[slice(*chunk)])
        return np.array([count(row.text) for row in selected], np.int32).reshape(-1, 2)

    return count_chunk
