"""Encoders by kind, selected by their options; modules in `config.imports` may add kinds.

    @config.register("mine", "my_models:Mine")  # decorates the options, a config.Encoder subclass

`Mine(options, *, remat, dtype, rngs)` is an Encoder. Luise is an example of its call, of
`every_layer` (needed by `probe`) and of `layer` (needed by `kmeans` and `ssl2`).
"""

from flax import nnx

from seedasr_jax import config, errors
from seedasr_jax.errors import ConfigError
from seedasr_jax.models import frontends
from seedasr_jax.models.clock import Clock, Strided


def _lacks(options, method):
    return errors.lacks("model.encoder", options, method, "models/luise.py")


class Encoder(nnx.Module):
    """Base class of encoders; owns a front end and, derived from its options, a clock.

    `encoder.frontend(wave, length, channel)` and `encoder(features, length, keys)` are two calls,
    because features may be masked in between.
    """

    def __init__(self, options: config.Encoder):
        self.frontend = frontends.make(options.frontend)

    @staticmethod
    def clock(options: config.Encoder) -> Clock:
        """The clock of the encoder's frames."""
        raise _lacks(options, "clock")

    @staticmethod
    def flops(options: config.Encoder, features: int, utterances=1, lowest=0) -> float:
        """FLOPs of `utterances` of `features` features; `lowest`: layers that run, 0: all."""
        raise _lacks(options, "flops")


def make(model: config.Model, **options) -> Encoder:
    """Builds the encoder of a model; `options` are remat, dtype and rngs."""
    return model.encoder.maker()(model.encoder, **options)


def clock(model: config.Model) -> Clock:
    """The clock of a model's encoder frames."""
    return model.encoder.maker().clock(model.encoder)


def strided_clock(model: config.Model) -> Strided:
    """The clock of an encoder with a whole number of features per frame, else a ConfigError."""
    found = clock(model)
    if not isinstance(found, Strided):
        raise ConfigError(
            f"model.encoder.kind: labels of frames need an encoder with a whole number of features"
            f" per frame (models/clock.py: Strided), found {model.encoder.kind!r}"
        )
    return found


def flops(model: config.Model, samples: int, utterances=1, lowest=0) -> float:
    """As `Encoder.flops`, for utterances of `samples` samples each."""
    features = frontends.make(model.encoder.frontend).frames(samples)
    return model.encoder.maker().flops(model.encoder, features, utterances, lowest)
