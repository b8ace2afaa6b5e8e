"""One writer per workdir."""

import contextlib
import fcntl
import os
import pathlib

from seedasr_jax.errors import UserError


@contextlib.contextmanager
def hold(workdir: pathlib.Path):
    """Holds the workdir's lock; the kernel drops it with the process, so none is ever stale.

    Raises:
        UserError: another process holds it; names its number.
    """
    path = workdir / ".lock"
    with open(path, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise UserError(
                f"{workdir} is being written by process {holder}; wait for it, or stop it first"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
