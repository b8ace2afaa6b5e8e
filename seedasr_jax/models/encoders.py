"""Encoders by kind: a config's options say which; a module of `config.imports` may add some.

    @config.register("mine", "my_models:Mine")  # above the options, a subclass of config.Encoder

`Mine(options, *, remat, dtype, rngs)` is an Encoder. Luise shows its call, `every_layer`, which
`probe` needs, and `layer`, which `kmeans` and `ssl2` need.

Dims: B batch, S samples, T frames, F features.
"""

from flax import nnx

from seedasr_jax import config
from seedasr_jax.errors import ConfigError
from seedasr_jax.models import frontends
from seedasr_jax.models.clock import Clock


class Encoder(nnx.Module):
    """Base of encoders: owns a front end and, by its options, a clock.

    Waves become features and features become frames, in two steps: between them features are
    masked.
    """

    def __init__(self, options: config.Encoder):
        self.frontend = frontends.make(options.frontend)

    def features(self, wave, length, channel=None):
        """Waves [B S] of [B] valid samples to features [B T F] and [B] valid ones.

        `channel`: `perturb.Channel` of this batch, or None.
        """
        return self.frontend(wave, length, channel)

    @staticmethod
    def clock(options: config.Encoder) -> Clock:
        """The clock of its frames."""
        raise NotImplementedError("clock(options) of the encoder")

    @staticmethod
    def flops(
        options: config.Encoder, features: int, utterances: int = 1, lowest: int = 0
    ) -> float:
        """FLOPs of a forward pass over utterances of so many features each.

        `lowest`: only so many layers run, the lowest; 0: all.
        """
        raise ConfigError(
            f"model.encoder.kind = {options.kind!r}: a plan needs its FLOPs: give"
            f" {options.place} a static method flops, as Luise has it"
        )


def make(model: config.Model, **options) -> Encoder:
    """The encoder of a model; `options` are remat, dtype and rngs."""
    return model.encoder.maker()(model.encoder, **options)


def clock(model: config.Model) -> Clock:
    """The clock of a model's encoder frames."""
    return model.encoder.maker().clock(model.encoder)


def flops(model: config.Model, samples: int, utterances: int = 1, lowest: int = 0) -> float:
    """As `Encoder.flops`, over utterances of so many samples each.

    Raises:
        ConfigError: an encoder that does not count them.
    """
    features = frontends.make(model.encoder.frontend).frames(samples)
    return model.encoder.maker().flops(model.encoder, features, utterances, lowest)
