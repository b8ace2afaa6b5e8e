"""Reads safetensors files: a length, a JSON header with types, shapes and offsets, then the bytes.

The format is that of github.com/huggingface/safetensors; bfloat16 comes as ml_dtypes knows it, and
paths may be gs://.
"""

import dataclasses
import json
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
_HEADER_LIMIT = 100_000_000  # bytes, as the format says


@dataclasses.dataclass(frozen=True)
class Tensor:
    """Where a tensor stands: `begin` counts bytes from the start of its file."""

    path: epath.Path
    shape: tuple[int, ...]
    dtype: np.dtype
    begin: int

    @property
    def struct(self) -> jax.ShapeDtypeStruct:
        """Its shape and type."""
        return jax.ShapeDtypeStruct(self.shape, self.dtype)

    def read(self) -> np.ndarray:
        """Its content; not writable."""
        with self.path.open("rb") as file:
            file.seek(self.begin)
            content = file.read(self.struct.size * self.dtype.itemsize)
        return np.ndarray(self.shape, self.dtype, content)


def index(folder) -> dict[str, Tensor]:
    """{name: Tensor} of all *.safetensors of a folder.

    Raises:
        UserError: there is none, one is damaged, or two hold the same name.
    """
    paths = sorted(epath.Path(folder).glob("*.safetensors"))
    if not paths:
        raise UserError(f"{folder}: holds no *.safetensors; copy or export it again")
    found = {}
    for path in paths:
        for name, tensor in _header(path).items():
            if name in found:
                raise UserError(f"{path}: {name} stands in {found[name].path.name} too")
            found[name] = tensor
    return found


def _header(path) -> dict[str, Tensor]:
    size = path.stat().length
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else _HEADER_LIMIT + 1
        if length > min(_HEADER_LIMIT, size - 8):
            raise _damaged(path, f"a header within {size} bytes, found one of {length}")
        try:
            fields = json.loads(file.read(length))
        except ValueError as error:
            raise _damaged(path, f"a JSON header, found {error}") from error
    tensors = {}
    for name, field in fields.items():
        if name == "__metadata__":
            continue
        if field["dtype"] not in TYPES:
            known = ", ".join(TYPES)
            raise UserError(f"{path}: {name}: expected a type of {known}, found {field['dtype']}")
        shape, dtype = tuple(field["shape"]), np.dtype(TYPES[field["dtype"]])
        begin, end = field["data_offsets"]
        wanted = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        if begin < 0 or end - begin != wanted or 8 + length + end > size:
            raise _damaged(path, f"{wanted} bytes of {name} within {size}, found {[begin, end]}")
        tensors[name] = Tensor(path, shape, dtype, 8 + length + begin)
    return tensors


def _damaged(path, text) -> UserError:
    return UserError(f"{path}: expected {text}; it is damaged: copy or export it again")
