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
from seedasr_jax.decode import gathering, methods, scoring
from seedasr_jax.errors import ConfigError
from seedasr_jax.evaluate import probe
from seedasr_jax.launch import parents, stage
from seedasr_jax.launch.job import Job
from seedasr_jax.parallel import rules, sharding
from seedasr_jax.train import build, graph, handed

_GIB = 2**30


def meshes(job: Job, only: str):
    """Checks what takes no data, no tokenizer and no time: that meshes fit the devices, and buckets
    the meshes, of the stage `only`, or of all that are not finished.

    Raises:
        UserError: names the stage.
    """
    for name, own in job.graph.stages.items():
        if only in ("", name) and not job.done(name):
            with handed.of_stage(name):
                build.mesh_of(own)


def stages(job: Job, due: Collection[str]):
    """Checks the stages that are due: all that can go wrong before a step.

    Parts and optimiser, mesh and buckets, shapes against parents, decoding, development sets, and
    what the data leaves.

    Raises:
        UserError: names the stage.
    """
    built = {}
    for name in due:
        with handed.of_stage(name):
            built[name] = stage.build_stage(job, job.graph.stages[name])
    handed.parts(job.graph, built)
    read = set()  # what several stages share is read once
    for name, own in built.items():
        with handed.of_stage(name):
            _outside(job, name, own, built)
            limits = parents.limits(job, name)
            anew = dataclasses.replace(job, redone=(*job.redone, name))
            template = stage.template(job, own)
            _room(template, own, parents.limits(anew, name).context_tokens)
            _fits(own, limits)
            stage.evaluation(job, name, own, limits)
            one = dataclasses.replace(own.stage.data, cache_gib=0.0)
            how = dict(data_folder=job.cache(own.stage), template=template)
            how |= dict(process_count=sharding.share(own.mesh)[1])
            if own.stage.data.contexts.tokens and not own.needs.prompted:
                raise ConfigError(
                    f"data.contexts.tokens = {own.stage.data.contexts.tokens}: a stage of kind"
                    f" {own.stage.kind!r} reads no context here: set it to 0"
                )
            key = repr((one, how["data_folder"], template and own.stage.model.prompt))
            if key not in read:
                loader.check(one, job.vocab, **how)
                read.add(key)


def _outside(job, name, own, built):
    """Parts from checkpoints that are there already, and the layer that a probe chose."""
    for part, source in own.stage.init.items():
        where, _ = graph.stage_of(job.graph.stages, graph.origin(part, source)[0])
        if part in own.needs.consults:
            _probe(job, name, source, built.get(where))
        elif source != "fresh" and where not in built and not parents.is_saved(job, name, part):
            (opened, there), model = parents.opened(job, name, part), own.stage.model
            if not model.quantizer.layer:  # a probe will choose it: compared when the stage begins
                model = dataclasses.replace(model, quantizer=opened.stage.model.quantizer)
            more = dict(source_part=there, model=model, vocabulary=job.vocab.hash)
            checkpoints.check_part(opened, part, handed.shapes(own), **more)


def _probe(job, name, source, own):
    if source != "fresh" and own is None:
        probe.best_layer(parents.opened(job, name, "probe")[0])
    elif source == "fresh" or "probe" not in own.needs.parts or not own.stage.eval.tasks:
        raise ConfigError(
            f"init.probe: expected a stage of kind 'probe' with eval.tasks, which scores its"
            f" layers, found {source!r}; or set model.quantizer.layer to a number"
        )


def _room(template, own, learned):
    """Prompt, context and speech have room, as the model's variant sees it.

    Also behind a context that is as long as the stage, or one that it starts from, `learned`.
    """
    data = own.stage.data
    if not own.needs.prompted:
        return
    room, tokens = max(data.contexts.tokens, learned), data.buckets[-1][1]
    around = (template.with_context if room else template.plain)[0]
    variant = own.stage.model.variant
    try:
        variant.maker().check_room(own.stage.model, len(around.prompt) + room, tokens)
    except ConfigError as error:
        context = f"data.contexts.tokens = {room}: " if room else ""
        if room > data.contexts.tokens:
            context = f"a stage that it starts from learned contexts of {room} tokens: "
        raise ConfigError(f"{context}{error}") from error


def _fits(own, limits):
    """A device holds its share of the parameters, the optimiser's state, and of a batch: beside the
    gradients as it trains, with the decoder's keys and values while it scores.

    A step takes more; what it takes a plan says.
    """
    state, places, stage = own.abstract, own.sharding, own.stage
    params = _share(state.params, places.params)
    held = params + _share(state.frozen, places.frozen)
    held += _share(state.opt_state, places.opt_state)
    _check_memory(own.mesh, held + params, stage.data.buckets, "data.buckets")
    if stage.eval.tasks:
        how = scoring.of(stage.eval.decode, stage.scored, limits)
        prefixes, width = methods.parse(stage.eval.decode).prefixes(how.context_tokens)

        def kept(tokens, rows):
            slots = gathering.slots(tokens, prefixes, width)
            return slots * gathering.slot(stage.model, own.mesh, rows)

        _check_memory(own.mesh, held, how.buckets, "eval.buckets and eval.tokens", kept)


def _check_memory(mesh, held, buckets, key, kept=lambda tokens, rows: 0):
    """Refuses buckets (seconds, tokens, utterances) that no device can hold, with the bytes that
    are `kept` of their tokens.
    """
    shares = math.prod(mesh.shape[axis] for axis in rules.BATCH)

    def takes(seconds, tokens, rows):
        rows = -(-rows // shares) * shares
        return 4 * (seconds * files.RATE + tokens) * rows / shares + kept(tokens, rows)

    batch, largest = max((takes(*bucket), tuple(bucket)) for bucket in buckets)
    if held + batch > (room := _memory(jax.local_devices())):
        raise ConfigError(
            f"each device has {room / _GIB:.3g} GiB; parameters, the optimiser's state and, in a"
            f" step, gradients take {held / _GIB:.3g} GiB of it, a batch of {key} {largest} takes"
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
