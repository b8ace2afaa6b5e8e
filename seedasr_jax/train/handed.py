"""Checks a graph's hand-overs before any stage trains: names, then shapes of parts."""

from collections.abc import Mapping
import contextlib

from seedasr_jax import checkpoint as checkpoints
from seedasr_jax import config
from seedasr_jax.errors import ConfigError, UserError
from seedasr_jax.models import parts as registry
from seedasr_jax.train import build, graph, objectives


def names(expanded: config.Graph):
    """Checks stage kinds, their options, and that each part has a source.

    Raises:
        ConfigError: names the stage and the key.
    """

    def needed(stage):
        needs = objectives.needs(stage)
        for part in needs.parts:
            registry.lookup(part)
        return (*needs.parts, *needs.consults)

    graph.check(expanded, needed)


def parts(expanded: config.Graph, built: Mapping[str, build.Built]):
    """Checks the shapes of stages' parts against the stages that hand them over.

    Args:
        expanded: the graph.
        built: stages to check; hand-overs from any other stage are not checked.

    Raises:
        ConfigError: a part without a source, or of another shape than its parent's.
    """
    for name, own in built.items():
        with of_stage(name):
            for part in checkpoints.parts(own.abstract.frozen):
                if expanded.stages[name].init.get(part, "fresh") == "fresh":
                    raise ConfigError(
                        f"{part} is neither trained nor taken from anywhere: add it to trains, or"
                        f" set init.{part} to a stage or checkpoint"
                    )
            for part, source in expanded.stages[name].init.items():
                where, there = graph.origin(part, source)
                parent, _ = graph.stage_of(expanded.stages, where)
                wanted = checkpoints.select(shapes(own), part)
                if wanted and parent in built:
                    models = own.stage.model, built[parent].stage.model
                    found, key = shapes(built[parent]), f"init.{part}={source}"
                    checkpoints.compare(key, part, wanted, found, there, *models)


@contextlib.contextmanager
def of_stage(name: str):
    """Context that adds the stage's name to a UserError."""
    try:
        yield
    except UserError as error:
        raise type(error)(f"stage {name!r}: {error}") from error


def shapes(built: build.Built) -> dict:
    """{name: shape} of all parameters of a stage."""
    abstract = built.abstract
    return checkpoints.flat(abstract.params) | checkpoints.flat(abstract.frozen)
