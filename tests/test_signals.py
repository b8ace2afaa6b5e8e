"""Interrupts: none is lost, and none leaves a traceback."""

import gc
import signal
import subprocess
import sys
import time

import pytest

from seedasr_jax.launch import signals


def test_an_interrupt_that_c_code_drops_comes_again():
    """As one that comes in a collection of garbage, where JAX has a callback, or in libsndfile."""
    calls = []

    def collected(*_):
        calls.append(_)
        if len(calls) == 1:
            signal.raise_signal(signal.SIGINT)

    def interrupted():
        with signals.insisting():
            gc.collect()
            time.sleep(30)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a script's "&" ignores it
    gc.callbacks.append(collected)
    try:
        with pytest.raises(KeyboardInterrupt):
            interrupted()
    finally:
        gc.callbacks.remove(collected)
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("command", ["configs", "configs none", "configs --help"])
@pytest.mark.parametrize("ignored", [False, True])
def test_an_interrupt_after_the_command_leaves_no_traceback(command, ignored):
    code = (
        "import atexit, signal, sys\n"
        "from seedasr_jax.launch import cli\n"
        f"signal.signal(signal.SIGINT, signal.{'SIG_IGN' if ignored else 'default_int_handler'})\n"
        "atexit.register(signal.raise_signal, signal.SIGINT)\n"
        "sys.exit(cli.main())"
    )
    command = [sys.executable, "-c", code, *command.split()]
    done = subprocess.run(command, capture_output=True, text=True)
    ended = 2 if command[-1] == "none" else 0
    assert done.returncode == (ended if ignored else -signal.SIGINT)
    assert "Traceback" not in done.stderr
