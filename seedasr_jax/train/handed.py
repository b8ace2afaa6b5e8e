"""Checks a graph's hand-overs before any stage trains: names, then shapes of parts."""

from collections.abc import Mapping

from seedasr_jax import checkpoint as checkpoints
from seedasr_jax import config
from seedasr_jax.errors import ConfigError
from seedasr_jax.models import parts as registry
from seedasr_jax.train import build, graph, objectives
from seedasr_jax.train.graph import of_stage


def names(expanded: config.Graph):
    """Checks stage kinds, their options and parts' sources; a ConfigError names stage and key."""

    def needed(stage):
        needs = objectives.needs(stage)
        for part in needs.parts:
            registry.lookup(part)
        return (*needs.parts, *needs.consults)

    graph.check(expanded, needed)


def parts(expanded: config.Graph, built: Mapping[str, build.Built]):
    """Compares shapes of parts between built stages; a ConfigError if they differ, or if a part
    has no source.
    """
    for name, child in built.items():
        with of_stage(name):
            init = expanded.stages[name].init
            for part in checkpoints.parts(child.abstract.frozen):
                if init.get(part, "fresh") == "fresh":
                    raise ConfigError(
                        f"{part} neither trains nor has a source: add it to trains, or set"
                        f" init.{part} to a stage or checkpoint"
                    )
            for part, source in init.items():
                where, source_part = graph.origin(part, source)
                parent, _ = graph.stage_of(expanded.stages, where)
                wanted = checkpoints.select(shapes(child), part)
                if wanted and parent in built:
                    models = child.stage.model, built[parent].stage.model
                    found, key = shapes(built[parent]), f"init.{part}={source}"
                    checkpoints.compare(key, part, wanted, found, source_part, *models)


def shapes(built: build.Built) -> dict:
    """{name: shape} of all parameters of a stage."""
    abstract = built.abstract
    return checkpoints.flat(abstract.params) | checkpoints.flat(abstract.frozen)
