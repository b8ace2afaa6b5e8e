"""Exit codes, their meaning and retry policy, and the one-line message of a failure."""

import dataclasses
import enum
import signal
import sys

from seedasr_jax import errors, filesystem, tables
from seedasr_jax.errors import UserError

_OF_JAX = {  # text in an error of JAX -> its meaning
    "Gloo": "another process of this job has ended; see its log",  # connects processes on CPUs
    "Unable to initialize backend": "JAX finds no devices",
}


class Retry(enum.Enum):
    """Whether a launcher starts a command again."""

    NEVER = "never"
    COUNTED = "counted"  # as often as the launcher's limit on restarts allows
    FREE = "free"  # without limit


@dataclasses.dataclass(frozen=True)
class Exit:
    """Meaning and retry policy of an exit code."""

    meaning: str
    retry: Retry


# The one table: launchers render their retry policies from it.
TABLE = {
    errors.DONE: Exit("done", Retry.NEVER),
    errors.FAILED: Exit("failed", Retry.COUNTED),
    errors.USAGE: Exit("usage, config or stale recipe", Retry.NEVER),
    errors.CHECK_FAILED: Exit("a check failed", Retry.NEVER),
    errors.PREEMPTED: Exit("preempted after saving", Retry.FREE),
    errors.HUNG: Exit("stopped by a watchdog", Retry.COUNTED),
    errors.INTERRUPTED: Exit("interrupted by Ctrl-C", Retry.NEVER),
}


def retry(code: int) -> Retry:
    """Whether to restart a command that ended with a code.

    A signal (-N of a process, 128 + N of a shell), such as SIGKILL on a lost host, is counted; any
    other code outside TABLE is never retried.
    """
    code = 128 - code if code < 0 else code
    if code in TABLE:
        return TABLE[code].retry
    return Retry.COUNTED if 128 < code < 128 + signal.NSIG else Retry.NEVER


def markdown() -> str:
    """TABLE in Markdown."""
    rows = [(code, known.meaning, known.retry.value) for code, known in TABLE.items()]
    return tables.markdown(("exit code", "meaning", "retry"), rows)


def code(error: BaseException) -> int | None:
    """The exit code for an error, whose line is printed to stderr; None: a bug."""
    if isinstance(error, KeyboardInterrupt):
        return errors.INTERRUPTED
    if isinstance(error, SystemExit):
        return error.code
    line = _as_user_error(error)
    if not isinstance(line, UserError):
        return None
    print(f"seedasr: {line}", file=sys.stderr, flush=True)
    return line.exit_code


def _as_user_error(error):
    """A UserError for errors of files, memory, devices or the connection to other processes."""
    if isinstance(error, OSError):
        return filesystem.as_user_error(error)
    found = " ".join(str(error).split())[:200]
    for mark, meaning in _OF_JAX.items():
        if isinstance(error, RuntimeError | ValueError) and mark in str(error):
            return UserError(f"{meaning} ({found})")
    exhausted = isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" in str(error)  # from JAX
    if not (exhausted or isinstance(error, MemoryError)):
        return error
    return UserError(
        f"out of memory: {found}; use smaller data.buckets or eval.buckets (eval: --buckets), a"
        " larger run.accum, or more devices; `seedasr plan` shows the memory of each program"
    )
