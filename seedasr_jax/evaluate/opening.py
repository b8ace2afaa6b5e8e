"""Opens a checkpoint's model on devices: chooses a mesh and reads each shard onto its device."""

from collections.abc import Mapping, Sequence
import contextlib
import functools
import itertools
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
    """Opens a Recogniser with all parts of a checkpoint; see `check_complete` and `open_model`."""
    checkpoint.import_modules()
    check_complete(checkpoint)
    found = checkpoint.parts()
    parts = [part for part in found if registry.holder(part) == part]
    graphdef, state, tokenizer, mesh = open_model(checkpoint, mesh, parts, found)
    return Recogniser(graphdef, state, tokenizer, checkpoint.stage.model, parts, mesh)


def check_complete(checkpoint: checkpoints.Checkpoint):
    """Raises UserError if a stage lacks a part of its kind: it would decode differently."""
    if checkpoint.bundle is not None:
        return
    known = {*checkpoint.parts(), *checkpoint.stage.trains}
    if lost := [part for part in objectives.needs(checkpoint.stage).parts if part not in known]:
        found = ", ".join(checkpoint.record.frozen) or "nothing"
        raise UserError(
            f"{checkpoint.folder / disk.STAGE}: expected under `frozen` the location of"
            f" {', '.join(lost)}, which a stage of kind {checkpoint.stage.kind!r} has, found"
            f" {found}{disk.NEW_STAGE}"
        )


def open_model(checkpoint, mesh, modules: Sequence[str], parts: Sequence[str] = ()):
    """Reads parts of a checkpoint onto a mesh, matrices in the type in which they are used.

    Each device and host reads only its share, in that type.

    Args:
        checkpoint: where from.
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
    tokenizer = None  # an imported encoder has none
    if known:
        tokenizer = vocab.open_trained(checkpoint.vocab, known, checkpoint.label)
    graphdef, params = recognisers.abstract(model, tokenizer, modules)
    if mesh is None:
        here = jax.local_devices()
        mesh = _fitting(params, here[:1] if here[0].platform == "cpu" else here)
    elif not isinstance(mesh, jax.sharding.Mesh):
        mesh = _of_sizes(mesh)
    elif set(mesh.axis_names) != set(meshes.AXES):
        known, found = (", ".join(map(str, axes)) for axes in (meshes.AXES, mesh.axis_names))
        raise ConfigError(f"mesh: expected axes {known}, found {found}; dict(tensor=4) makes one")
    state, shardings = as_used(params, model.dtype, mesh)
    for part in parts or modules:
        state = checkpoints.fill(state, checkpoints.hand_over(checkpoint, part, state, shardings))
    return graphdef, state, tokenizer, mesh


def as_used(params: nnx.State, dtype, mesh):
    """(shapes of parameters in the types in which they are used, their shardings)."""
    shapes = jax.eval_shape(functools.partial(layers.as_used, dtype=dtype), params)
    return shapes, sharding.of_params(params, mesh)


def _of_sizes(given: Axes) -> jax.sharding.Mesh:
    if not isinstance(given, Mapping):
        expected = "sizes by axis, dict(tensor=4), or a jax.sharding.Mesh"
        raise ConfigError(f"mesh: expected {expected}, found {given!r}")
    for axis in given:
        if axis not in meshes.AXES:
            known = ", ".join(meshes.AXES)
            raise ConfigError(f"mesh.{axis}: the axes are {known}.{nearest(axis, meshes.AXES)}")
    sizes = config.build({axis: given.get(axis, 1) for axis in meshes.AXES}, config.Mesh, "mesh")
    config.check(sizes, "mesh")
    wanted, devices = math.prod(given.values()), jax.local_devices()
    if wanted > len(devices):
        found = f"{len(devices)} of kind {devices[0].platform}"
        cure = "choose sizes whose product is at most that"
        raise ConfigError(f"mesh {dict(given)} takes {wanted} devices, found {found}: {cure}")
    return meshes.make(sizes, devices if wanted < 0 else devices[:wanted])


def _fitting(params: nnx.State, devices) -> jax.sharding.Mesh:
    """A mesh with the largest tensor axis, then the largest fsdp axis, that fits the parameters.

    A tensor axis gathers no weights; the remaining factor is data.
    """
    divisors = [n for n in range(len(devices), 0, -1) if len(devices) % n == 0]
    for tensor, fsdp in itertools.product(divisors, repeat=2):
        if len(devices) % (tensor * fsdp) == 0:
            mesh = meshes.make(config.Mesh(-1, fsdp, tensor, 1), devices)
            with contextlib.suppress(ConfigError):
                sharding.of_params(params, mesh)
                return mesh
    raise AssertionError("a mesh of data alone divides everything")
