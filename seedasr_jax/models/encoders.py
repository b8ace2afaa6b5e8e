"""Encoders by kind: a config's options say which; a module of `config.imports` may add some.

    @config.register("mine", "my_models:Mine")  # above the options, a subclass of config.Encoder

`Mine(options, mels, *, remat, dtype, rngs)`: see Luise for its call, for `every_layer`, which
`probe` and a clocked `ctc` need, for `layer`, which `kmeans` and `ssl2` need, and for `flops`,
which a plan needs.
"""

from flax import nnx

from seedasr_jax import config
from seedasr_jax.errors import ConfigError


def make(model: config.Model, **options) -> nnx.Module:
    """The encoder of a model; `options` are remat, dtype and rngs."""
    return model.encoder.maker()(model.encoder, model.features.width, **options)


def flops(model: config.Model, frames: int, utterances: int = 1, lowest: int = 0) -> float:
    """FLOPs of a forward pass over utterances of `frames` feature frames each.

    `lowest`: only so many layers run, the lowest; 0: all.

    Raises:
        ConfigError: an encoder that does not count them.
    """
    count = getattr(model.encoder.maker(), "flops", None)
    if count is None:
        raise ConfigError(
            f"model.encoder.kind = {model.encoder.kind!r}: a plan needs its FLOPs: give"
            f" {model.encoder.place} a static method flops, as Luise has it"
        )
    return count(model.encoder, model.features.width, frames, utterances, lowest)
