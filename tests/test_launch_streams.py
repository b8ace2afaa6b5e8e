"""stdout and stderr of a command: a reader that leaves, a full device, closed streams."""

import os
import subprocess
import sys

import pytest

SEEDASR = [sys.executable, "-m", "seedasr_jax.launch.cli"]


def test_a_reader_that_leaves_early_gets_no_traceback():
    done = subprocess.Popen(
        [*SEEDASR, "configs", "digits"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    done.stdout.close()
    assert done.stderr.read() == b""
    assert done.wait() == 1


@pytest.mark.parametrize("command", ["configs", "configs digits"])
def test_output_that_finds_no_room_is_one_line(command):
    """As much as a buffer holds is written at the end; more, before; without one, each line."""
    environment = {key: os.environ[key] for key in os.environ if key != "PYTHONUNBUFFERED"}
    if command == "configs":
        environment["PYTHONUNBUFFERED"] = "1"
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*SEEDASR, *command.split()],
            stdout=full,
            stderr=subprocess.PIPE,
            env=environment,
            text=True,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("seedasr: stdout: no space left")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("stderr", ["2>/dev/full", "2>&-", ">&- 2>&- <&-"])
def test_a_log_without_room_and_closed_streams_end_no_command(stderr):
    code = (
        "import os, sys; from seedasr_jax.launch import streams; streams.ready()\n"
        "print('a line', file=sys.stderr); sys.stderr.isatty()\n"
        "print('\\u00fc'); sys.stdout.flush()\n"
        "assert os.open('/dev/null', os.O_RDONLY) > 2"
    )
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "CODE": code}
    line = f'exec "{sys.executable}" -c "$CODE" {stderr}'
    done = subprocess.run(line, shell=True, env=environment, stdout=subprocess.PIPE)
    assert done.returncode == 0
    assert done.stdout.decode() == ("" if ">&- 2" in stderr else "ü\n")
