"""Opens a checkpoint's model on devices: chooses a mesh and reads each shard onto its device."""

from collections.abc import Mapping, Sequence
import functools
import math

from flax import nnx
import jax

from seedasr_jax import checkpoint as checkpoints
from seedasr_jax import config
from seedasr_jax import workdir as disk
from seedasr_jax.decode import recogniser as recognisers
from seedasr_jax.decode.recogniser import Recogniser
from seedasr_jax.errors import ConfigError, UserError, nearest
from seedasr_jax.models import layers
from seedasr_jax.models import parts as registry
from seedasr_jax.parallel import mesh as meshes
from seedasr_jax.parallel import sharding
from seedasr_jax.text import vocab
from seedasr_jax.train import objectives

Axes = Mapping[str, int]  # mesh axis -> size, one of which may be -1; others are 1


def open_recogniser(
    checkpoint: checkpoints.Checkpoint, mesh: Axes | jax.sharding.Mesh | None = None
) -> Recogniser:
    """Opens a Recogniser with all parts of a checkpoint; see `open_model`.

    Raises:
        UserError: a part of the stage is missing.
    """
    check_whole(checkpoint)
    found = checkpoint.parts()
    parts = [part for part in found if registry.holder(part) == part]
    graphdef, state, tokenizer, mesh = open_model(checkpoint, mesh, parts, found)
    return Recogniser(graphdef, state, tokenizer, checkpoint.stage.model, parts, mesh)


def check_whole(checkpoint: checkpoints.Checkpoint):
    """Checks that a stage has all parts of its kind: without one it would decode differently.

    Raises:
        UserError: a part is missing; names it, and stage.json, which should state its location.
    """
    if checkpoint.bundle is not None:
        return
    known = {*checkpoint.parts(), *checkpoint.stage.trains}
    if lost := [part for part in objectives.needs(checkpoint.stage).parts if part not in known]:
        raise UserError(
            f"{checkpoint.folder / disk.STAGE}: expected under `frozen` where {', '.join(lost)} of"
            f" this stage of kind {checkpoint.stage.kind!r} is, found"
            f" {', '.join(checkpoint.record.frozen) or 'nothing'}{disk.NEW_STAGE}"
        )


def open_model(checkpoint, mesh, modules: Sequence[str], parts: Sequence[str] = ()):
    """Reads parts of a checkpoint onto a mesh, matrices in the type in which they are used.

    No device or host ever holds more than its share, or its share in another type.

    Args:
        checkpoint: an open checkpoint.
        mesh: sizes by axis over devices of this process, or a jax.sharding.Mesh with the axes of
            parallel/mesh.py. None: all devices (CPU: one), sharded as the parameters allow.
        modules: parts that the model is built of.
        parts: parts to read; default the modules.

    Returns:
        (graphdef, state, tokenizer, mesh).

    Raises:
        ConfigError: a mesh that does not fit the devices or the parameters.
    """
    known, model = checkpoint.record.vocabulary, checkpoint.stage.model
    tokenizer = vocab.open_trained(checkpoint.vocab, known, checkpoint.label)
    graphdef, params = recognisers.abstract(model, tokenizer, modules)
    if mesh is None:
        here = jax.local_devices()
        mesh = _fitting(params, here[:1] if here[0].platform == "cpu" else here)
    elif not isinstance(mesh, jax.sharding.Mesh):
        mesh = _of_sizes(mesh)
    elif set(mesh.axis_names) != set(meshes.AXES):
        raise ConfigError(
            f"mesh: expected the axes {', '.join(meshes.AXES)}, found"
            f" {', '.join(map(str, mesh.axis_names))}; dict(tensor=4) makes one"
        )
    state, places = as_placed(params, model.dtype, mesh)
    for part in parts or modules:
        state = checkpoints.fill(state, checkpoints.hand_over(checkpoint, part, state, places))
    return graphdef, state, tokenizer, mesh


def as_placed(params: nnx.State, dtype, mesh):
    """(shapes of parameters in the types in which they are used, their shardings)."""
    as_used = functools.partial(layers.as_used, dtype=dtype)
    return jax.eval_shape(as_used, params), sharding.of_params(params, mesh)


def _of_sizes(given: Axes) -> jax.sharding.Mesh:
    if not isinstance(given, Mapping):
        raise ConfigError(
            f"mesh: expected sizes by axis, dict(tensor=4), or a jax.sharding.Mesh, found {given!r}"
        )
    for axis in given:
        if axis not in meshes.AXES:
            known = ", ".join(meshes.AXES)
            raise ConfigError(f"mesh.{axis}: the axes are {known}.{nearest(axis, meshes.AXES)}")
    sizes = config.build({axis: given.get(axis, 1) for axis in meshes.AXES}, config.Mesh, "mesh")
    config.check(sizes, "mesh")
    wanted, devices = math.prod(given.values()), jax.local_devices()
    if wanted > len(devices):
        raise ConfigError(
            f"mesh {dict(given)} takes {wanted} devices, found {len(devices)} of kind"
            f" {devices[0].platform}: choose sizes whose product is at most that"
        )
    return meshes.make(sizes, devices if wanted < 0 else devices[:wanted])


def _fitting(params: nnx.State, devices) -> jax.sharding.Mesh:
    """A mesh of the devices with the largest tensor axis, which gathers no weights, and then the
    largest fsdp axis that the parameters are divisible by; the remaining factor is data.
    """
    for tensor in _divisors(len(devices)):
        for fsdp in _divisors(len(devices) // tensor):
            mesh = meshes.make(config.Mesh(-1, fsdp, tensor, 1), devices)
            try:
                sharding.of_params(params, mesh)
            except ConfigError:
                continue
            return mesh
    raise AssertionError("a mesh of data alone divides everything")


def _divisors(number):
    return [n for n in range(number, 0, -1) if number % n == 0]
