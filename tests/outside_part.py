"""A part and an objective outside the package, for tests: `config.imports = ("outside_part",)`.

A linear head predicts each encoder frame's loudness beside CTC, with a loss term of its own.
"""

import dataclasses

from flax import nnx
import jax.numpy as jnp

from seedasr_jax import config, shapes
from seedasr_jax.models import names, parts
from seedasr_jax.models.layers import Dense
from seedasr_jax.train import objectives
from seedasr_jax.train.objectives.ctc import Ctc


class LoudnessHead(nnx.Module):
    """[B T D] -> [B T] float32."""

    def __init__(self, width, *, dtype, rngs):
        options = dict(dtype=dtype, rngs=rngs, out=jnp.float32)
        self.project = Dense(width, 1, ("width", "rank"), **options)

    def __call__(self, x):
        return self.project(x)[..., 0]


def make(model, vocabulary, *, tokens, remat, **options):
    del vocabulary, tokens, remat
    return LoudnessHead(model.encoder.width, **options)


parts.register(
    parts.Part(
        "loudness_head",
        make,
        parts.by_frame(lambda model, vocabulary: 1),
        follows=(names.ENCODER,),
    )
)


@objectives.register("ctc_and_loudness")
class CtcAndLoudness(Ctc):
    """CTC, and the squared error of each frame's loudness."""

    @dataclasses.dataclass(frozen=True)
    class Options(Ctc.Options):
        """`loudness_weight`: of the squared error."""

        loudness_weight: float = config.at_least(0)

    @classmethod
    def ask(cls, stage, options):
        needs = super().ask(stage, options)
        return dataclasses.replace(needs, parts=(*needs.parts, "loudness_head"))

    def loss(self, model, batch, weights, rng):
        x, length = self.encode(model, batch, rng)
        aligned = self.ctc_loss(model.ctc_head(x), length, batch, weights, rng)
        valid = shapes.valid(length, x.shape[1]) * batch.weight[:, None]
        loudness = jnp.sqrt((batch.wave**2).mean(1, keepdims=True))
        error = (model.loudness_head(x) - loudness) ** 2 * valid / jnp.maximum(length, 1)[:, None]
        error = error.sum() / weights["utterances"]
        total = aligned + self.options.loudness_weight * error
        return total, {"loss": total, "ctc": aligned, "loudness": error}
