"""Exit codes, and the line that a failing command prints."""

from collections.abc import Callable
import contextlib
import os
import signal
import sys
import threading

from seedasr_jax import workdir as disk
from seedasr_jax.errors import UserError

_EXHAUSTED = "RESOURCE_EXHAUSTED"
# What errors of JAX hold -> what they mean.
_OF_JAX = {
    "Gloo": "another process of this job is gone; its log says why",  # connects those on CPUs
    "Unable to initialize backend": "JAX finds no devices",
}
_AGAIN = 0.02  # seconds: by then the C code that dropped an interrupt has mostly gone on
FAILED, CHECK_FAILED, PREEMPTED, HUNG, INTERRUPTED = 1, 3, 75, 76, 130
# What asks a job to save and stop: its exit code then. A terminal that is closed hangs up.
SIGNALS = {
    signal.SIGINT: INTERRUPTED,
    signal.SIGTERM: PREEMPTED,
    signal.SIGHUP: PREEMPTED,
}


@contextlib.contextmanager
def hearing(handler: Callable, signals=tuple(SIGNALS)):
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
    """Of a signal before there is anything to save: ends the process."""
    raise SystemExit(SIGNALS[number])


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
    return next((number for number, code in SIGNALS.items() if code == found), None)


def done():
    """Of a program whose command is over: an interrupt ends it at once.

    As one of Python's it would print the traceback of what a library runs at the exit. Where a
    shell has it ignored, it stays so.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def give_up_output():
    """What cannot be written is dropped: Python would try once more as it ends, and exit by 120."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def code(error: BaseException) -> int | None:
    """The exit code for what ended a command, its line on stderr; None: a fault of the program."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, SystemExit):
        return error.code
    line = _as_user_error(error)
    if not isinstance(line, UserError):
        return None
    print(f"seedasr: {line}", file=sys.stderr, flush=True)
    return line.exit_code


def _as_user_error(error):
    """An error of files, memory, devices or the connection to others as a UserError."""
    if isinstance(error, OSError):
        return disk.as_user_error(error)
    found = " ".join(str(error).split())[:200]
    for mark, meaning in _OF_JAX.items():
        if isinstance(error, RuntimeError | ValueError) and mark in str(error):
            return UserError(f"{meaning} ({found})")
    exhausted = isinstance(error, RuntimeError) and _EXHAUSTED in str(error)  # of JAX
    if not (exhausted or isinstance(error, MemoryError)):
        return error
    return UserError(
        f"out of memory: {found}; take smaller data.buckets or eval.buckets (eval: --buckets), a"
        " larger run.accum, or more devices; `seedasr plan` says what a program takes"
    )
