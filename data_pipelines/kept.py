"""Arrays that are made once: kept below a folder, where processes map them, or else in memory."""

from collections.abc import Callable, Mapping
import os
import pathlib

import numpy as np

from seedasr_jax import workdir as disk

Arrays = Mapping[str, np.ndarray]


class Growing:
    """Arrays that grow chunk by chunk: files of a folder, or memory where there is none.

    A file is called NAME.TYPE, such as seconds.f8, and holds numbers and nothing else.
    """

    def __init__(self, folder=None):
        """Args: `folder`, which is emptied of files of an attempt that was stopped."""
        self._folder, self._chunks = folder, {}
        for path in folder.iterdir() if folder else ():
            path.unlink()

    def append(self, name: str, values: np.ndarray):
        """Adds values [N] to the end of an array."""
        if self._folder is None:
            self._chunks.setdefault(name, []).append(values)
            return
        path = self._folder / f"{name}.{values.dtype.str[1:]}"
        with disk.naming(path), open(path, "ab") as file:
            file.write(values.tobytes())

    def done(self) -> Arrays:
        """The arrays; files are forced to disk."""
        if self._folder is None:
            return {name: np.concatenate(chunks) for name, chunks in self._chunks.items()}
        for path in self._folder.iterdir():
            with disk.naming(path), open(path, "rb") as file:
                os.fsync(file.fileno())
        return _mapped(self._folder)


class Kept:
    """Groups of arrays by name, each made when it is first asked for."""

    def __init__(self, folder: pathlib.Path | None = None):
        """Args: `folder`, which other processes share; None: nothing outlives this object."""
        self._folder, self._made = folder, {}

    @property
    def lasts(self) -> bool:
        """Whether what is made outlives this object."""
        return self._folder is not None

    def get(self, name: str, make: Callable[[Growing], None]) -> Arrays:
        """The arrays of a group; `make` fills them if they were not made before.

        One process makes them and others wait.
        """
        if name not in self._made:
            self._made[name] = self.lasting(name, make)
        return self._made[name]

    def lasting(self, name: str, make: Callable[[Growing], None]) -> Arrays:
        """As `get`, but made anew each time where nothing lasts."""
        if self._folder is None:
            growing = Growing()
            make(growing)
            return growing.done()

        def fill(partial):
            growing = Growing(partial)
            make(growing)
            growing.done()

        disk.make_once(self._folder / name, fill)
        return _mapped(self._folder / name)


def _mapped(folder) -> Arrays:
    """Read-only arrays of all files of a folder; pages are read as they are looked at."""
    found = {}
    for path in folder.iterdir():
        dtype = np.dtype(f"<{path.suffix[1:]}")
        if path.stat().st_size == 0:  # which cannot be mapped
            found[path.stem] = np.zeros(0, dtype)
        else:
            found[path.stem] = np.memmap(path, dtype, mode="r").view(np.ndarray)
    return found
