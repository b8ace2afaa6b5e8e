"""Arrays that are computed once: stored in a folder and mapped by all processes, or in memory."""

from collections.abc import Callable, Mapping
import os
import pathlib

import numpy as np

from seedasr_jax import filesystem

Arrays = Mapping[str, np.ndarray]


class ArrayWriter:
    """Writes arrays chunk by chunk: to files of a folder or, without a folder, to memory.

    A file is called NAME.TYPE, such as seconds.f8, and contains the raw numbers.
    """

    def __init__(self, folder=None):
        """Removes the files of an interrupted attempt from `folder`."""
        self._folder, self._chunks = folder, {}
        for path in folder.iterdir() if folder else ():
            path.unlink()

    def append(self, name: str, values: np.ndarray):
        """Appends values [N] to an array."""
        if self._folder is None:
            self._chunks.setdefault(name, []).append(values)
            return
        path = self._folder / f"{name}.{values.dtype.str[1:]}"
        with filesystem.naming(path), open(path, "ab") as file:
            file.write(values.tobytes())

    def finish(self) -> Arrays:
        """The arrays; files are synchronised to disk."""
        if self._folder is None:
            return {name: np.concatenate(chunks) for name, chunks in self._chunks.items()}
        for path in self._folder.iterdir():
            with filesystem.naming(path), open(path, "rb") as file:
                os.fsync(file.fileno())
        return _mapped(self._folder)


class ArrayStore:
    """Groups of arrays by name, each computed on first access."""

    def __init__(self, folder: pathlib.Path | None = None):
        """`folder`: shared with other processes; None: in memory only."""
        self._folder, self._cached = folder, {}

    @property
    def is_persistent(self) -> bool:
        """Whether arrays outlive this object."""
        return self._folder is not None

    def get(self, name: str, write: Callable[[ArrayWriter], None]) -> Arrays:
        """The arrays of a group; if there are none, `write` computes them in one process."""
        if name not in self._cached:
            self._cached[name] = self.get_uncached(name, write)
        return self._cached[name]

    def get_uncached(self, name: str, write: Callable[[ArrayWriter], None]) -> Arrays:
        """`get` without a cache in memory: arrays that are not persistent are computed again."""
        if self._folder is None:
            writer = ArrayWriter()
            write(writer)
            return writer.finish()

        def fill(partial):
            writer = ArrayWriter(partial)
            write(writer)
            writer.finish()

        filesystem.make_once(self._folder / name, fill)
        return _mapped(self._folder / name)


def _mapped(folder) -> Arrays:
    """Memory-mapped, read-only arrays of all files in a folder."""
    found = {}
    for path in folder.iterdir():
        dtype = np.dtype(f"<{path.suffix[1:]}")
        if path.stat().st_size == 0:  # an empty file cannot be mapped
            found[path.stem] = np.zeros(0, dtype)
        else:
            found[path.stem] = np.memmap(path, dtype, mode="r").view(np.ndarray)
    return found
