"""What a stage compiles for on a topology: its mesh, its buckets, the contents of a batch."""

import dataclasses

from flax import nnx
import jax
import numpy as np

from seedasr_jax import config, flops
from seedasr_jax.checkpoint.limits import Limits
from seedasr_jax.decode import scoring
from seedasr_jax.errors import ConfigError
from seedasr_jax.models import names
from seedasr_jax.models.acllm import Tokens
from seedasr_jax.parallel import rules, sharding
from seedasr_jax.plan.topologies import Topology
from seedasr_jax.train import build, objectives
from seedasr_jax.train import graph as graphs

PROMPT = 16  # tokens of an instruction
TOKENS = Tokens(0, 1, 2)  # which ids they are changes nothing
# Of fsdp x expert, where memory does not ask for more. With 128 libtpu gathers weights by
# all-reduces of shards among zeros: 18.7 GB a step of 6 + 4 layers of the 8B decoder and the 2B
# encoder, with 32 8.5 GB, most by all-gathers.
MOST = 32
STATE = 1 / 8  # of HBM, for parameters and optimiser


def fit(stage: config.Stage, topology: Topology, pinned=()) -> config.Stage:
    """The stage with a mesh of the topology's size: data and fsdp are chosen.

    fsdp takes devices of a slice: with expert MOST, or more where parameters and optimiser would
    take more than STATE of a device, and only as many as divide every parameter that it shares;
    data the rest.

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
        fsdp = _fsdp(stage, within, topology)
    data = given.data if "data" in pinned else -1
    return dataclasses.replace(stage, mesh=dataclasses.replace(given, data=data, fsdp=fsdp))


def _fsdp(stage, within: int, topology: Topology) -> int:
    one = dataclasses.replace(stage, mesh=config.Mesh(1, 1, 1, 1))
    built = build.build(one, TOKENS, stage.vocab.size, devices=jax.devices()[:1])
    expert = stage.mesh.expert
    sizes = [
        size // (expert if "expert" in places else 1)
        for tree in (built.abstract.params, built.abstract.frozen)
        for _, param in nnx.to_flat_state(tree)
        for axis, size in zip(param.get_metadata("axes"), param.shape)
        if "fsdp" in (places := rules.mesh_axes(rules.RULES[axis]))
    ]
    divides = int(np.gcd.reduce([within, *sizes]))
    state = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(built.abstract))
    room = STATE * topology.chip.hbm_bytes / topology.chip.devices
    needed = state / (stage.mesh.tensor * expert) / room
    divisors = [n for n in range(1, divides + 1) if divides % n == 0]
    least = next((n for n in divisors if n >= needed), divides)
    return max(n for n in divisors if n <= max(MOST // expert, least))


def known_layer(stage: config.Stage) -> config.Stage:
    """The stage with a layer of its teacher where a probe is yet to choose one: 3/4 of its depth.

    The paper's probe chose 25 of 32; which one it is changes no size.
    """
    if names.PROBE not in objectives.needs(stage).consults:
        return stage
    return stage.at_layer(-(-3 * stage.model.encoder.layers // 4))


def scored(how: scoring.Scoring, mesh, wanted: str = ""):
    """As `buckets` of the stage's evaluation, utterances as many as the devices share; none where
    it has none of that length.
    """
    found = tuple((s, tokens, sharding.padded_rows(n, mesh)) for s, tokens, n in how.buckets)
    if not wanted:
        return found[-1:]
    return tuple(bucket for bucket in found if wanted in ("all", f"{bucket[0]:g}"))


def limits(graph: config.Graph, name: str) -> Limits:
    """What a stage can take at most, by the graph alone: nothing is read."""
    return graphs.limits(graph, name, known=lambda name: None, outside=lambda name, part: None)


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


def sizes(stage: config.Stage, bucket, context: int | None = None) -> flops.Sizes:
    """What a batch of a bucket holds, full; `context`: tokens of one, None: as in training."""
    (seconds, tokens, rows), needs = bucket, objectives.needs(stage)
    prompt = PROMPT if needs.prompted else 0
    context = stage.data.contexts.tokens if context is None else context
    context = context if needs.prompted else 0
    return flops.Sizes(rows, round(seconds * 100), prompt, context, tokens, needs.hypotheses)


def stretched(stage: config.Stage, chips: int, given: int) -> config.Stage:
    """The stage with as much work for each of `chips` as it has for each of `given`.

    Raises:
        ConfigError: a bucket whose utterances would be no whole number.
    """

    def one(bucket):
        seconds, tokens, utterances = bucket
        if utterances * chips % given:
            raise ConfigError(
                f"a bucket of {utterances} utterances on {given} chips is no whole number of them"
                f" on {chips}: choose a --topology of fewer chips, or other utterances per bucket"
            )
        return seconds, tokens, utterances * chips // given

    data = dataclasses.replace(stage.data, buckets=tuple(map(one, stage.data.buckets)))
    return dataclasses.replace(stage, data=data)
