"""Signals that a command handles, and the exit code for each."""

from collections.abc import Callable
import contextlib
import os
import signal
import sys
import threading

from seedasr_jax.errors import INTERRUPTED, PREEMPTED, Leave

_AGAIN = 0.02  # seconds, after which C code that dropped an interrupt has usually returned
# Signals that make a job save and stop -> exit code. Closing a terminal sends SIGHUP.
CODES = {signal.SIGINT: INTERRUPTED, signal.SIGTERM: PREEMPTED, signal.SIGHUP: PREEMPTED}


@contextlib.contextmanager
def handling(handler: Callable, signals=tuple(CODES)):
    """Routes signals to `handler(number, frame)`; an ignored SIGHUP, as by nohup, stays ignored."""
    taken = [
        number
        for number in signals
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN
    ]
    before = {number: signal.signal(number, handler) for number in taken}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave(number, _=None):
    """Handles a signal while there is nothing to save: ends the process."""
    raise Leave(CODES[number])


@contextlib.contextmanager
def insisting():
    """Sends a signal again if the exception of its handler was dropped, as by C code that calls
    Python (JAX in garbage collection, libsndfile in reading audio): the command would continue.
    """
    before = sys.unraisablehook

    def hook(dropped):
        if (number := _number(dropped.exc_value)) is None:
            before(dropped)
            return
        again = threading.Timer(_AGAIN, os.kill, (os.getpid(), number))
        again.daemon = True
        again.start()

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before


def _number(error) -> int | None:
    """The signal whose handler raised an error, or one with the same exit code."""
    if isinstance(error, KeyboardInterrupt):
        return signal.SIGINT
    found = error.code if isinstance(error, SystemExit) else None
    return next((number for number, code in CODES.items() if code == found), None)


def done():
    """Makes an interrupt end a finished program without a traceback; an ignored SIGINT stays so."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
