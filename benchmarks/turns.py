"""Processes that are measured in turn: each waits while another works, so that none disturbs."""

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
    """A process that steps when it is asked to."""

    def __init__(self, module: str, *arguments: str):
        """`module` of this folder; it calls `serve`."""
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
        """Takes steps; returns the seconds of each.

        Raises:
            RuntimeError: the process ended.
        """
        answer = self._ask(count)
        self.losses += answer["losses"]
        return answer["seconds"]

    def memory_gib(self) -> float:
        """Peak so far: of the accelerator where there is one, else of the process."""
        return self._ask(0)["device_gib"] or peak_memory_gib(self.process.pid)

    def _ask(self, count):
        with contextlib.suppress(BrokenPipeError):  # reading says that it ended
            self.process.stdin.write(f"{count}\n")
            self.process.stdin.flush()
        return self._read()

    def _read(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(
                f"{self.name}: the process ended with {self.process.wait()}; why is said above"
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
    """The other side: answers until stdin ends.

    Args:
        prepare: gives facts about what is measured, and a step that returns its loss once it is
            done.
        device_gib: peak memory of the accelerator, 0 for none.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer

    def answer(what):
        answers.write(json.dumps(what) + "\n")
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
    """Lets this process, not yet threaded, run on that many cores at most; 0: on all."""
    if count:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])
