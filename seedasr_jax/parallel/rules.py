"""THE table: logical axis of a parameter -> mesh axis. A gap, a collision or a misfit raises."""

from jax.sharding import PartitionSpec

from seedasr_jax.errors import ConfigError, nearest

RULES = {
    # Encoder.
    "width": "fsdp",
    "encoder_heads": "tensor",
    "encoder_mlp": "tensor",
    "patch": None,
    "channels": "fsdp",
    "kernel": None,
    "distance": None,
    "head": None,
    # Speech tokenizers.
    "codes": "tensor",
    "code": None,
    # Converter and decoder.
    "splice": "tensor",
    "embed": "fsdp",
    "heads": "tensor",
    "groups": "tensor",
    "mlp": "tensor",
    "vocab": "tensor",
    "rank": None,
    # Everywhere.
    "layers": None,
    "norm": None,
}

BATCH = ("data", "fsdp")  # mesh axes that share the examples


def spec(axes, shape, mesh, name) -> PartitionSpec:
    """Where a parameter's axes go.

    Args:
        axes: logical axes; shape: sizes; mesh: the mesh; name: of the parameter, for errors.

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
        if place is not None and place in places:
            raise ConfigError(f"{name}: axes {axes} put two on mesh axis {place!r}")
        parts = mesh.shape[place] if place else 1
        if size % parts:
            below, above = size // parts * parts, -(-size // parts) * parts
            raise ConfigError(
                f"{name}: axis {axis!r} of {size} does not divide by mesh.{place}={parts};"
                f" the nearest sizes that do are {below or above} and {above}"
            )
        places.append(place)
    return PartitionSpec(*places)
