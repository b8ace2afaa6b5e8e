"""`seedasr launch local` as people run it: a process that starts others, for tests."""

import pathlib
import re
import subprocess
import sys
import time

import faults

COMMAND = [sys.executable, "-P", "-m", "seedasr_jax.launch.cli", "launch", "local"]
_PATIENCE = 300  # seconds, on a busy machine


def start(folder, processes, devices, *arguments) -> subprocess.Popen:
    """Starts a job in `folder`; what its terminal shows goes to `log(folder)`.

    Files there are named as modules that a process needs: none may be taken for one.
    """
    pathlib.Path(folder).mkdir(exist_ok=True)
    for name in ("queue.py", "jax.py"):
        pathlib.Path(folder, name).write_text("raise RuntimeError('of the current folder')")
    command = [*COMMAND, f"--processes={processes}", f"--devices={devices}", *arguments]
    with log(folder).open("a") as file:
        env = faults.environment()
        return subprocess.Popen(command, cwd=folder, env=env, stdout=file, stderr=file)


def run(folder, processes, devices, *arguments):
    """A job that ends well."""
    code = start(folder, processes, devices, *arguments).wait()
    assert code == 0, log(folder).read_text()


def log(folder) -> pathlib.Path:
    """What the terminal of a job in `folder` showed."""
    return pathlib.Path(folder) / "terminal"


def members(path) -> list[tuple[int, int, int]]:
    """(process_index, N, process id) as a log has them, in its order."""
    found = re.findall(r"^process_index (\d+) of (\d+): process (\d+)", path.read_text(), re.M)
    return [tuple(map(int, each)) for each in found]


def until(happens, folder):
    """Waits for `happens()`."""
    end = time.monotonic() + _PATIENCE
    while not happens():
        assert time.monotonic() < end, log(folder).read_text()
        time.sleep(0.05)


def says(folder, text):
    """Waits until the terminal shows a text."""
    until(lambda: text in log(folder).read_text(), folder)


def gone(pid) -> bool:
    """Whether a process has ended; one that nobody waited for has too."""
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in "ZX"
