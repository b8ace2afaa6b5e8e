"""Cost of a folder: seconds, CPU seconds and memory of all runs that worked on it."""

import os
import pathlib
import threading
import time

from seedasr_jax import workdir as disk
from seedasr_jax.train.metrics import peak_memory_gib

EVERY = 1.0  # seconds between samples of memory
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Meter:
    """Adds this run's cost to the file `path`, also when the run is stopped.

    Memory is sampled every second over the process and its descendants; shared memory counts in
    each. `install_seconds`: duration of the installation before this run.
    """

    def __init__(self, path: pathlib.Path, install_seconds: float = 0.0):
        self.path, self.install_seconds = path, install_seconds
        self._begun, self._cpu = time.monotonic(), _cpu_seconds()
        self._peak, self._ended = 0.0, threading.Event()

    def __enter__(self):
        self._watch = threading.Thread(target=self._look, daemon=True)
        self._watch.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._watch.join()
        disk.write_json(self.path, self.totals())

    def totals(self) -> dict:
        """`seconds`, `install_seconds`, `cpu_seconds`, `peak_rss_gib` of all runs so far."""
        before = disk.read_json(self.path) if self.path.exists() else {}
        run = {
            "seconds": time.monotonic() - self._begun,
            "install_seconds": self.install_seconds,
            "cpu_seconds": _cpu_seconds() - self._cpu,
        }
        total = {key: round(before.get(key, 0.0) + value, 1) for key, value in run.items()}
        peak = max(before.get("peak_rss_gib", 0.0), self._peak, peak_memory_gib())
        return total | {"peak_rss_gib": round(peak, 2)}

    def _look(self):
        while not self._ended.wait(EVERY):
            self._peak = max(self._peak, tree_memory_gib(os.getpid()))


def tree_memory_gib(process: int) -> float:
    """Resident memory of a process and its descendants, in GiB."""
    total, waiting = 0, [str(process)]
    while waiting:
        folder = pathlib.Path("/proc", waiting.pop())
        try:
            total += int((folder / "statm").read_text().split()[1]) * _PAGE
            for children in folder.glob("task/*/children"):
                waiting += children.read_text().split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended
    return total / 2**30


def _cpu_seconds() -> float:
    """CPU seconds of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
