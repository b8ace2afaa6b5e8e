"""THE table: logical axis of a parameter -> mesh axis. A gap, a collision or a misfit raises."""

import math

from jax.sharding import PartitionSpec

from seedasr_jax.errors import ConfigError, nearest

# Parameters are sharded over both; those of experts are sharded over `expert` by their own axis.
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

BATCH = ("data", "fsdp", "expert")  # mesh axes that share the examples


def on(place) -> tuple[str, ...]:
    """Mesh axes of a place: none, one or several."""
    return () if place is None else (place,) if isinstance(place, str) else place


def spec(axes, shape, mesh, name, *, gathered=False) -> PartitionSpec:
    """The mesh axes of a parameter's axes.

    Args:
        axes: logical axes; shape: sizes; mesh: the mesh; name: of the parameter, for errors.
        gathered: replicated over FSDP, sharded over tensor and, what an expert owns, over expert.

    Raises:
        ConfigError: an axis without a rule, two axes on one mesh axis, or a size that its mesh axis
            does not divide; names parameter, axis and cure.
    """
    if axes is None or len(axes) != len(shape):
        raise ConfigError(f"{name} {tuple(shape)}: expected an axis name each, found {axes}")
    places = []
    for axis, size in zip(axes, shape):
        if axis not in RULES:
            raise ConfigError(f"{name}: axis {axis!r} has no rule.{nearest(axis, RULES)}")
        place = RULES[axis]
        if gathered and "fsdp" in on(place):
            place = None
        for one in on(place):
            if any(one in on(other) for other in places):
                raise ConfigError(f"{name}: axes {axes} put two on mesh axis {one!r}")
        parts = math.prod(mesh.shape[one] for one in on(place))
        if size % parts:
            below, above = size // parts * parts, -(-size // parts) * parts
            near = f"{below} and {above}" if below else above
            by = " x ".join(f"mesh.{one}={mesh.shape[one]}" for one in on(place))
            raise ConfigError(
                f"{name}: axis {axis!r} of {size} is not divisible by {by}; the nearest: {near}"
            )
        places.append(place)
    return PartitionSpec(*places)
