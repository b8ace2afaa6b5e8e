"""A graph is checked whole before its first stage trains: a mistake costs seconds, not hours.

Shapes are traced and manifests indexed: nothing is compiled and no audio is decoded.
"""

from collections.abc import Collection
import dataclasses

from seedasr_jax import checkpoint as checkpoints
from seedasr_jax.data_pipelines import loader
from seedasr_jax.decode import recogniser as recognisers
from seedasr_jax.errors import ConfigError
from seedasr_jax.launch import parents, probe, stage
from seedasr_jax.parallel import sharding
from seedasr_jax.text import prompts
from seedasr_jax.train import build, graph, handed


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
    """Where positions are clocked: a context leaves the speech a position for each token."""
    small, data = own.stage.model.small, own.stage.data
    if not (own.objective.prompted and data.contexts.tokens and small.clocked):
        return
    prompt, tokens = len(vocab.encode(prompts.INSTRUCTION_WITH_CONTEXT)), data.buckets[-1][1]
    begin = max(small.speech_position, prompt + data.contexts.tokens)
    if begin + tokens >= small.transcript_position:
        raise ConfigError(
            f"data.contexts.tokens = {data.contexts.tokens}: speech begins behind {begin} positions"
            f" and takes {tokens}: expected model.small.transcript_position above"
            f" {begin + tokens}, found {small.transcript_position}"
        )
