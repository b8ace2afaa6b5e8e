"""A graph is checked whole before its first stage trains: a mistake costs seconds, not hours.

Shapes are traced and manifests indexed: nothing is compiled and no audio is decoded.
"""

from collections.abc import Collection
import dataclasses
import math
import os

import jax

from seedasr_jax import checkpoint as checkpoints
from seedasr_jax.audio import files
from seedasr_jax.data_pipelines import loader
from seedasr_jax.decode import recogniser as recognisers
from seedasr_jax.errors import ConfigError
from seedasr_jax.launch import parents, probe, stage
from seedasr_jax.parallel import rules, sharding
from seedasr_jax.text import prompts
from seedasr_jax.train import build, graph, handed

_GIB = 2**30


def stages(job: stage.Job, due: Collection[str]):
    """Checks the stages that are due: all that can go wrong before a step.

    Parts and optimiser, mesh and buckets, shapes against parents, decoding, development sets, and
    what the data leaves.

    Raises:
        UserError: names the stage.
    """
    tokens = recognisers.special_tokens(job.vocab, spelled=True)
    built = {}
    for name in due:
        with handed.of_stage(name):
            built[name] = build.build(job.graph.stages[name], tokens, job.vocab.size)
    handed.parts(job.graph, built)
    read = set()  # what several stages share is read once
    for name, own in built.items():
        with handed.of_stage(name):
            _outside(job, name, own, built)
            _room(job.vocab, own)
            _fits(own)
            stage.Evaluator(job, name, own, lambda: False, parents.limits(job, name))
            one = dataclasses.replace(own.stage.data, cache_gib=0.0)
            how = dict(data_folder=job.cache(own.stage), prompted=own.objective.prompted)
            how |= dict(process_count=sharding.share(own.mesh)[1])
            if repr((one, how)) not in read:
                loader.check(one, job.vocab, **how)
                read.add(repr((one, how)))


def _outside(job, name, own, built):
    """Parts from checkpoints that are there already, and the layer that a probe chose."""
    for part, source in own.stage.init.items():
        where, _ = graph.stage_of(job.graph.stages, graph.origin(part, source)[0])
        if part in own.objective.consults:
            _probe(job, name, source, built.get(where))
        elif source != "fresh" and where not in built and not parents.is_saved(job, name, part):
            (opened, there), model = parents.opened(job, name, part), own.stage.model
            if not model.quantizer.layer:  # a probe will choose it: compared when the stage begins
                model = dataclasses.replace(model, quantizer=opened.stage.model.quantizer)
            more = dict(there=there, model=model, vocabulary=job.vocab.hash)
            checkpoints.check_part(opened, part, handed.shapes(own), **more)


def _probe(job, name, source, own):
    if source != "fresh" and own is None:
        probe.best_layer(parents.opened(job, name, "probe")[0])
    elif source == "fresh" or "probe" not in own.objective.parts or not own.stage.eval.tasks:
        raise ConfigError(
            f"init.probe: expected a stage of kind 'probe' with eval.tasks, which scores its"
            f" layers, found {source!r}; or set model.quantizer.layer to a number"
        )


def _room(vocab, own):
    """Where positions are clocked: before the transcript, speech has one for each of its tokens."""
    small, data = own.stage.model.small, own.stage.data
    if not (own.objective.prompted and small.clocked):
        return
    room, tokens = data.contexts.tokens, data.buckets[-1][1]
    prompt = prompts.INSTRUCTION_WITH_CONTEXT if room else prompts.INSTRUCTION
    begin = max(small.speech_position, len(vocab.encode(prompt)) + room)
    if begin + tokens >= small.transcript_position:
        context = f"data.contexts.tokens = {room}: " if room else ""
        raise ConfigError(
            f"{context}speech begins after {begin} positions and takes {tokens}, by data.buckets:"
            f" expected model.small.transcript_position above {begin + tokens}, found"
            f" {small.transcript_position}"
        )


def _fits(own):
    """A device holds its share of the parameters, their gradients, the optimiser's state, a batch.

    A training step takes more; what it takes a plan says.
    """
    state, places = own.abstract, own.sharding
    trees = [(state.params, places.params)] * 2  # and the gradients
    trees += [(state.frozen, places.frozen), (state.opt_state, places.opt_state)]
    held = sum(_share(*tree) for tree in trees)
    shares = math.prod(own.mesh.shape[axis] for axis in rules.BATCH)
    batch, largest = max(
        (4 * n * (seconds * files.RATE + tokens) / shares, (seconds, tokens, n))
        for seconds, tokens, n in own.stage.data.buckets
    )
    if held + batch > (room := _memory(jax.local_devices())):
        raise ConfigError(
            f"each device has {room / _GIB:.3g} GiB; parameters, gradients and the optimiser's"
            f" state take {held / _GIB:.3g} GiB of it, a batch of data.buckets {largest} takes"
            f" {batch / _GIB:.3g} GiB: make them smaller, or shard them (config.mesh.fsdp) over"
            " more devices; `seedasr plan` says what a step takes"
        )


def _share(tree, places) -> int:
    """Bytes that one device has of a tree."""
    pairs = zip(jax.tree.leaves(tree), jax.tree.leaves(places), strict=True)
    return sum(math.prod(p.shard_shape(x.shape)) * x.dtype.itemsize for x, p in pairs)


def _memory(devices) -> float:
    """Bytes that each device can hold; those of a CPU share the machine's."""
    found = devices[0].memory_stats() or {}
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / len(devices)
    return found.get("bytes_limit", machine)
