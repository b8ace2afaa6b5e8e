"""The encoders a config can name; a module of `config.imports` may register more."""

from seedasr_jax import config
from seedasr_jax.errors import ConfigError, nearest
from seedasr_jax.models.luise import Luise

_ENCODERS = {"luise": Luise}


def register(name, make):
    """Adds an encoder: `make(config, mels, *, remat, dtype, rngs)`.

    See Luise for its call, for `every_layer`, which `probe` and a clocked `ctc` need, and for
    `layer`, which `kmeans` and `ssl2` need.
    """
    _ENCODERS[name] = make


def lookup(name):
    """The encoder of that name.

    Raises:
        ConfigError: there is none.
    """
    if name not in _ENCODERS:
        raise ConfigError(
            f"model.encoder.kind: expected one of {', '.join(_ENCODERS)}, found {name!r}."
            f"{nearest(name, _ENCODERS)}"
        )
    return _ENCODERS[name]


def make(model: config.Model, **options):
    """The encoder of a model; `options` are remat, dtype and rngs."""
    return lookup(model.encoder.kind)(model.encoder, model.features.width, **options)
