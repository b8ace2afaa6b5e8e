"""stdout and stderr of a command, even if it was started with closed or failing ones."""

import io
import os
import sys

from seedasr_jax import filesystem

_STREAMS = 3  # stdin, stdout, stderr


class _Output(io.FileIO):
    """Results: a failed write is an error that names stdout."""

    def write(self, content):
        """Writes as any file does."""
        with filesystem.naming("stdout"):
            return super().write(content)


class _Log(io.FileIO):
    """A log whose failed writes are dropped, as to a full disk; a closed pipe is an error."""

    def write(self, content):
        """Reports all as written, even if it was dropped."""
        try:
            return super().write(content)
        except BrokenPipeError:
            raise
        except OSError:
            return len(content)


def ready():
    """Makes both streams usable, in UTF-8 in every locale, so that a transcript is never lost.

    Closed ones are opened on /dev/null; otherwise the next opened file would take their number, and
    the messages of C libraries.
    """
    while (handle := os.open(os.devnull, os.O_RDWR)) < _STREAMS:
        os.set_inheritable(handle, True)
    os.close(handle)
    for number, name, kind in ((1, "stdout", _Output), (2, "stderr", _Log)):
        stream = getattr(sys, name)
        if stream is None or stream is getattr(sys, f"__{name}__"):
            line = stream is None or stream.line_buffering
            content = io.BufferedWriter(kind(number, "w", closefd=False))
            stream = io.TextIOWrapper(content, line_buffering=line)
            setattr(sys, name, stream)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def give_up_output():
    """Drops output that cannot be written: Python would retry at its end and exit with 120."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
