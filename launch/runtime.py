"""Setup of a process before it computes."""

import contextlib
import ctypes
import hashlib
import os
import pathlib
import signal
import sys
import traceback

import jax

from seedasr_jax import workdir as disk
from seedasr_jax.errors import FAILED, ConfigError
from seedasr_jax.launch import exits
from seedasr_jax.launch.progress import say
from seedasr_jax.parallel import memory
from seedasr_jax.parallel import processes as members

_PR_SET_PDEATHSIG = 1  # Linux, prctl(2)


def keep_programs(cache) -> None:
    """Caches compiled programs below `cache` for restarts, unless a cache is configured already.

    CPU programs may use instructions that other CPUs lack, so each CPU model has its own folder.
    """
    if jax.config.jax_compilation_cache_dir is None:
        folder = os.path.realpath(pathlib.Path(cache, disk.PROGRAMS.format(_processor())))
        jax.config.update("jax_compilation_cache_dir", folder)


def compute_here() -> None:
    """Makes CPU programs run in the calling thread, whose heap has no limit (memory.py).

    Must precede JAX's search for devices. Does not affect accelerators or a process of a job of
    several. With several devices some programs still run in a thread pool.
    """
    if not jax.distributed.is_initialized():
        jax.config.update("jax_cpu_enable_async_dispatch", False)


def check_joined() -> None:
    """Raises a ConfigError on a pod whose processes are not connected, so cannot agree."""
    count = jax.process_count()
    if count > 1 and not jax.distributed.is_initialized():
        raise ConfigError(
            f"the {count} processes of this pod are not connected: start each with"
            f" --coordinator=HOST:PORT (of the first) --processes={count} --process=I, I from 0 to"
            f" {count - 1}"
        )


def _processor() -> str:
    """Short hash of the model and features of this machine's processors."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except FileNotFoundError:
        return "any"
    found = sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
    return hashlib.sha256("\n".join(found).encode()).hexdigest()[:8]


@contextlib.contextmanager
def member(coordinator: str, process: int, processes: int, devices: int, parent: int):
    """Makes this process one of a job; must precede any use of JAX.

    An exception inside ends the process at once: the others block in a step, and an orderly exit
    would wait for them.

    Args:
        coordinator: HOST:PORT of process 0; empty: a job of one process.
        process, processes: index of this process, and their number.
        devices: CPU devices to create here; 0: the existing devices.
        parent: id of the process that started this one, which ends with it; 0: none.
    """
    if not coordinator:
        yield
        return
    if parent:
        _die_with(parent)
    if devices:
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", devices)
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(coordinator, processes, process)
    try:
        found = members.gathered([(os.getpid(), jax.local_device_count())])
        for index, (pid, count) in enumerate(found):
            say(f"process_index {index} of {processes}: process {pid}, {count} devices")
        memory.agree()
        yield
    except BaseException as error:  # an interrupt too: no caller may wait for the others
        code = exits.code(error)
        if code is None:
            traceback.print_exc()
            sys.stderr.flush()
            code = FAILED
        os._exit(code)


def _die_with(parent):
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it had ended before
        os._exit(FAILED)
