"""Converters by kind: encoder frames become tokens of the LLM's width.

    @config.register("mine", "my_models:Mine")  # above the options, a subclass of config.Converter

`Mine(frame_width, token_width, *, dtype, rngs, ...)` also takes the options as they are named, and
`Mine.tokens(frames, ...)` says how many tokens so many frames become: see models/converter.py.
"""

from flax import nnx

from seedasr_jax import config


def make(model: config.Model, **options) -> nnx.Module:
    """The converter of a model; `options` are dtype and rngs."""
    widths = model.encoder.width, model.decoder.width
    return model.converter.maker()(*widths, **_own(model.converter), **options)


def tokens(model: config.Model, frames):
    """Tokens of so many encoder frames, an integer or a traced array."""
    return model.converter.maker().tokens(frames, **_own(model.converter))


def _own(options):
    return {key: value for key, value in vars(options).items() if key != options.tag}
