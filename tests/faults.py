"""Training in processes that start in a moment and die where they are asked to, by a real SIGKILL.

A forkserver imports TensorFlow, SeqIO and the launcher once; every run is a fork of it that has
started neither JAX's backend nor a thread of TensorFlow's.
"""

import dataclasses
import gc
import json
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
import os
import pathlib
import signal
import sys
import threading
import time
from unittest import mock
import warnings

import forks
import jax
import numpy as np
import tones
import workdirs

from seedasr_jax import checkpoint
from seedasr_jax.evaluate.development import Evaluator
from seedasr_jax.launch import cli, run
from seedasr_jax.launch.stop import Stop
from seedasr_jax.models import layers
from seedasr_jax.train.build import Built
from seedasr_jax.train.keeper import Keeper

EIGHT = "--xla_force_host_platform_device_count=8"  # of conftest.py
STEPS, SAVE_EVERY = 12, 3  # of each stage, in tones_recipe.py


@dataclasses.dataclass(frozen=True)
class Kill:
    """SIGKILL so many milliseconds after an event of a stage begins."""

    kind: str  # step, save, evaluate or restore
    stage: str
    step: int  # of the stage; of a restore: any
    milliseconds: float


def one_device() -> str:
    """XLA_FLAGS without the tests' eight devices; a lone space would be a file's name."""
    return os.environ["XLA_FLAGS"].replace(EIGHT, "").strip()


