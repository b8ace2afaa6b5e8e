"""Stage kinds by name: an objective class each, also of your own (`config.imports`)."""

import importlib

from seedasr_jax import config
from seedasr_jax.errors import ConfigError, nearest
from seedasr_jax.models import acllm

# Kind -> its class, or the module that registers it: a stage imports no other kind's.
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
    """Decorator: makes an objective class known as a stage kind (also from `config.imports`)."""

    def add(cls):
        _OBJECTIVES[kind] = cls
        return cls

    return add


def needs(stage: config.Stage):
    """The `Needs` of a stage's objective, which is not built.

    Raises:
        ConfigError: see `make`.
    """
    cls, options = _asked(stage)
    found = cls.ask(stage, options)
    stage.model.variant.maker().check(stage.model, found.parts)
    return found


def make(stage: config.Stage, tokens: acllm.Tokens, vocabulary: int):
    """The objective of a stage, its options checked against the class's fields.

    Raises:
        ConfigError: an unknown kind, an unknown or missing option, one of another type or outside
            of its bounds, or a stage that the objective cannot work with.
    """
    cls, options = _asked(stage)
    needs(stage)
    return cls(stage, tokens, vocabulary, options)


def _asked(stage):
    """The class of a stage's kind, and its options."""
    config.import_all_later()
    if stage.kind not in _OBJECTIVES:
        raise ConfigError(
            f"kind: expected one of {', '.join(_OBJECTIVES)}, found {stage.kind!r}."
            f"{nearest(stage.kind, _OBJECTIVES)}"
        )
    if isinstance(module := _OBJECTIVES[stage.kind], str):
        importlib.import_module(f"seedasr_jax.train.objectives.{module}")
    cls = _OBJECTIVES[stage.kind]
    options = config.build(dict(stage.objective), cls.Options, "objective")
    config.check(options, "objective")
    return cls, options
