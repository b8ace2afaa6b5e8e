"""Signals of a command: which it hears, and the exit code that follows from each."""

from collections.abc import Callable
import contextlib
import os
import signal
import sys
import threading

from seedasr_jax.errors import INTERRUPTED, PREEMPTED

_AGAIN = 0.02  # seconds: by then the C code that dropped an interrupt has mostly gone on
# What asks a job to save and stop -> its exit code then. A terminal that is closed hangs up.
CODES = {
    signal.SIGINT: INTERRUPTED,
    signal.SIGTERM: PREEMPTED,
    signal.SIGHUP: PREEMPTED,
}


@contextlib.contextmanager
def hearing(handler: Callable, signals=tuple(CODES)):
    """Signals go to `handler(number, frame)`; a hang-up that is ignored, as by nohup, stays so."""
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
    raise SystemExit(CODES[number])


@contextlib.contextmanager
def insisting():
    """A signal is sent again where what its handler raised was dropped.

    C code that calls Python drops it, as JAX does in a collection of garbage and libsndfile in a
    read of audio: the command would go on.
    """
    before = sys.unraisablehook

    def hook(dropped):
        number = _number(dropped.exc_value)
        if number is None:
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
    """The signal whose handler raised an error, or one that is handled alike."""
    if isinstance(error, KeyboardInterrupt):
        return signal.SIGINT
    found = error.code if isinstance(error, SystemExit) else None
    return next((number for number, code in CODES.items() if code == found), None)


def done():
    """Of a program whose command is over: an interrupt ends it at once.

    As one of Python's it would print the traceback of what a library runs at the exit. Where a
    shell has it ignored, it stays so.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
