"""Writes parameters as model-00001-of-0000N.safetensors, with tensors named by state path.

Each shard is read, written and freed before the next, so host memory holds one shard at a time.
"""

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
    for number, (part, group) in enumerate(plan, 1):
        arrays = checkpoint.read(part, group)
        file = f"model-{number:05d}-of-{len(plan):05d}.safetensors"
        _write(epath.Path(folder) / file, arrays)
        for name in group:
            hashers[part].add(name, arrays[name])
    found = {part: hasher.hexdigest() for part, hasher in hashers.items()}
    for part, content in found.items():
        checkpoint.verify(part, content)
    return found


def _write(path, arrays):
    header, end = {"__metadata__": {"format": "seedasr_jax"}}, 0
    for name, x in arrays.items():
        begin, end = end, end + x.nbytes
        kind, shape = _NAMES[x.dtype], list(x.shape)
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # aligns the tensors that follow
    with filesystem.naming(path), path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for x in arrays.values():
            file.write(np.ascontiguousarray(x).reshape(-1).view(np.uint8).data)
