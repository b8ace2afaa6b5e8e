"""Reads safetensors files: a length, a JSON header with types, shapes and offsets, then the bytes.

Format: github.com/huggingface/safetensors; bfloat16 has the NumPy type of ml_dtypes.
"""

from collections.abc import Iterable
import dataclasses
import json
import math
import operator
import re
import struct

from etils import epath
import jax
import jax.numpy as jnp
import numpy as np

from seedasr_jax.errors import UserError

TYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": jnp.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}
_SHARD = re.compile(r".*-\d+-of-(\d+)\.safetensors")  # group 1: the number of shards
_HEADER_LIMIT = 100_000_000  # bytes, specified by the format


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A tensor on disk; `begin` is its offset in bytes from the start of the file."""

    path: epath.Path
    shape: tuple[int, ...]
    dtype: np.dtype
    begin: int

    @property
    def size(self) -> int:
        """Number of bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def struct(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(self.shape, self.dtype)

    def read(self, like: jax.ShapeDtypeStruct | None = None):
        """The content in the type and sharding of `like`; without a sharding, NumPy (read-only).

        The file is memory-mapped: each process reads only the shards of its devices.
        """
        like = like or self.struct
        file = np.memmap(str(self.path), np.uint8, mode="r")
        content = np.ndarray(self.shape, self.dtype, file, self.begin)
        if like.sharding is None:
            return content.astype(like.dtype, copy=False)

        def shard(index):
            return content[index].astype(like.dtype)

        return jax.make_array_from_callback(self.shape, like.sharding, shard)

    def load(self) -> np.ndarray:
        """The content, read into memory."""
        content = np.fromfile(str(self.path), np.uint8, self.size, offset=self.begin)
        return content.view(self.dtype).reshape(self.shape)


def index(folder, files: Iterable[str] = ()) -> dict[str, Tensor]:
    """{name: Tensor} of the safetensors `files` in a folder (none: all of them).

    Raises:
        UserError: there is no such file, a shard is missing or damaged, or a name occurs twice.
    """
    folder = epath.Path(folder)
    paths = [folder / file for file in files] or sorted(folder.glob("*.safetensors"))
    if not paths:
        raise UserError(f"{folder}: contains no *.safetensors; copy or export it again")
    files = [path.name for path in paths]
    for last in {found[1] for name in files if (found := _SHARD.fullmatch(name))}:
        for number in range(1, int(last) + 1):
            shard = f"-{number:0{len(last)}d}-of-{last}.safetensors"
            if not any(name.endswith(shard) for name in files):
                raise UserError(f"{folder}: *{shard} is missing; copy or export it again")
    found = {}
    for path in paths:
        for name, tensor in _header(path).items():
            if name in found:
                raise UserError(
                    f"{path}: {name} is also in {found[name].path.name}: expected each tensor once;"
                    " copy or export it again"
                )
            found[name] = tensor
    return found


def _header(path) -> dict[str, Tensor]:
    size = path.stat().length
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else _HEADER_LIMIT + 1
        if length > min(_HEADER_LIMIT, size - 8):
            raise _damaged(path, f"a header within {size} bytes, found a length of {length}")
        try:
            fields = json.loads(file.read(length))
        except ValueError as error:
            raise _damaged(path, f"a JSON header, found {error}") from error
    if not isinstance(fields, dict):
        raise _damaged(path, f"a JSON object, found a {type(fields).__name__}")
    fields.pop("__metadata__", None)
    found = {name: _tensor(path, name, fields[name], 8 + length, size) for name in fields}
    end = 8 + length
    for name, tensor in sorted(found.items(), key=lambda item: (item[1].begin, item[1].size)):
        if tensor.begin != end:  # as the format's own library requires
            raise _damaged(path, f"{name} at byte {end}, found {tensor.begin}")
        end += tensor.size
    if end != size:
        raise _damaged(path, f"{end} bytes, found {size}")
    return found


def _tensor(path, name, field, start, size) -> Tensor:
    try:
        kind, (begin, end) = field["dtype"], map(operator.index, field["data_offsets"])
        shape = tuple(map(operator.index, field["shape"]))
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, f"dtype, shape and data_offsets of {name}, found {field}") from error
    if kind not in TYPES:
        raise UserError(
            f"{path}: {name}: expected a type of {', '.join(TYPES)}, found {kind}: convert it"
        )
    tensor = Tensor(path, shape, np.dtype(TYPES[kind]), start + begin)
    if begin < 0 or min(shape, default=0) < 0 or end - begin != tensor.size or start + end > size:
        raise _damaged(path, f"{tensor.size} bytes of {name} within {size}, found {[begin, end]}")
    return tensor


def _damaged(path, text) -> UserError:
    return UserError(f"{path}: expected {text}; it is damaged: copy or export it again")
