"""Libraries in C++ that log to stderr past Python."""

import contextlib
import os


@contextlib.contextmanager
def quiet():
    """Closes stderr to them; an exception of Python still says what it has to say."""
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
