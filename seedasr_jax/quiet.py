"""Silence of C++ libraries, which write to stderr past Python."""

import contextlib
import os


@contextlib.contextmanager
def quiet():
    """Context in which the process's stderr is discarded; exceptions are raised as usual."""
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
