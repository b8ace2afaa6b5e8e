"""A signal at an instant of training, then the same command: bit for bit the run never stopped."""

import os
import signal
import subprocess
import sys
import time

import faults
from faults import Kill
import numpy as np
import pytest
import tones
import workdirs

from seedasr_jax import checkpoint

SEEDASR = [sys.executable, "-m", "seedasr_jax.launch.cli"]


@pytest.fixture(scope="module")
def run_never_killed(tmp_path_factory):
    """Of the stage that is killed here; test_more_faults.py has the others."""
    return faults.run_never_killed(tmp_path_factory.mktemp("never_killed"), only="ctc")


def test_training_moves_what_is_compared(run_never_killed):
    folder = run_never_killed.workdir / "ctc"
    before, after = (workdirs.everything(folder, faults.STEPS - n) for n in (faults.SAVE_EVERY, 0))
    encoder = [name for name in before if name.startswith("params.encoder")]
    assert len(encoder) > 10
    assert all(before[name] != after[name] for name in encoder)


def test_killed_three_times_and_bit_identical(run_never_killed, tmp_path):
    rng = np.random.default_rng(7)
    kills = [
        Kill("save", "ctc", 9, float(rng.uniform(0, 15))),
        Kill("evaluate", "ctc", 12, float(rng.uniform(150, 200))),  # the step is on disk by then
        Kill("restore", "ctc", 0, float(rng.uniform(0, 15))),
    ]
    _, scoring, _ = faults.check(run_never_killed, tmp_path, kills)
    assert scoring["under_way"]


# Signals, to the command as people run it.


def until(path, text, process):
    """Waits for a text in a log."""
    end = time.monotonic() + 120
    while text not in (path.read_text() if path.exists() else ""):
        assert time.monotonic() < end, path.read_text()
        assert running(process), path.read_text()
        time.sleep(0.02)


def running(process):
    return process.poll() is None if isinstance(process, subprocess.Popen) else process.is_alive()


def test_signals_save_and_the_same_command_goes_on_bit_for_bit(run_never_killed, tmp_path):
    """SIGINT to the real command, SIGTERM to its resumption, then to the end."""
    steps = 120
    changes = [f"--config.stages.lm.steps={steps}", "--config.run.save_every=1000"]
    changes += ["--config.run.tensorboard=False"]
    config = f"--config={tones.RECIPE}:{run_never_killed.manifest}"
    command = ["train", config, "--stage=lm", *changes]
    stopped = [*command, f"--workdir={tmp_path}/stopped"]
    log = tmp_path / "log"
    with log.open("w") as file:
        process = subprocess.Popen([*SEEDASR, *stopped], stderr=file, env=faults.environment())
        until(log, f"lm 4/{steps}", process)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    assert "saving, then stopping" in log.read_text()
    first = checkpoint.read(tmp_path / "stopped/lm")
    assert first.state == "running"
    assert 4 <= first.step < steps
    assert checkpoint.latest(tmp_path / "stopped/lm") == first.step

    process = faults.start(faults.command, *stopped, log=log)
    until(log, f"resumed at step {first.step}", process)
    until(log, f"lm {first.step + 8 - first.step % 4}/{steps}", process)
    os.kill(process.pid, signal.SIGTERM)
    process.join()
    assert process.exitcode == 75
    assert first.step < checkpoint.read(tmp_path / "stopped/lm").step < steps

    others = [faults.start(faults.command, *stopped, log=log)]
    others += [faults.start(faults.command, *command, f"--workdir={tmp_path}/whole", log=log)]
    for process in others:
        process.join()
        assert process.exitcode == 0, log.read_text()
    folders = [tmp_path / name / "lm" for name in ("stopped", "whole")]
    one, other = (workdirs.everything(folder) for folder in folders)
    assert one == other
    losses = [[row["loss"] for row in faults.rows(f / "metrics.jsonl")] for f in folders]
    assert losses[0] == losses[1]


def test_a_second_interrupt_ends_at_once(tmp_path):
    begun = time.monotonic()
    process = faults.start(faults.interrupted_twice, log=tmp_path / "log")
    process.join()
    assert process.exitcode == 130
    assert time.monotonic() - begun < 55
