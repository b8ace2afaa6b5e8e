"""stdout and stderr of a command, whatever it was started with."""

import io
import os
import sys

from seedasr_jax import filesystem

_STREAMS = 3  # with stdin


class _Output(io.FileIO):
    """Results: what finds no room is an error that says where."""

    def write(self, content):
        """As of any file."""
        with filesystem.naming("stdout"):
            return super().write(content)


class _Log(io.FileIO):
    """A log ends no command: what finds no room, or no terminal any more, is dropped.

    That its reader is gone is an error, as of any pipe.
    """

    def write(self, content):
        """Takes all, whatever becomes of it."""
        try:
            return super().write(content)
        except BrokenPipeError:
            raise
        except OSError:
            return len(content)


def ready():
    """Makes both usable.

    What was closed leads nowhere: a file that is opened would have its number, and what C libraries
    say would be written to it. Text is UTF-8 whatever the locale: a transcript is never lost.
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
    """What cannot be written is dropped: Python would try once more as it ends, and exit by 120."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
