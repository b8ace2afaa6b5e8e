"""Stage `dense_ssl1`: the first SSL iteration with several labels of each encoder frame.

With frames of 80 ms, a frame's label says almost nothing about the next one's (docs/results.md).

Dims: B batch, T mel frames, R = subsampling, N labels per encoder frame.
"""

import dataclasses

import jax.numpy as jnp

from seedasr_jax import shapes
from seedasr_jax.errors import ConfigError
from seedasr_jax.models import encoders
from seedasr_jax.small.models.parts import label_clock
from seedasr_jax.train.objectives import Needs, register
from seedasr_jax.train.objectives.ssl import Ssl1


@dataclasses.dataclass(frozen=True)
class DenseNeeds(Needs):
    """Needs of an objective with several labels per encoder frame."""

    labels: int = 1


@register("dense_ssl1")
class DenseSsl1(Ssl1):
    """As `ssl1`, with `model.variant.labels` labels per encoder frame."""

    @classmethod
    def ask(cls, stage, options):
        """As for `ssl1`."""
        variant, stride = stage.model.variant, encoders.strided_clock(stage.model).stride
        found = variant.labels if variant.kind == "small" else f"kind {variant.kind!r}"
        if variant.kind != "small" or stride % variant.labels:
            raise ConfigError(
                "stage kind 'dense_ssl1': expected model.variant of kind 'small' whose labels are a"
                f" divisor of model.encoder.subsampling = {stride}, found {found}"
            )
        return DenseNeeds(**vars(super().ask(stage, options)), labels=variant.labels)

    def predicted(self, batch, rng):
        """[B N*T/R] float32 weights of the labels: 1 where the encoder frame is masked."""
        each = self.stage.model.variant.labels
        hidden = jnp.repeat(self.hidden(batch, rng), each, axis=1)
        count = self.frames(batch, rng, label_clock(self.stage.model))
        return hidden * shapes.valid(count, hidden.shape[1]) * batch.weight[:, None]
