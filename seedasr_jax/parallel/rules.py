"""THE table: logical axis of a parameter -> mesh axes.

A missing rule, two axes on one mesh axis and a size that is not divisible raise.
"""

import math

from jax.sharding import PartitionSpec

from seedasr_jax.errors import ConfigError, unknown

# Parameters are sharded over both, except an expert's, which `experts` shards over `expert`.
FSDP = ("fsdp", "expert")

RULES = {
    # Encoder.
    "width": FSDP,
    "encoder_heads": "tensor",
    "encoder_mlp": "tensor",
    "patch": None,
    "channels": FSDP,
    "kernel": None,
    "distance": None,
    "head": None,
    # Speech tokenizers.
    "codes": "tensor",
    "code": None,
    # Converter and decoder.
    "splice": "tensor",
    "embed": FSDP,
    "heads": "tensor",
    "kv_heads": "tensor",
    "mlp": "tensor",
    "vocab": "tensor",
    "rank": None,
    # Mixture of experts.
    "experts": "expert",
    "expert_embed": "fsdp",
    "routes": None,
    # Everywhere.
    "layers": None,
    "norm": None,
}

BATCH = ("data", "fsdp", "expert")  # mesh axes over which examples are sharded


def mesh_axes(entry) -> tuple[str, ...]:
    """An entry of the table or of a PartitionSpec as a tuple of mesh axes, possibly empty."""
    return () if entry is None else (entry,) if isinstance(entry, str) else entry


def spec(axes, shape, mesh, name, *, gathered=False) -> PartitionSpec:
    """The PartitionSpec of a parameter `name` with a logical axis per axis of `shape`.

    `gathered`: replicates over FSDP; shards over tensor and, for experts' parameters, expert.

    Raises:
        ConfigError: see the top of this file; names parameter, axis and cure.
    """
    if axes is None or len(axes) != len(shape):
        raise ConfigError(f"{name} {tuple(shape)}: expected an axis name each, found {axes}")
    entries, taken = [], set()
    for axis, size in zip(axes, shape):
        if axis not in RULES:
            raise unknown(f"{name}: axis", axis, RULES)
        entry = RULES[axis]
        if gathered and "fsdp" in mesh_axes(entry):
            entry = None
        own = mesh_axes(entry)
        if twice := [one for one in own if one in taken]:
            raise ConfigError(f"{name}: axes {axes} put two on mesh axis {twice[0]!r}")
        shards = math.prod(mesh.shape[one] for one in own)
        if size % shards:
            below, above = size // shards * shards, -(-size // shards) * shards
            near = f"{below} and {above}" if below else above
            by = " x ".join(f"mesh.{one}={mesh.shape[one]}" for one in own)
            raise ConfigError(
                f"{name}: axis {axis!r} of {size} is not divisible by {by}; the nearest: {near}"
            )
        entries.append(entry)
        taken.update(own)
    return PartitionSpec(*entries)
