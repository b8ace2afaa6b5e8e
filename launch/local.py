"""`seedasr launch local`: one training in several processes of this machine, as on a pod.

Each runs `seedasr train` with devices of its own (threads of XLA:CPU) and finds the others at a
port of the loopback; all log to WORKDIR/logs/process-I.log, the first to the terminal too. If one
fails, all are stopped; the exit code decides whether to retry.

Dims: N processes, D devices of each.
"""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time

import jax
import numpy as np

from seedasr_jax import config
from seedasr_jax import workdir as disk
from seedasr_jax.errors import ConfigError
from seedasr_jax.launch import exits, recipes
from seedasr_jax.launch.exits import FAILED, HUNG, INTERRUPTED, PREEMPTED
from seedasr_jax.launch.progress import say
from seedasr_jax.parallel import mesh as meshes
from seedasr_jax.parallel import sharding

# Tried again as often as it takes; see --restart for FAILED. HUNG is left to a user's watchdog.
_FREE = (PREEMPTED, HUNG)
_IN_ORDER = (0, PREEMPTED, INTERRUPTED)  # left by all, which save together; see _GRACE
_LOOK = 0.05  # seconds between looks at the processes
_LAST = 10.0  # seconds for the last lines of a process that has ended
_GRACE = 300.0  # seconds for the others, when one has saved and left


def run(graph: config.Graph | None, options) -> int:
    """Trains until done, or until another try is of no use.

    Args:
        graph: the recipe, or None for that of the workdir.
        options: of the command.

    Returns:
        The exit code of the last try.

    Raises:
        ConfigError: numbers below 1, or a mesh or bucket that does not fit N x D devices.
    """
    for flag, least in (("processes", 1), ("devices", 1), ("restart", 0)):
        if (found := getattr(options, flag)) < least:
            raise ConfigError(f"--{flag}: expected at least {least}, found {found}")
    workdir = pathlib.Path(options.workdir)
    check(graph or recipes.stored(workdir), options.processes, options.devices)
    disk.try_place(workdir, "--workdir")
    (workdir / disk.LOGS).mkdir(parents=True, exist_ok=True)
    again = [f"--from={options.again}"] if options.again else []
    failures = 0
    with Signals() as signals:
        while True:
            code = _try(_command(options) + again, options, workdir / disk.LOGS, signals)
            failures += code == FAILED
            retry = code in _FREE or (code == FAILED and failures <= options.restart)
            if signals.came or not retry:
                return code
            say(f"launch: exit code {code}, starting again")
            again = []  # what it replaces is set aside already


def check(graph: config.Graph, processes: int, devices: int):
    """Checks meshes and buckets against N processes of D devices, before any of them starts.

    Raises:
        ConfigError: names stage, numbers and cure.
    """
    for name, stage in graph.stages.items():
        try:
            sizes = meshes.sizes(stage.mesh, processes * devices)
            mesh = jax.sharding.AbstractMesh(sizes, meshes.AXES)
            for _, _, utterances in stage.data.buckets:
                sharding.check_batch(utterances, mesh, stage.run.accum)
            sharding.shares(np.arange(processes * devices).reshape(sizes) // devices)
        except ConfigError as error:
            raise ConfigError(
                f"stage {name!r} on {processes} processes of {devices} devices: {error}"
            ) from error


def _command(options):
    """`seedasr train` with what `launch local` was given of it."""
    command = [sys.executable, "-P", "-m", "seedasr_jax.launch.cli", "train"]
    command.append(f"--workdir={options.workdir}")
    command += [f"--config={options.config}"] if options.config else []
    command += [f"--stage={options.stage}"] if options.stage else []
    return command + [f"--config.{key}={value}" for key, value in options.overrides]


class Signals:
    """Hands signals on to the processes, which save and leave together."""

    def __init__(self):
        self.came, self.children = 0, ()
        self._hearing = exits.hearing(self.hand_on)

    def __enter__(self):
        self._hearing.__enter__()
        return self

    def __exit__(self, *error):
        return self._hearing.__exit__(*error)

    def hand_on(self, number, _=None):
        """Sends a signal to all processes."""
        self.came = number
        for child in self.children:
            child.send_signal(number)


def _try(command, options, logs, signals) -> int:
    """Starts the processes and waits for them; none is left behind. Returns their exit code."""
    flags = [
        f"--coordinator=127.0.0.1:{_free_port()}",
        f"--processes={options.processes}",
        f"--devices={options.devices}",
        f"--parent={os.getpid()}",
    ]
    with contextlib.ExitStack() as stack:
        files = [
            stack.enter_context(open(logs / f"process-{index}.log", "ab", buffering=0))
            for index in range(options.processes)
        ]
        children = signals.children = []
        stack.callback(_end, children)
        for index, file in enumerate(files):
            child = subprocess.Popen(
                [*command, *flags, f"--process={index}"],
                stdin=subprocess.DEVNULL,
                stdout=file if index else subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a terminal's Ctrl-C comes through us, once
            )
            children.append(child)
        if signals.came:  # before there were all
            signals.hand_on(signals.came)
        lines = threading.Thread(target=_show, args=(children[0].stdout, files[0]), daemon=True)
        lines.start()
        code = _wait(children, signals)
        _end(children)
        lines.join(_LAST)  # what a process started may hold its pipe open
        return code


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _show(lines, file):
    """Copies the lines of the first process to its log and to the terminal.

    On a full disk, or where the terminal is gone, lines are lost: a process that nothing reads
    from would wait for ever.
    """
    for line in lines:
        for place in (file, sys.stderr.buffer):
            with contextlib.suppress(OSError):
                place.write(line)
                place.flush()


def _wait(children, signals) -> int:
    """Waits until all are done in order, or one is not; returns the exit code of the job.

    Where one was asked to stop and left, the others are asked too: alone they would wait for it.
    """
    asked = None
    while True:
        codes = [child.poll() for child in children]
        failed = [code for code in codes if code is not None and code not in _IN_ORDER]
        if failed:
            # Who loses another fails for that, with 1: any other code says more.
            code = max(failed, key=lambda code: (code > FAILED, code < 0, -code))
            index = codes.index(code)
            log = f"{disk.LOGS}/process-{index}.log"
            say(f"launch: process {index} ended with {code} (its log: {log}), stopping the others")
            if code == -signals.came:
                return exits.SIGNALS[signals.came]
            return max(code, FAILED)
        if None not in codes:
            return max(codes)
        left = max((code for code in codes if code), default=0)
        if left and asked is None:
            asked = time.monotonic()
            for child in () if signals.came else children:
                child.send_signal(signal.SIGINT if left == INTERRUPTED else signal.SIGTERM)
        if left and time.monotonic() > asked + _GRACE:
            say("launch: not all processes left, stopping the others")
            return left
        time.sleep(_LOOK)


def _end(children):
    for child in children:
        if child.poll() is None:
            child.kill()
        child.wait()
