"""Paths of audio files: finds the intended file, or explains why there is none."""

import io
import os
import re
import stat
import sys
import unicodedata

from seedasr_jax import errors, filesystem


def found(path: str | os.PathLike) -> str:
    """Path of an existing file, in any Unicode normal form; DataError: none, names similar ones."""
    path = os.fspath(path)
    folder, name = os.path.split(path)
    forms = (unicodedata.normalize(form, path) for form in ("NFC", "NFD"))
    for other in (path, *forms, os.path.join(folder, name.strip())):
        if os.path.isfile(other):
            return other
    if other := _in_another_form(path):
        return other
    raise errors.DataError(f"{path or repr(path)}: {_instead(path)}")


def opened(argument):
    """Converts a command-line argument to a source for `files.read`; DataError: not readable.

    Pipes, "-" (standard input) and open files that are not seekable are read into memory.
    """
    if not isinstance(argument, str | os.PathLike):
        seeks = not hasattr(argument, "readinto") or argument.closed or argument.seekable()
        return argument if seeks else _stream(argument.read(), getattr(argument, "name", "audio"))
    path = os.fspath(argument)
    if path != "-" and (not os.path.exists(path) or os.path.isfile(path) or os.path.isdir(path)):
        return path
    if path == "-" and (sys.stdin is None or sys.stdin.isatty()):
        there = "none: it is closed" if sys.stdin is None else "a terminal"
        raise errors.DataError(f"-: expected audio on standard input, found {there}")
    if path != "-" and not stat.S_ISFIFO(mode := os.stat(path).st_mode) and not stat.S_ISSOCK(mode):
        raise errors.DataError(f"{path}: expected an audio file or a pipe, found a device")
    try:
        with open(sys.stdin.fileno() if path == "-" else path, "rb", closefd=path != "-") as file:
            return _stream(file.read(), path)
    except OSError as error:
        raise errors.DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def _stream(content, name) -> io.BytesIO:
    stream = io.BytesIO(content)
    stream.name = name
    return stream


def _in_another_form(path) -> str:
    """A file of the same folder whose name differs only in its Unicode normal form, or ""."""
    folder, name = os.path.split(path)
    if name.isascii():
        return ""
    try:
        names = os.listdir(folder or ".")
    except (OSError, ValueError):  # ValueError: a NUL in the path
        return ""
    wanted = unicodedata.normalize("NFC", name)
    same = (other for other in names if unicodedata.normalize("NFC", other) == wanted)
    return next((os.path.join(folder, other) for other in same), "")


def _instead(path) -> str:
    """What was found at a path instead of an audio file, with a cure."""
    if filesystem.is_url(path):
        return "expected a local file, found a URL; download it first"
    if wrong := filesystem.access_error(path):
        return str(wrong).removeprefix(f"{path}: ")
    if os.path.isdir(path):
        names = os.path.join(path, "*.wav")
        return f"expected an audio file, found a folder; name its files, as in {names}"
    if os.path.exists(path):
        return "expected an audio file, found a pipe or a device"
    if os.path.islink(path):
        return f"expected an audio file, found a broken link to {os.readlink(path)}"
    (stem, ending), (folder, name) = os.path.splitext(path), os.path.split(path)
    alike = stem + ending.lower(), stem + ending.upper(), os.path.join(folder, name.lower())
    for other in (path.replace("\\", "/"), *alike):
        if os.path.isfile(other):
            return f"no such audio file. Did you mean {other}?"
    if re.search(r"(^|/)~", path):
        return "no such audio file; ~ is not expanded here: write the full path"
    if path.endswith("|"):
        return "expected a file, found a command, which is not run; store its output first"
    if re.search(r"[*?[]", path):
        return "no such audio file; patterns are expanded by the shell: none matched, or quoted"
    return "no such audio file"
