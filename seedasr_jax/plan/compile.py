"""The real step of every stage and bucket, compiled for a pod that is not here.

`build.build` makes for the planned devices what it makes for real ones; PyPI's libtpu compiles it.
"""

import collections.abc
import dataclasses
import importlib.util
import os
import time

from flax import nnx
import jax
import numpy as np

from seedasr_jax import batch as batches
from seedasr_jax import config, flops
from seedasr_jax.audio import files
from seedasr_jax.errors import ConfigError, UserError
from seedasr_jax.models.acllm import Tokens
from seedasr_jax.parallel import mesh as meshes
from seedasr_jax.parallel import rules, sharding
from seedasr_jax.plan import hlo, roofline
from seedasr_jax.plan.topologies import GIB, Topology
from seedasr_jax.quiet import quiet
from seedasr_jax.train import build, objectives

HEADROOM = 0.1  # of HBM that must stay free
PROMPT = 16  # tokens of an instruction
TOKENS = Tokens(0, 1, 2)  # which ids they are changes nothing


@dataclasses.dataclass(frozen=True)
class Row:
    """One program of one stage, as `--json` has it."""

    stage: str
    program: str
    bucket: tuple[float, int, int]  # seconds, tokens, utterances of the global batch
    mesh: dict[str, int]
    devices: int
    chips: int
    hosts: int
    hbm_bytes: dict[str, int]  # of a device, by part; headroom below 0: what is missing
    fits: bool
    flops: float  # useful, of the whole step
    flops_per_frame: float  # of 10 ms
    collectives: list[dict]
    bytes_ici: float  # that a device sends in a step
    bytes_dcn: float
    step_seconds_bound: float | None  # None where it does not compile: too large
    mfu_bound: float
    bound_by: str
    seconds: dict[str, float]  # the bound by each resource alone
    audio_hours_per_second: float  # at the bound
    host_bytes_per_second: float  # of 16-bit audio, that each host must load, at the bound
    compile_seconds: float
    note: str = ""


