"""Converters by kind: modules from encoder frames to tokens of the LLM's width.

    @config.register("mine", "my_models:Mine")  # decorates the options, a config.Converter subclass

`Mine(frame_width, token_width, *, dtype, rngs, ...)` and `Mine.tokens(frames, ...)`, the number of
tokens of `frames` frames, take the options' fields as keywords; see models/converter.py.
"""

from flax import nnx

from seedasr_jax import config


def make(model: config.Model, **options) -> nnx.Module:
    """Builds the converter of a model; `options` are dtype and rngs."""
    widths = model.encoder.width, model.decoder.width
    return model.converter.maker()(*widths, **_keywords(model.converter), **options)


def tokens(model: config.Model, frames):
    """Number of tokens of `frames` encoder frames, an integer or a traced array."""
    return model.converter.maker().tokens(frames, **_keywords(model.converter))


def _keywords(options):
    return {key: value for key, value in vars(options).items() if key != options.tag}
