"""Tokens of all texts of a table, counted by as many processes as are worth their start.

A text of 30 s takes 0.1 ms to parse, normalise and tokenise: 10^8 of them three hours of one
processor, while a pod waits.

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

MANY = 1 << 20  # rows from which on processes are started
MOST = 64  # of them
_CHUNK = 1 << 16  # rows
_TEXTS = 1 << 16  # last texts whose tokens are not counted again
_worker: list[Callable] = []  # of this process: rows of a stretch -> counts


def blocks(rows, again: Callable | None, counted: Counted) -> Iterator[np.ndarray]:
    """Yields [n, 2] int32 in the order of the rows: the tokens of each text, and those of them that
    are unknown.

    Args:
        rows: a table.Table.
        again: opens the same table in another process, where that can be.
        counted: counts.

    Raises:
        UserError: one of the processes was killed.
    """
    stretches = [(n, min(n + _CHUNK, len(rows))) for n in range(0, len(rows), _CHUNK)]
    processors = min(len(os.sched_getaffinity(0)), MOST, len(stretches))
    if again is None or len(rows) < MANY or processors < 2:
        yield from map(_counting(rows, counted), stretches)
        return
    spawned = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(
        processors, spawned, _begin, (again, len(rows), counted)
    ) as pool:
        left, waiting = iter(stretches), collections.deque()
        try:
            for stretch in itertools.islice(left, 2 * processors):
                waiting.append(pool.submit(_count, stretch))
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(pool.submit(_count, one) for one in itertools.islice(left, 1))
        except BrokenProcessPool as error:
            raise UserError(
                f"one of the {processors} processes that count tokens was killed, as where memory"
                " runs out: start it again, on fewer processors (taskset -c 0-3) if it was"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _begin(again, size, counted):
    for number in (signal.SIGINT, signal.SIGHUP):  # of the terminal: the parent ends this process
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    rows = again()
    assert len(rows) == size, (len(rows), size)
    _worker.append(_counting(rows, counted))


def _end_with_parent():
    """A parent that is killed leaves no process that waits for rows for ever."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _count(stretch):
    return _worker[-1](stretch)


def _counting(rows, counted):
    count = functools.lru_cache(_TEXTS)(counted.count)

    def of(stretch):
        own: Iterator[Row] = iter(rows[slice(*stretch)])
        return np.array([count(row.text) for row in own], np.int32).reshape(-1, 2)

    return of