def devices(topology: Topology):
    """What JAX would see on it.

    Raises:
        UserError: libtpu is not installed.
        ConfigError: it does not know the topology.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise UserError(
            "plan: libtpu, the TPU compiler, is not installed: pip install"
            f" 'jax[tpu]=={jax.__version__}' brings the one that your jax pins"
        )
    # libtpu asks the machine what it is, and holds a lock, unless told not to.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "true")
    from jax.experimental import topologies

    shape = {} if topology.slices == 1 else {"num_slices": topology.slices}
    try:
        with quiet():
            found = topologies.get_topology_desc(
                platform="tpu", topology_name=topology.name, **shape
            ).devices
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"plan: the compiler has no {topology.name}: {str(error).splitlines()[0]}"
        ) from error
    if len(found) != topology.device_count:
        raise UserError(
            f"plan: {topology.name}: expected {topology.device_count} devices, found {len(found)}"
        )
    return found


def fit(stage: config.Stage, topology: Topology, pinned=()) -> config.Stage:
    """The stage with a mesh of the topology's size: data and fsdp are chosen.

    fsdp takes as many devices of a slice as divide every parameter that it shares; data the rest.

    Args:
        stage: its `tensor` and `expert` stay.
        topology: the pod.
        pinned: axes that stay as they are.
    """
    given = stage.mesh
    within = topology.device_count // topology.slices // (given.tensor * given.expert)
    if "data" in pinned and "fsdp" not in pinned:
        fsdp = -1
    elif "fsdp" in pinned:
        fsdp = given.fsdp
    else:
        fsdp = int(np.gcd(within, _shared(stage)))
    data = given.data if "data" in pinned else -1
    return dataclasses.replace(stage, mesh=dataclasses.replace(given, data=data, fsdp=fsdp))


def _shared(stage) -> int:
    """What divides every axis of a parameter that is shared over fsdp."""
    one = dataclasses.replace(stage, mesh=config.Mesh(1, 1, 1, 1))
    built = build.build(one, TOKENS, stage.vocab.size, devices=jax.devices()[:1])
    expert = stage.mesh.expert
    sizes = [
        size // (expert if "expert" in places else 1)
        for tree in (built.abstract.params, built.abstract.frozen)
        for _, param in nnx.to_flat_state(tree)
        for axis, size in zip(param.get_metadata("axes"), param.shape)
        if "fsdp" in (places := rules.on(rules.RULES[axis]))
    ]
    return int(np.gcd.reduce(sizes))


def buckets(stage: config.Stage, wanted: str = ""):
    """The stage's buckets: the largest, all of them, or that of so many seconds.

    Raises:
        ConfigError: it has none of that length.
    """
    found = stage.data.buckets
    if wanted == "all":
        return found
    if not wanted:
        return found[-1:]
    chosen = tuple(bucket for bucket in found if f"{bucket[0]:g}" == wanted)
    if not chosen:
        lengths = ", ".join(f"{seconds:g}" for seconds, _, _ in found)
        raise ConfigError(f"--bucket={wanted}: expected all or one of {lengths}")
    return chosen


def plan(
    graph: config.Graph,
    topology: Topology,
    *,
    only: str = "",
    bucket: str = "",
    pinned: collections.abc.Collection[str] = (),
) -> collections.abc.Iterator[Row]:
    """Yields rows as they are compiled.

    Args:
        graph: the recipe.
        topology: the pod.
        only: a stage; default all.
        bucket: see `buckets`.
        pinned: axes of the mesh that the topology does not choose.

    Raises:
        ConfigError: a stage or bucket that is not there, or a mesh that does not fit.
    """
    if only and only not in graph.stages:
        raise ConfigError(f"--stage={only}: the recipe has {', '.join(graph.stages)}")
    there = devices(topology)
    for name in [only] if only else graph.stages:
        stage = fit(known_layer(graph.stages[name]), topology, pinned)
        built = build.build(stage, TOKENS, stage.vocab.size, devices=there)
        for one in buckets(stage, bucket):
            yield train(name, built, one, topology)


def known_layer(stage: config.Stage) -> config.Stage:
    """The stage with some layer of its teacher, where a probe is yet to choose: 3/4 of its depth.

    The paper's probe chose 25 of 32; which one it is changes no size.
    """
    if "probe" not in objectives.make(stage, TOKENS, 0).consults:
        return stage
    layer = -(-3 * stage.model.encoder.layers // 4)
    quantizer = dataclasses.replace(stage.model.quantizer, layer=layer)
    model = dataclasses.replace(stage.model, quantizer=quantizer)
    return dataclasses.replace(stage, model=model)


def sizes(stage: config.Stage, objective, bucket) -> flops.Sizes:
    """What a batch of a bucket holds, full."""
    seconds, tokens, rows = bucket
    prompt = PROMPT if objective.prompted else 0
    told = stage.data.contexts.tokens if objective.prompted else 0
    hypotheses = stage.objective.get("hypotheses", 0)
    return flops.Sizes(rows, round(seconds * 100), prompt, told, tokens, hypotheses)


def train(name: str, built: build.Built, bucket, topology: Topology) -> Row:
    """The training step of one bucket."""
    stage, mesh = built.stage, built.mesh
    held = sizes(stage, built.objective, bucket)
    samples = round(bucket[0] * files.RATE)
    batch = batches.abstract(
        held.utterances, samples, held.prompt, held.context, held.tokens, held.hypotheses
    )
    place = sharding.of_batch(mesh)
    arguments = (
        sharding.placed(built.abstract, built.sharding),
        jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), batch),
    )
    parts = {
        "params": bytes_of(arguments[0].params) + bytes_of(arguments[0].frozen),
        "opt": bytes_of(arguments[0].opt_state),
        "kv": 0,
    }
    useful = flops.train(stage, stage.vocab.size, built.objective.parts, held)
    began = time.monotonic()
    compiled, note = None, ""
    try:
        with quiet():
            compiled = built.train_step().lower(*arguments).compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        note = next(line for line in str(error).splitlines() if line.strip())
    spent = time.monotonic() - began
    options = dict(stage=name, program="train", bucket=tuple(bucket), compile_seconds=spent)
    return row(compiled, parts, sum(useful.values()), held, mesh, topology, note=note, **options)


def row(compiled, parts, useful, held: flops.Sizes, mesh, topology: Topology, **more) -> Row:
    """A row of a compiled program; None: the compiler found that it does not fit."""
    chip, axes = topology.chip, dict(zip(meshes.AXES, mesh.devices.shape))
    capacity = chip.hbm_bytes // chip.devices
    common = dict(
        mesh=axes,
        devices=topology.device_count,
        chips=topology.chips,
        hosts=topology.hosts,
        flops=useful,
        flops_per_frame=useful / max(1, held.utterances * held.frames),
    )
    if compiled is None:
        none = dict.fromkeys(("bytes_ici", "bytes_dcn", "mfu_bound", "audio_hours_per_second"), 0.0)
        none |= dict(step_seconds_bound=None, host_bytes_per_second=0.0, seconds={})
        hbm = parts | {"act": 0, "other": 0, "headroom": capacity - sum(parts.values())}
        return Row(
            hbm_bytes=hbm, fits=False, collectives=[], bound_by="hbm", **none, **common, **more
        )
    memory, program = compiled.memory_analysis(), hlo.Program(compiled.as_text())
    hbm = parts | {"act": memory.temp_size_in_bytes}
    beside = memory.output_size_in_bytes - memory.alias_size_in_bytes
    held_by = memory.argument_size_in_bytes + beside + memory.generated_code_size_in_bytes
    hbm["other"] = held_by - sum(parts.values())
    hbm["headroom"] = capacity - sum(hbm.values())
    bound = roofline.bound(program, axes, topology)
    step = max(bound.seconds.values())
    hours = held.utterances * held.frames / 100 / 3600
    return Row(
        hbm_bytes=hbm,
        fits=hbm["headroom"] >= HEADROOM * capacity,
        collectives=bound.collectives,
        bytes_ici=bound.bytes_ici,
        bytes_dcn=bound.bytes_dcn,
        step_seconds_bound=step,
        mfu_bound=useful / (step * chip.flops * topology.chips),
        bound_by=max(bound.seconds, key=bound.seconds.get),
        seconds=bound.seconds,
        audio_hours_per_second=hours / step,
        host_bytes_per_second=hours * 3600 * files.RATE * 2 / step / topology.hosts,
        **common,
        **more,
    )


def bytes_of(tree) -> int:
    """Of a device, of a tree of shapes with shardings."""
    return sum(
        int(np.prod(leaf.sharding.shard_shape(leaf.shape))) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(tree)
    )


def describe(found: Row) -> str:
    """A row for people, a line."""
    hbm = found.hbm_bytes
    used = sum(size for part, size in hbm.items() if part != "headroom")
    shape = " x ".join(f"{axis} {size}" for axis, size in found.mesh.items() if size > 1)
    seconds, tokens, rows = found.bucket
    if found.step_seconds_bound is None:
        speed = found.note
    else:
        speed = (
            f"step {found.step_seconds_bound:.3f} s or more, MFU at most {found.mfu_bound:.2f}"
            f" ({found.bound_by})"
        )
    return (
        f"{found.stage} {found.program} {rows} x {seconds:g} s, {tokens} tokens ({shape}):"
        f" {used / GIB:.2f} GiB per device"
        f" ({', '.join(f'{part} {hbm[part] / GIB:.2f}' for part in hbm if hbm[part])}),"
        f" {'fits' if found.fits else 'does not fit'}; {speed};"
        f" compiled in {found.compile_seconds:.0f} s"
    )


def cure(found: Row) -> str:
    """What to change where a row does not fit, by what takes most of the memory."""
    hbm = found.hbm_bytes
    if hbm["params"] + hbm["opt"] > hbm["act"]:
        return "parameters and optimiser take most of it: more chips, or a larger mesh.tensor"
    return (
        "activations take most of it: fewer utterances in the bucket or run.accum=2, and"
        " run.remat=block"
    )
