"""Exit codes, and what a command says that fails."""

import sys

from seedasr_jax import workdir as disk
from seedasr_jax.errors import UserError

FAILED, PREEMPTED, HUNG, INTERRUPTED = 1, 75, 76, 130


def code(error: BaseException) -> int | None:
    """The exit code for what ended a command, its line on stderr; None: a fault of the program."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, SystemExit):
        return error.code
    line = disk.told(error) if isinstance(error, OSError) else error
    if not isinstance(line, UserError):
        return None
    print(f"seedasr: {line}", file=sys.stderr, flush=True)
    return line.exit_code
