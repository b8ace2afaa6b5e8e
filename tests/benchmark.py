"""Runs the benchmark of the training step, tiny."""

import json
import os
import pathlib
import subprocess
import sys

BENCHMARKS = pathlib.Path(__file__).resolve().parent.parent / "benchmarks"
KEYS = {"name", "value", "unit", "peer", "peer_value", "ratio", "device", "versions", "raw"}
# Compiling is most of the time: a test wants no fast step, of ours or of torch.compile.
QUICKLY = {
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    "TORCHINDUCTOR_COMPILE_THREADS": "1",
    "TORCHINDUCTOR_DEBUG_COMPILE": "1",  # g++ -O0
}
NAMES = ("train_step", "audio_seconds_per_second", "mfu", "peak_memory")


def run(*arguments, status=0):
    """Standard output and error of the benchmark of the training step."""
    command = [sys.executable, BENCHMARKS / "train_step.py", *arguments]
    options = dict(env=os.environ | QUICKLY, capture_output=True, text=True, check=False)
    done = subprocess.run(command, **options)
    assert done.returncode == status, done.stderr
    return done.stdout, done.stderr


def measure(*arguments):
    """Rows by name."""
    out, _ = run("--size=tiny", "--repetitions=2", *arguments)
    rows = [json.loads(line) for line in out.splitlines()]
    assert tuple(row["name"] for row in rows) == NAMES
    assert all(row.keys() >= KEYS for row in rows)
    return {row["name"]: row for row in rows}
