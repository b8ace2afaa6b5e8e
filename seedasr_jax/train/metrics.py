"""Metrics: one row per logged step, in metrics.jsonl and TensorBoard."""

import pathlib
import re
import time

from seedasr_jax import workdir as disk


def flat(tree, prefix="") -> dict[str, float]:
    """Nested dicts of scalars -> {"a/b": float}."""
    out = {}
    for key, value in sorted(tree.items()):
        path = f"{prefix}/{key}" if prefix else key
        out |= flat(value, path) if isinstance(value, dict) else {path: float(value)}
    return out


def peak_memory_gib(process: int | str = "self") -> float:
    """Peak resident memory of a process (/proc; getrusage includes the parent's before exec)."""
    status = pathlib.Path(f"/proc/{process}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 2**20


class Metrics:
    """Writer of one stage: each step once, in order, however often the stage is resumed."""

    def __init__(self, folder: pathlib.Path, step: int, *, tensorboard: bool, writes: bool = True):
        """Drops rows after `step`, where the stage resumes: they will be written again.

        Without `writes`, as in all processes of a job but the first, it only measures time.
        """
        self.path, self.writes, self.events = folder / disk.METRICS, writes, None
        # Whether the row of `step` is already written.
        self.written = False
        if writes:
            self.written = any(row["step"] == step for row in disk.rewind(self.path, step + 1))
        if writes and tensorboard:
            from tensorboardX import SummaryWriter  # which brings PyTorch, where it is installed

            suffix = f".from-{step}"
            self.events = SummaryWriter(str(folder), purge_step=step + 1, filename_suffix=suffix)
        self.time, self.step = time.monotonic(), step

    def write(self, step: int, terms: dict):
        if not self.writes:
            return
        row = {"step": step} | flat(terms)
        disk.append(self.path, [row])
        if self.events is not None:
            for key, value in row.items():
                self.events.add_scalar(key, value, step)

    def speed(self, step: int) -> float:
        """Steps per second since the last call."""
        now = time.monotonic()
        speed = (step - self.step) / max(now - self.time, 1e-9)
        self.time, self.step = now, step
        return speed

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self.events is not None:
            self.events.close()
