"""Metrics: a row per logged step, to metrics.jsonl and TensorBoard."""

from collections.abc import Callable
import json
import os
import pathlib
import re
import time

from tensorboardX import SummaryWriter


def flat(tree, prefix="") -> dict[str, float]:
    """Nested dicts of scalars -> {"a/b": float}."""
    out = {}
    for key, value in sorted(tree.items()):
        path = f"{prefix}/{key}" if prefix else key
        out |= flat(value, path) if isinstance(value, dict) else {path: float(value)}
    return out


def peak_memory_gib(process: int | str = "self") -> float:
    """Peak resident memory of a process (its id; default: this one), in GiB.

    From /proc: getrusage counts what the parent held before the program was loaded.
    """
    status = pathlib.Path(f"/proc/{process}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 2**20


class Metrics:
    """Writer of one stage: each step once, in order, whatever was killed and resumed.

    Attributes:
        written: whether the row of the step where the stage resumes is there already.
    """

    def __init__(self, folder: pathlib.Path, step: int, *, tensorboard: bool, writes: bool = True):
        """Rows after `step`, where the stage resumes, are dropped: they will be written again.

        Without `writes`, as on all processes of a job but one, it only keeps the time.
        """
        self.file = self.events = None
        self.written = False
        if writes:
            path = folder / "metrics.jsonl"
            rewind(path, lambda row: row["step"] <= step)
            self.written = any(row["step"] == step for row in read(path))
            self.file = open(path, "a")  # noqa: SIM115  (closed by __exit__)
        if writes and tensorboard:
            self.events = SummaryWriter(
                str(folder), purge_step=step + 1, filename_suffix=f".from-{step}"
            )
        self.clock, self.step = time.monotonic(), step

    def write(self, step: int, terms: dict):
        """Writes a row; what was measured on the machine stands under `host`."""
        if self.file is None:
            return
        row = {"step": step} | flat(terms)
        self.file.write(json.dumps(row) + "\n")
        self.file.flush()
        if self.events is not None:
            for key, value in row.items():
                self.events.add_scalar(key, value, step)

    def speed(self, step: int) -> float:
        """Steps per second since the last call."""
        now = time.monotonic()
        speed = (step - self.step) / max(now - self.clock, 1e-9)
        self.clock, self.step = now, step
        return speed

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self.file is not None:
            self.file.close()
        if self.events is not None:
            self.events.close()


def rewind(path: pathlib.Path, keep: Callable[[dict], bool]):
    """Drops the rows of a JSONL file that `keep` refuses, and a last line cut by a kill."""
    if path.exists():
        temporary = path.with_suffix(".tmp")
        temporary.write_text("".join(json.dumps(row) + "\n" for row in read(path) if keep(row)))
        os.replace(temporary, path)


def read(path: pathlib.Path) -> list[dict]:
    """The rows of a JSONL file; a last line cut by a kill is no row."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows
