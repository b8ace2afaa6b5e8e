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
    """Checks, without data or tokenizer, that meshes fit the devices, and buckets the meshes.

    Raises:
        UserError: names the unfinished stage that does not fit; `only`: the one checked, "": all.
    """
    for name, own in job.graph.stages.items():
        if only in ("", name) and not job.done(name):
            with graph.of_stage(name):
                build.mesh_of(own)


def stages(job: Job, due: Collection[str]) -> None:
    """Checks the stages that are due: parts, optimiser, mesh, buckets, shapes against parents,
    decoding, development sets, and that filtering leaves data.

    Raises:
        UserError: names the stage.
    """
    built = {}
    for name in due:
        with graph.of_stage(name):
            built[name] = stage.build_stage(job, job.graph.stages[name])
    handed.parts(job.graph, built)
    read = set()  # data shared by several stages are read once
    for name, own in built.items():
        with graph.of_stage(name):
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
                    f"data.contexts.tokens: stage kind {own.stage.kind!r} reads no context here,"
                    f" found {own.stage.data.contexts.tokens}: set it to 0"
                )
            key = repr((one, how["data_folder"], template and own.stage.model.prompt))
            if key not in read:
                loader.check(one, job.vocab, **how)
                read.add(key)


def _outside(job, name, own, built):
    """Checks parts from existing checkpoints, and the layer that a probe chose."""
    for part, source in own.stage.init.items():
        where, _ = graph.stage_of(job.graph.stages, graph.origin(part, source)[0])
        if part in own.needs.consults:
            _probe(job, name, source, built.get(where))
        elif source != "fresh" and where not in built and not parents.is_saved(job, name, part):
            (opened, there), model = parents.opened(job, name, part), own.stage.model
            if not model.quantizer.layer:  # chosen by a probe later: compared when the stage begins
                model = dataclasses.replace(model, quantizer=opened.stage.model.quantizer)
            more = dict(source_part=there, model=model, vocabulary=job.vocab.hash)
            checkpoints.check_part(opened, part, handed.shapes(own), **more)


def _probe(job, name, source, own):
    if source != "fresh" and own is None:
        probe.best_layer(parents.opened(job, name, "probe")[0])
    elif source == "fresh" or "probe" not in own.needs.parts or not own.stage.eval.tasks:
        raise ConfigError(
            f"init.probe: expected a stage of kind 'probe' with eval.tasks, on which its layers are"
            f" scored, found {source!r}; or set model.quantizer.layer to a number"
        )


def _room(template, own, learned):
    """Checks that prompt, speech and the longest context, `learned` or of the stage, have room."""
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
            context = f"a parent stage was trained on contexts of {room} tokens: "
        raise ConfigError(f"{context}{error}") from error


def _fits(own, limits):
    """Checks that a device's share of parameters, optimiser state and a batch fits its memory, with
    the gradients in training or the decoder's cache in scoring: a lower bound, unlike a plan.
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
    """Refuses buckets that exceed a device's memory; `kept`: cache bytes of tokens and rows."""
    shares = math.prod(mesh.shape[axis] for axis in rules.BATCH)

    def takes(seconds, tokens, rows):
        rows = -(-rows // shares) * shares
        return 4 * (seconds * files.RATE + tokens) * rows / shares + kept(tokens, rows)

    batch, largest = max((takes(*bucket), tuple(bucket)) for bucket in buckets)
    if held + batch > (room := _memory(jax.local_devices())):
        raise ConfigError(
            f"each device has {room / _GIB:.3g} GiB; parameters, optimiser state and, in a step,"
            f" gradients take {held / _GIB:.3g} GiB, a batch of {key} {largest} takes"
            f" {batch / _GIB:.3g} GiB: make them smaller, or shard them over more devices"
            " (config.mesh.fsdp); `seedasr plan` shows the memory of a step"
        )


def _share(tree, places) -> int:
    """Bytes of a tree on one device."""
    pairs = zip(jax.tree.leaves(tree), jax.tree.leaves(places), strict=True)
    return sum(math.prod(p.shard_shape(x.shape)) * x.dtype.itemsize for x, p in pairs)


def _memory(devices) -> float:
    """Memory of each device in bytes; CPU devices share the machine's."""
    found = devices[0].memory_stats() or {}
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / len(devices)
    return found.get("bytes_limit", machine)
