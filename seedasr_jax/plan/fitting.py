"""Fitting a stage to a topology: its mesh, its buckets, the content of a batch."""

import dataclasses
import re

from flax import nnx
import jax
import numpy as np

from seedasr_jax import config, flops
from seedasr_jax.audio import files
from seedasr_jax.decode import scoring
from seedasr_jax.errors import ConfigError
from seedasr_jax.models import names
from seedasr_jax.models.acllm import Tokens
from seedasr_jax.parallel import rules, sharding
from seedasr_jax.plan.topologies import Topology
from seedasr_jax.train import build, objectives

LETTERS = 4  # of a token, estimated: a plan has no tokenizer
TOKENS = Tokens(0, 1, 2)  # the ids do not affect the compiled programs
# Limit of fsdp x expert unless memory requires more. With 128, libtpu gathers by all-reduces of
# padded shards: 18.7 GB a step for 6 + 4 layers of the 8B decoder and the 2B encoder. With 32 it
# is 8.5 GB, mostly by all-gathers.
MAX_SHARDS = 32
STATE_FRACTION = 1 / 8  # of HBM, for parameters and optimiser


def fit(stage: config.Stage, topology: Topology, pinned=()) -> config.Stage:
    """The stage with a mesh of the topology's size: `data` and `fsdp` are chosen if not `pinned`.

    fsdp stays within a slice. fsdp x expert is at most MAX_SHARDS, or more if parameters and
    optimiser would otherwise need more than STATE_FRACTION of a device's memory; fsdp must divide
    every parameter axis that is sharded over it. data takes the remaining devices.
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
    room = STATE_FRACTION * topology.chip.hbm_bytes / topology.chip.devices
    needed = state / (stage.mesh.tensor * expert) / room
    divisors = [n for n in range(1, divides + 1) if divides % n == 0]
    least = next((n for n in divisors if n >= needed), divides)
    return max(n for n in divisors if n <= max(MAX_SHARDS // expert, least))


def with_probed_layer(stage: config.Stage) -> config.Stage:
    """The stage with a teacher layer where a probe would choose one: at 3/4 of the depth.

    The paper's probe chose layer 25 of 32; the choice affects no size.
    """
    if names.PROBE not in objectives.needs(stage).consults:
        return stage
    return stage.at_layer(-(-3 * stage.model.encoder.layers // 4))


def score_buckets(how: scoring.Scoring, mesh, wanted: str = ""):
    """The buckets of the stage's evaluation that `wanted` selects, as for `buckets`; may be empty.

    The number of utterances is rounded up to what the mesh can shard.
    """
    padded = ((s, tokens, sharding.padded_rows(n, mesh)) for s, tokens, n in how.buckets)
    return _selected(tuple(padded), wanted)


def buckets(stage: config.Stage, wanted: str = ""):
    """The buckets of a stage: "" selects the largest, "all" all, a number the one of that length.

    Raises:
        ConfigError: there is no bucket of that length.
    """
    chosen = _selected(stage.data.buckets, wanted)
    if not chosen:
        lengths = ", ".join(f"{seconds:g}" for seconds, _, _ in stage.data.buckets)
        raise ConfigError(f"--bucket={wanted}: expected all or one of {lengths}")
    return chosen


def _selected(found, wanted):
    if not wanted:
        return found[-1:]
    return tuple(bucket for bucket in found if wanted in ("all", f"{bucket[0]:g}"))


def sizes(stage: config.Stage, bucket, context: int | None = None) -> flops.Sizes:
    """The content of a batch that fills a bucket; `context`: its tokens, None: as in training."""
    (seconds, tokens, rows), needs = bucket, objectives.needs(stage)
    prompt, suffix = around(stage.model.prompt) if needs.prompted else (0, 0)
    context = stage.data.contexts.tokens if context is None else context
    context = context if needs.prompted else 0
    lengths = (round(seconds * files.RATE), prompt, context, tokens)
    return flops.Sizes(rows, *lengths, needs.hypotheses, suffix)


def around(prompt: config.Prompt) -> tuple[int, int]:
    """Estimated tokens before and behind the speech in the longer template, without a context."""

    def tokens(text):
        text, special = re.subn(r"<[^<>]+>", "", re.sub(r"\{\w*\}", "", text))
        return special + -(-len(text) // LETTERS)

    both = ("".join(texts).partition("{speech}")[::2] for texts in (prompt.plain, prompt.context))
    before, behind = (max(map(tokens, side)) for side in zip(*both))
    return before, behind


def rescaled(stage: config.Stage, chips: int, given: int) -> config.Stage:
    """The stage with buckets for `chips` chips: the same work per chip as on `given` chips.

    Raises:
        ConfigError: the utterances of a bucket would not be an integer.
    """

    def one(bucket):
        seconds, tokens, utterances = bucket
        if utterances * chips % given:
            raise ConfigError(
                f"a bucket of {utterances} utterances on {given} chips scales to"
                f" {utterances * chips / given:g} on {chips} chips, expected an integer: choose a"
                " --topology with fewer chips, or other utterances per bucket"
            )
        return seconds, tokens, utterances * chips // given

    data = dataclasses.replace(stage.data, buckets=tuple(map(one, stage.data.buckets)))
    return dataclasses.replace(stage, data=data)
