"""Mesh: devices arranged along the axes data, fsdp, tensor, expert."""

import math

import jax
from jax.experimental import mesh_utils
from jax.sharding import AxisType

from seedasr_jax import config
from seedasr_jax.errors import ConfigError

AXES = ("data", "fsdp", "tensor", "expert")


def sizes(mesh: config.Mesh, devices: int) -> tuple[int, ...]:
    """Axis sizes in the order of AXES, with the -1 resolved; a ConfigError unless they fit."""
    given = [getattr(mesh, axis) for axis in AXES]
    known = math.prod(size for size in given if size != -1)
    if -1 in given and devices % known == 0:
        given[given.index(-1)] = devices // known
    elif known != devices:
        multiple = " or a multiple" if -1 in given else ""
        raise ConfigError(
            f"mesh {dict(zip(AXES, given))} takes {known} devices{multiple}, found {devices}; set"
            " mesh.data=1 and mesh.fsdp=-1 to use all devices"
        )
    return tuple(given)


def make(mesh: config.Mesh, devices=None) -> jax.sharding.Mesh:
    """The mesh of a stage over `devices` (default: all of the job); only `data` spans slices.

    Raises:
        ConfigError: the sizes do not fit the devices, or `data` the number of slices.
    """
    devices = jax.devices() if devices is None else devices
    shape = sizes(mesh, len(devices))
    slices = len({getattr(device, "slice_index", 0) for device in devices})
    data, *others = shape
    if data % slices:
        raise ConfigError(
            f"mesh.data={data}: expected a multiple of the {slices} slices, which data alone spans;"
            f" the nearest is {-(-data // slices) * slices}"
        )
    split = dict(allow_split_physical_axes=True)  # 32 devices of 8 x 8 x 8 are 8 x 4
    if slices == 1:
        grid = mesh_utils.create_device_mesh(shape, devices, **split)
    else:
        within, across = (data // slices, *others), (slices, *(1 for _ in others))
        grid = mesh_utils.create_hybrid_device_mesh(within, across, devices, **split)
    return jax.sharding.Mesh(grid, AXES, axis_types=(AxisType.Auto,) * len(AXES))
