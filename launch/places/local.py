"""`seedasr launch local`: one training in several processes of this machine, as on a pod.

Each runs `seedasr train` with devices of its own (threads of XLA:CPU), connected by a port of the
loopback; all log to WORKDIR/logs/process-I.log, the first also to the terminal. If one fails, all
are stopped; the exit code decides whether to retry.

Dims: N processes, D devices per process.
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

from seedasr_jax import config, filesystem
from seedasr_jax import workdir as disk
from seedasr_jax.errors import DONE, FAILED, INTERRUPTED, PREEMPTED, ConfigError
from seedasr_jax.launch import exits, recipes, signals
from seedasr_jax.launch.exits import Retry
from seedasr_jax.launch.places.training import Training
from seedasr_jax.launch.progress import say
from seedasr_jax.parallel import mesh as meshes
from seedasr_jax.parallel import sharding

_IN_ORDER = (DONE, PREEMPTED, INTERRUPTED)  # exit codes of all processes alike; see _GRACE
_LOOK = 0.05  # seconds between polls of the processes
_LAST = 10.0  # seconds to wait for the last lines of a process that has ended
_GRACE = 300.0  # seconds for the others to exit after one has saved and exited


def submit(
    training: Training, graph: config.Graph | None, *, processes: int, devices=1, restart=0
) -> int:
    """Trains in N `processes` of D `devices`; returns the exit code of the last try.

    `graph`: the expanded recipe; None: the workdir's. `restart`: limit of restarts after codes of
    `Retry.COUNTED`.

    Raises:
        ConfigError: numbers below 1, or a mesh or bucket that does not fit N x D devices.
    """
    limits = ("processes", processes, 1), ("devices", devices, 1), ("restart", restart, 0)
    for flag, found, least in limits:
        if found < least:
            raise ConfigError(f"--{flag}: expected at least {least}, found {found}")
    workdir = pathlib.Path(training.workdir)
    check(graph or recipes.stored(workdir), processes, devices)
    filesystem.check_writable(workdir, "--workdir")
    (workdir / disk.LOGS).mkdir(parents=True, exist_ok=True)
    tries, counted = 0, 0
    with Relay() as relay:
        while True:
            commands = render(training, processes, devices, again=not tries)
            tries, code = tries + 1, _try(commands, workdir, relay)
            retry = exits.retry(code)
            counted += retry is Retry.COUNTED
            if relay.came or retry is Retry.NEVER or counted > restart:
                return code
            say(f"launch: exit code {code}, restarting")


def check(graph: config.Graph, processes: int, devices: int):
    """Checks meshes and buckets against N processes of D devices, before any of them starts.

    Raises:
        ConfigError: one does not fit; names stage, numbers and cure.
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


def render(training: Training, processes: int, devices: int, *, again: bool) -> list[list[str]]:
    """The commands of the N processes; `again`: see `Training.arguments`."""
    command = [sys.executable, "-P", "-m", "seedasr_jax.launch.cli"]
    command += training.arguments(again=again)
    command += [f"--coordinator=127.0.0.1:{_free_port()}", f"--parent={os.getpid()}"]
    command += [f"--processes={processes}", f"--devices={devices}"]
    return [[*command, f"--process={index}"] for index in range(processes)]


class Relay:
    """Forwards signals to the processes, which save and exit together."""

    def __init__(self):
        self.came, self.children = 0, ()
        self._handling = signals.handling(self.hand_on)

    def __enter__(self):
        self._handling.__enter__()
        return self

    def __exit__(self, *error):
        return self._handling.__exit__(*error)

    def hand_on(self, number, _=None):
        """Sends a signal to all processes."""
        self.came = number
        for child in self.children:
            child.send_signal(number)


def _try(commands, workdir, relay) -> int:
    """Runs the processes until all have ended; returns their exit code."""
    with contextlib.ExitStack() as stack:
        files = [
            stack.enter_context(open(disk.log(workdir, index), "ab", buffering=0))
            for index in range(len(commands))
        ]
        children = relay.children = []
        stack.callback(_end, children)
        for command, file in zip(commands, files, strict=True):
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file if children else subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in a terminal reaches it once, by the relay
            )
            children.append(child)
        if relay.came:  # before all had started
            relay.hand_on(relay.came)
        lines = threading.Thread(target=_show, args=(children[0].stdout, files[0]), daemon=True)
        lines.start()
        code = _wait(children, relay)
        _end(children)
        lines.join(_LAST)  # a child of the process may hold its pipe open
        return code


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _show(lines, file):
    """Copies the first process's lines to its log and the terminal, as far as these accept them: a
    process whose pipe is not read would block.
    """
    for line in lines:
        for place in (file, sys.stderr.buffer):
            with contextlib.suppress(OSError):
                place.write(line)
                place.flush()


def _wait(children, relay) -> int:
    """Waits until all have exited in order, or one has failed; returns the exit code of the job."""
    asked = None
    while True:
        codes = [child.poll() for child in children]
        failed = [code for code in codes if code is not None and code not in _IN_ORDER]
        if failed:
            # A process that loses another fails with 1; any other code is more specific.
            code = max(failed, key=lambda code: (code > FAILED, code < 0, -code))
            index = codes.index(code)
            log = disk.log("", index)
            say(f"launch: process {index} ended with {code} (log: {log}), stopping the others")
            if code == -relay.came:
                return signals.CODES[relay.came]
            return max(code, FAILED)
        if None not in codes:
            return max(codes)
        left = max((code for code in codes if code), default=0)
        if left and asked is None:
            asked = time.monotonic()  # the others would wait for one that was stopped alone
            for child in () if relay.came else children:
                child.send_signal(signal.SIGINT if left == INTERRUPTED else signal.SIGTERM)
        if left and time.monotonic() > asked + _GRACE:
            say("launch: not all processes exited, killing the others")
            return left
        time.sleep(_LOOK)


def _end(children):
    for child in children:
        if child.poll() is None:
            child.kill()
        child.wait()
