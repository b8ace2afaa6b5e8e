"""Mesh: devices by the axes data, fsdp, tensor, expert."""

import jax
from jax.sharding import AxisType

from seedasr_jax import config
from seedasr_jax.errors import ConfigError

AXES = ("data", "fsdp", "tensor", "expert")


def sizes(mesh: config.Mesh, devices: int) -> tuple[int, ...]:
    """Sizes in the order of AXES, the one -1 filled.

    Raises:
        ConfigError: they do not multiply to the devices.
    """
    given = [getattr(mesh, axis) for axis in AXES]
    known = 1
    for size in given:
        known *= size if size != -1 else 1
    if given.count(-1) > 1 or any(size == 0 or size < -1 for size in given):
        raise ConfigError(f"mesh {dict(zip(AXES, given))}: expected sizes above 0, one may be -1")
    if -1 in given and devices % known == 0:
        given[given.index(-1)] = devices // known
        known = devices
    if known != devices:
        raise ConfigError(
            f"mesh {dict(zip(AXES, given))} takes {known} devices (or a multiple), found {devices};"
            " set config.mesh.fsdp=-1 to take what is left"
        )
    return tuple(given)


def make(mesh: config.Mesh, devices=None) -> jax.sharding.Mesh:
    """The mesh of a stage over `devices` (default: all of this job)."""
    devices = jax.devices() if devices is None else devices
    shape = sizes(mesh, len(devices))
    kinds = (AxisType.Auto,) * len(AXES)
    return jax.make_mesh(shape, AXES, axis_types=kinds, devices=devices)
