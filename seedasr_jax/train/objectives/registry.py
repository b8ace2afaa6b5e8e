"""Registry of stage kinds: one objective class each; `config.imports` may add kinds."""

import importlib

from seedasr_jax import config, errors
from seedasr_jax.config import code
from seedasr_jax.models import acllm

# Kind -> its class, or the module that registers it once imported; other modules are not imported.
_OBJECTIVES: dict[str, type | str] = {
    "lm": "lm",
    "ssl1": "ssl",
    "probe": "probe",
    "kmeans": "kmeans",
    "ssl2": "ssl",
    "ctc": "ctc",
    "sft": "sft",
    "context_sft": "sft",
    "rl": "rl",
}


def register(kind):
    """Decorator that registers an objective class as a stage kind (also from `config.imports`).

    It replaces the class of that kind, except that a built-in one never replaces another module's:
    the built-in module may be imported later, for another kind. A ConfigError is raised if modules
    of two users register a kind.
    """

    def add(cls):
        if code.replaces(f"stage kind {kind!r}"):
            _OBJECTIVES[kind] = cls
        return cls

    return add


def needs(stage: config.Stage):
    """The `Needs` of a stage's objective, without building it; raises as `make`."""
    cls, options = _asked(stage)
    return _checked(stage, cls.ask(stage, options))


def make(stage: config.Stage, tokens: acllm.Tokens, vocabulary: int):
    """Builds the objective of a stage; a ConfigError if the kind is unknown, an option invalid or
    the stage not supported.
    """
    cls, options = _asked(stage)
    objective = cls(stage, tokens, vocabulary, options)
    _checked(stage, objective.needs)
    return objective


def _checked(stage, needs):
    stage.model.variant.maker().check(stage.model, needs)
    return needs


def _asked(stage):
    """The class of a stage's kind, and its options."""
    config.import_all_later()
    if stage.kind not in _OBJECTIVES:
        raise errors.unregistered("kind", stage.kind, _OBJECTIVES)
    if isinstance(module := _OBJECTIVES[stage.kind], str):
        importlib.import_module(f"seedasr_jax.train.objectives.{module}")
    cls = _OBJECTIVES[stage.kind]
    options = config.build(dict(stage.objective), cls.Options, "objective")
    config.check(options, "objective")
    return cls, options