def environment() -> dict[str, str]:
    """Of a real command in a process of its own: one CPU device, the cache of the tests."""
    return os.environ | {
        "XLA_FLAGS": one_device(),
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "true",
        "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }


def start(target, *arguments, log) -> BaseProcess:
    """Starts `target(*arguments)` in a process of one CPU device; `log` takes its stderr."""
    processes = forks.context("faults")
    path = os.pathsep.join(sys.path)
    with mock.patch.dict(os.environ, {"XLA_FLAGS": one_device(), "PYTHONPATH": path}):
        forkserver.ensure_running()  # or it does already
    arguments = (target, arguments, str(log), environment())
    process = processes.Process(target=_main, args=arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        process.start()
    return process


def _main(target, arguments, log, own):
    os.environ.update(own)
    with open(log, "ab") as file:
        os.dup2(file.fileno(), 2)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    jax.config.update("jax_disable_most_optimizations", True)  # these as conftest.py has them
    jax.config.update("jax_compilation_cache_dir", own["JAX_COMPILATION_CACHE_DIR"])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    layers.UNROLLED = 1
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    sys.exit(target(*arguments))


def command(*arguments) -> int:
    """`seedasr ARGUMENTS`."""
    return cli.main(list(arguments))


def command_in(folder, *arguments) -> int:
    """`seedasr ARGUMENTS` in a folder."""
    os.chdir(folder)
    return command(*arguments)


def interrupted_twice() -> int:
    """What two Ctrl-C do to a process that is slow to save."""
    with Stop() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.asked()
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)
    return 0


def train(manifest, workdir, only: str, kill: Kill | None = None) -> int:
    """Trains the graph of tones_recipe.py, or a stage of it; the driver of the harness."""
    if kill is not None:
        _arm(kill, pathlib.Path(workdir))
    return run.train(tones.graph(manifest, run__tensorboard=False), workdir, only=only)


def _arm(kill, workdir):
    """Wraps the event so that it starts the clock of the kill."""

    def strike(under_way):
        def wait():
            time.sleep(kill.milliseconds / 1_000)
            with open(workdir.parent / "kills.jsonl", "a") as file:
                row = dataclasses.asdict(kill) | {"under_way": under_way()}
                file.write(json.dumps(row) + "\n")
            os.kill(os.getpid(), signal.SIGKILL)

        threading.Thread(target=wait, daemon=True).start()

    def of_stage(folder):
        return pathlib.Path(folder).name == kill.stage

    if kill.kind == "step":
        make = Built.train_step

        def train_step(built):
            step = make(built)

            def stepping(state, batch):
                if built.stage.kind == kill.stage and int(state.step) + 1 == kill.step:
                    strike(lambda: True)
                return step(state, batch)

            return stepping

        Built.train_step = train_step
    elif kill.kind == "save":
        save = Keeper.save

        def saving(keeper, step, *rest):
            if of_stage(keeper.folder) and step == kill.step:
                strike(lambda: keeper.writer.durable() != step)
            save(keeper, step, *rest)

        Keeper.save = saving
    elif kill.kind == "evaluate":
        evaluate = Evaluator.__call__

        def evaluating(evaluator, step, state):
            if evaluator.name != kill.stage or step != kill.step:
                return evaluate(evaluator, step, state)
            done = []
            strike(lambda: not done)
            scores = evaluate(evaluator, step, state)
            done.append(True)
            return scores

        Evaluator.__call__ = evaluating
    else:
        restore = checkpoint.restore

        def restoring(folder, *rest):
            if not of_stage(folder):
                return restore(folder, *rest)
            done = []
            strike(lambda: not done)
            state = restore(folder, *rest)
            done.append(True)
            return state

        checkpoint.restore = restoring


def plan(seed: int) -> list[Kill]:
    """Five kills in the order in which they strike, two of them in a save, two in a restore."""
    rng = np.random.default_rng(seed)

    def moment(most):
        return float(rng.uniform(0, most))

    def saved(least):
        return int(rng.integers(least // SAVE_EVERY, STEPS // SAVE_EVERY + 1)) * SAVE_EVERY

    # A restore needs a step that is whole: the save of step 6 waits for that of step 3, and so on.
    return [
        Kill("save", "lm", saved(3), moment(20)),
        Kill("step", "ctc", int(rng.integers(7, STEPS + 1)), moment(40)),
        Kill("restore", "ctc", 0, moment(20)),
        Kill("save", "sft", saved(9), moment(20)),
        Kill("restore", "sft", 0, moment(20)),
    ]


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished workdir and what it was trained on."""

    manifest: pathlib.Path
    workdir: pathlib.Path
    only: str  # the one stage that is trained, or "": all


def run_never_killed(folder, only="") -> Run:
    """Trains the reference: one recording of its manifest is missing, so that a row is skipped."""
    manifest = tones.write(folder / "data", 40)
    (folder / "data/audio-0/t033.wav").unlink()
    run = Run(manifest, folder / "workdir", only)
    _finish(run, folder)
    return run


def check(reference: Run, folder, kills) -> list[dict]:
    """Trains under kills, and compares everything with the reference; returns what was killed."""
    killed = dataclasses.replace(reference, workdir=folder / "workdir")
    for kill in kills:
        arguments = killed.manifest, killed.workdir, killed.only, kill
        process = start(train, *arguments, log=folder / "log")
        process.join()
        log = (folder / "log").read_text()
        assert process.exitcode == -signal.SIGKILL, f"{kill} did not strike:\n{log}"
    _finish(killed, folder)
    for stage in [reference.only] if reference.only else ["lm", "ctc", "sft"]:
        one, other = reference.workdir / stage, killed.workdir / stage
        assert workdirs.everything(one) == workdirs.everything(other), stage
        assert rows(one / "metrics.jsonl") == rows(other / "metrics.jsonl")
        steps = [row["step"] for row in rows(other / "metrics.jsonl")]
        assert steps == sorted(set(steps))
        assert steps[-1] == STEPS
        assert rows(one / "skipped.jsonl") == rows(other / "skipped.jsonl")
        assert checkpoint.read(one).hours == checkpoint.read(other).hours
        assert checkpoint.read(one).hashes == checkpoint.read(other).hashes
    assert rows(reference.workdir / "ctc" / "skipped.jsonl")
    return [json.loads(line) for line in (folder / "kills.jsonl").read_text().splitlines()]


def _finish(run, folder):
    process = start(train, run.manifest, run.workdir, run.only, log=folder / "log")
    process.join()
    assert process.exitcode == 0, (folder / "log").read_text()


def rows(path):
    """Rows of a JSONL file without what was measured on the machine."""
    lines = path.read_text().splitlines() if path.exists() else []
    rows = [json.loads(line) for line in lines]
    return [{k: v for k, v in row.items() if not k.startswith("host/")} for row in rows]
