"""The encoders a config can name; a module of `config.imports` may register more."""

from collections.abc import Callable
import dataclasses

from flax import nnx

from seedasr_jax import config
from seedasr_jax.errors import ConfigError, nearest
from seedasr_jax.models import luise


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of encoder.

    `make(config, mels, *, remat, dtype, rngs)` builds it; see Luise for its call, for
    `every_layer`, which `probe` and a clocked `ctc` need, and for `layer`, which `kmeans` and
    `ssl2` need. `flops(config, mels, frames, utterances, lowest)` is what a plan needs.
    """

    make: Callable[..., nnx.Module]
    flops: Callable[..., float] | None = None


_ENCODERS = {"luise": Kind(luise.Luise, luise.flops)}


def register(name: str, make, flops=None):
    """Adds an encoder; see Kind."""
    _ENCODERS[name] = Kind(make, flops)


def lookup(name: str) -> Kind:
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


def make(model: config.Model, **options) -> nnx.Module:
    """The encoder of a model; `options` are remat, dtype and rngs."""
    return lookup(model.encoder.kind).make(model.encoder, model.features.width, **options)


def flops(model: config.Model, frames: int, utterances: int = 1, lowest: int = 0) -> float:
    """FLOPs of a forward pass over utterances of `frames` feature frames each.

    `lowest`: only so many layers run, the lowest; 0: all.

    Raises:
        ConfigError: a kind that was registered without a count.
    """
    found = lookup(model.encoder.kind).flops
    if found is None:
        raise ConfigError(
            f"model.encoder.kind = {model.encoder.kind!r}: a plan needs its FLOPs: register it with"
            " flops=..."
        )
    return found(model.encoder, model.features.width, frames, utterances, lowest)
