"""Processes that are measured in turn: while one works, the others are idle."""

import collections.abc
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import time

from seedasr_jax.train.metrics import peak_memory_gib

HERE = pathlib.Path(__file__).resolve().parent


class Worker:
    """A process that takes steps on request."""

    def __init__(self, module: str, *arguments: str):
        """Args: `module`, of this folder, which calls `serve`; its command-line arguments."""
        self.name = " ".join((module, *arguments))
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=HERE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.facts = self._read()
        self.losses = []

    def step(self, count: int) -> list[float]:
        """Takes `count` steps; returns the duration of each in seconds.

        Raises:
            RuntimeError: the process ended.
        """
        answer = self._request(count)
        self.losses += answer["losses"]
        return answer["seconds"]

    def memory_gib(self) -> float:
        """Peak memory so far, of the accelerator if there is one, else of the process."""
        return self._request(0)["device_gib"] or peak_memory_gib(self.process.pid)

    def _request(self, count):
        with contextlib.suppress(BrokenPipeError):  # reported by _read
            self.process.stdin.write(f"{count}\n")
            self.process.stdin.flush()
        return self._read()

    def _read(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(
                f"{self.name}: the process ended with {self.process.wait()}; its error is above"
            )
        return json.loads(line)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()


def serve(
    prepare: collections.abc.Callable[[], tuple[dict, collections.abc.Callable[[], float]]],
    device_gib: collections.abc.Callable[[], float] = lambda: 0.0,
):
    """Runs in the worker's process: answers requests until stdin ends.

    Args:
        prepare: returns facts about the measured step, and the step, a function that returns its
            loss after completion.
        device_gib: returns the peak memory of the accelerator, 0 without one.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # keeps the output of libraries out of the answers

    def answer(content):
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    facts, step = prepare()
    answer(facts)
    for line in sys.stdin:
        seconds, losses = [], []
        for _ in range(int(line)):
            begin = time.perf_counter()
            losses.append(step())
            seconds.append(time.perf_counter() - begin)
        answer({"seconds": seconds, "losses": losses, "device_gib": device_gib()})


def keep_cores(count: int):
    """Restricts this process, before it has threads, to `count` cores; 0: all."""
    if count:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])
