"""Content hashes of parameters: the stated formula, on any mesh and over any processes."""

import hashlib
import json
import struct

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
import numpy as np
import pytest

from seedasr_jax import checkpoint, config
from seedasr_jax.checkpoint import hashes
from seedasr_jax.parallel import mesh as meshes


def stated_hash(tree, blocks):
    """The stated formula; {name: blocks in the order of the grid}."""
    digests = {
        name: sum(
            int.from_bytes(
                hashlib.sha256(struct.pack("<Q", number) + block.tobytes()).digest(), "little"
            )
            for number, block in enumerate(blocks[name])
        )
        for name in blocks
    }
    lines = [
        f"{name} {leaf.dtype} {leaf.shape} {digests[name] % 2**256:064x}\n"
        for name, leaf in sorted(tree.items())
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def test_parameters_hash_is_the_stated_formula_on_any_mesh():
    rng = np.random.default_rng(0)
    tree = {
        "z.stack": rng.normal(size=(2, 96, 256)).astype(np.float32),  # blocks of 1 x 48 x 64
        "a.half": np.asarray(jnp.arange(3 * 6000, dtype=jnp.bfloat16).reshape(3, 6000)),
        "b": np.int32(3),
    }
    stack = tree["z.stack"].reshape(2, 2, 48, 4, 64).transpose(0, 1, 3, 2, 4).reshape(-1, 48, 64)
    half = tree["a.half"].reshape(3, 4, 1500).swapaxes(0, 1)
    expected = stated_hash(tree, {"z.stack": stack, "a.half": half, "b": [tree["b"]]})
    assert checkpoint.parameters_hash(tree) == expected
    axes = {"z.stack": ("data", "fsdp", "tensor"), "a.half": (None, "fsdp"), "b": ()}
    for sizes in ((1, 1, 1, 1), (1, 8, 1, 1), (2, 2, 2, 1), (1, 4, 1, 1), (1, 3, 2, 1)):
        mesh = meshes.make(config.Mesh(*sizes), jax.devices()[: np.prod(sizes)])
        spread = {
            name: jax.device_put(leaf, NamedSharding(mesh, PartitionSpec(*axes[name])))
            for name, leaf in tree.items()
        }
        assert checkpoint.parameters_hash(spread) == expected, sizes  # 3: blocks are cut


def test_processes_exchange_sums_and_fragments_of_split_blocks(monkeypatch):
    leaf = np.arange(96 * 256, dtype=np.float32).reshape(96, 256)  # blocks of 48 x 64
    expected = checkpoint.parameters_hash({"a": leaf})
    exchanged = []
    for rows in (slice(0, 60), slice(60, 96)):  # of two processes

        def shards(_, rows=rows):
            yield hashes._bytes([rows.start, 0], leaf[rows])

        monkeypatch.setattr(hashes, "_shards", shards)
        monkeypatch.setattr(hashes.processes, "gathered", lambda own: exchanged.extend(own) or own)
        checkpoint.parameters_hash({"a": leaf})
    assert len(json.dumps(exchanged)) < 4 * leaf[48:].nbytes  # of a leaf only what is cut, as hex
    monkeypatch.setattr(hashes.processes, "gathered", lambda _: json.loads(json.dumps(exchanged)))
    assert checkpoint.parameters_hash({"a": leaf}) == expected


@pytest.mark.parametrize(
    "other",
    [
        {"a": np.zeros((2, 3), np.float32), "b": np.ones(6, np.float32)},
        {"c": np.zeros(6, np.float32), "b": np.ones(6, np.float32)},
        {"a": np.zeros(6, np.int32), "b": np.ones(6, np.float32)},
        {"a": -np.zeros(6, np.float32), "b": np.ones(6, np.float32)},
        {"a": np.ones(6, np.float32), "b": np.zeros(6, np.float32)},
    ],
)
def test_parameters_hash_depends_on_name_type_shape_and_bits(other):
    one = {"a": np.zeros(6, np.float32), "b": np.ones(6, np.float32)}
    assert checkpoint.parameters_hash(other) != checkpoint.parameters_hash(one)
