"""Writes parameters as model-00001-of-0000N.safetensors, with tensors named by state path.

Each shard is read, written and freed before the next, or each slice of a parameter along its first
axes: host memory holds one at a time.
"""

import contextlib
import json
import struct

from etils import epath
import numpy as np

from seedasr_jax import filesystem
from seedasr_jax.checkpoint import hashes, tensors, trees

SHARD_BYTES = 2 << 30  # limit of a file, unless a single tensor is larger

_NAMES = {np.dtype(dtype): name for name, dtype in tensors.TYPES.items()}


def write_shards(folder, checkpoint, *, parts=(), shard_bytes: int = SHARD_BYTES) -> dict[str, str]:
    """Writes parts of a checkpoint (empty: all, frozen ones included) into an existing folder.

    Returns:
        {part: content hash}, verified against the checkpoint's record.
    """
    plan = [
        (part, group)
        for part in parts or checkpoint.parts()
        for group in trees.groups(checkpoint.shapes(part), shard_bytes)
    ]
    hashers = {part: hashes.Hasher() for part, _ in plan}
    for path, (part, group) in zip(_paths(folder, len(plan)), plan):
        arrays = checkpoint.read(part, group)
        _write(path, arrays)
        for name in group:
            hashers[part].add(name, arrays[name])
    found = {part: hasher.hexdigest() for part, hasher in hashers.items()}
    for part, content in found.items():
        checkpoint.verify(part, content)
    return found


def write_slices(folder, shapes: dict, slices, *, shard_bytes: int = SHARD_BYTES) -> dict[str, str]:
    """Writes parameters {name: ShapeDtypeStruct} slice by slice into an existing folder.

    `slices(name)` yields (indices of the first axes, the rest) in memory order.

    Returns:
        {part: content hash}.
    """
    hashers = {part: hashes.Hasher() for part in trees.parts(shapes)}
    plan = trees.groups(shapes, shard_bytes)

    def written(file, name):
        for index, x in slices(name):
            x = np.ascontiguousarray(x)
            _put(file, x)
            yield index, x

    for path, group in zip(_paths(folder, len(plan)), plan):
        with _writing(path, group) as file:
            for name, like in group.items():
                hashers[trees.part_of(name)].add_slices(name, like, written(file, name))
    return {part: hasher.hexdigest() for part, hasher in hashers.items()}


def _write(path, arrays):
    with _writing(path, arrays) as file:
        for x in arrays.values():
            _put(file, x)


def _paths(folder, count) -> list[epath.Path]:
    names = (f"model-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1))
    return [epath.Path(folder) / name for name in names]


@contextlib.contextmanager
def _writing(path, shapes):
    """Writes the header for tensors {name: shape}; yields the file for their bytes, in order."""
    header, end = {"__metadata__": {"format": "seedasr_jax"}}, 0
    for name, x in shapes.items():
        begin, end = end, end + x.size * x.dtype.itemsize
        kind, shape = _NAMES[np.dtype(x.dtype)], list(x.shape)
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # aligns the tensors that follow
    with filesystem.naming(path), path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        yield file


def _put(file, x):
    file.write(np.ascontiguousarray(x).reshape(-1).view(np.uint8).data)
