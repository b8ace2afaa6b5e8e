"""Inventories of checkpoints: the files of a folder when it was written, to detect later damage.

Each step of STAGE/checkpoints and each bundle has an inventory.json, which is written last: of each
file the size and a hash of samples, at most 64 KiB. A job checks each folder once (`once`).
"""

from collections.abc import Iterator
import contextlib
import hashlib
import os
import pathlib
import re

from seedasr_jax import workdir as disk
from seedasr_jax.errors import UserError

_NUMBER = re.compile("0|[1-9][0-9]*")  # name of a step's folder
_NOTE = "_CHECKPOINT_METADATA"  # Orbax's file with the metadata saved beside the arrays
_BLOCK, _BLOCKS = 4096, 16  # bytes per sample; samples per file
_known: list[dict[str, str]] = []  # folder -> damage, innermost last; see `once`


@contextlib.contextmanager
def once() -> Iterator[dict[str, str]]:
    """Context in which no folder is sampled twice, nor one that is written within it.

    Yields the cache, folder -> `damage`, for exchange with other processes.
    """
    _known.append({})
    try:
        yield _known[-1]
    finally:
        _known.pop()


def write(folder, without=()) -> None:
    """Writes the inventory of a complete folder, except files `without`, which may change later."""
    folder, left_out = pathlib.Path(folder), {disk.INVENTORY, *without}
    paths = sorted(folder.rglob("*"))
    files = (path for path in paths if path.is_file() and path.name not in left_out)
    disk.write_json(folder / disk.INVENTORY, {str(p.relative_to(folder)): mark(p) for p in files})
    trust(folder)


def trust(folder) -> None:
    """Marks a folder written by this job as undamaged, so that it is not sampled."""
    for known in _known:
        known[os.path.abspath(folder)] = ""


def damage(folder) -> str:
    """Describes the damage of a folder that should have an inventory; "" if it is undamaged."""
    known, key = _known[-1] if _known else {}, os.path.abspath(folder)
    if key not in known:
        known[key] = _damage(pathlib.Path(folder))
    return known[key]


def _damage(folder):
    if not (folder / disk.INVENTORY).exists():
        return f"it has no {disk.INVENTORY}: it was never finished"
    try:
        listed, written = disk.read_json(folder / disk.INVENTORY), _written_as(folder)
    except UserError as error:
        return f"its record cannot be read: {error}"
    if not listed:
        return f"its {disk.INVENTORY} names no file"
    for name, noted in listed.items():
        path = folder / name
        if not (isinstance(noted, list) and len(noted) == 2):
            return f"its {disk.INVENTORY} has no size and hash of {name}"
        size, digest = noted
        if not path.exists():
            return f"its file {name} is missing"
        if (found := path.stat().st_size) != size:
            return f"its file {name} has {found} bytes, expected {size}"
        if mark(path)[1] != digest:
            return f"its file {name} has another content than was written"
    if written not in (None, folder.name):
        return f"it is a copy of step {written}"
    return ""


def steps(stage) -> list[int]:
    """Step numbers of the folders in a stage's checkpoints, damaged or not, ascending."""
    folder = pathlib.Path(stage, disk.CHECKPOINTS)
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(int(path.name) for path in found if _NUMBER.fullmatch(path.name))


def newest(stage) -> tuple[int | None, list[str]]:
    """The newest undamaged step of a stage directory, and a line for each damaged later one."""
    lines = []
    for step in reversed(steps(stage)):
        folder = pathlib.Path(stage, disk.CHECKPOINTS, str(step))
        with contextlib.suppress(FileNotFoundError):  # removed by its writer meanwhile
            wrong = damage(folder)
            if not wrong:
                return step, lines
            lines.append(f"{folder} is damaged: {wrong}")
    return None, lines


def _written_as(folder) -> str | None:
    """The step that a folder was written as; None if its note has no stage record."""
    found = disk.read_json(folder / _NOTE) if (folder / _NOTE).exists() else None
    for key in ("custom_metadata", "record", "step"):
        found = found.get(key) if isinstance(found, dict) else None
    return None if found is None else str(found)


def mark(path) -> list:
    """[size, hash of samples spread evenly over the file; they cover a small file entirely]."""
    size, content = path.stat().st_size, hashlib.sha256()
    last = max(size - _BLOCK, 0)
    with open(path, "rb") as file:
        for number in range(_BLOCKS):
            file.seek(number * last // (_BLOCKS - 1))
            content.update(file.read(_BLOCK))
    return [size, content.hexdigest()[:16]]
