"""Stages `ssl1` and `ssl2`: the encoder predicts labels of frames that it does not see.

Dims: B batch, T mel frames, F mel bins, R = subsampling, K codes.
"""

import dataclasses

import jax
import jax.numpy as jnp

from seedasr_jax import config, shapes
from seedasr_jax.audio import masking
from seedasr_jax.errors import ConfigError, UserError
from seedasr_jax.losses.masked_prediction import describe, histogram, masked_prediction
from seedasr_jax.models import encoders, names
from seedasr_jax.models.clock import Strided
from seedasr_jax.train.objectives.registry import register
from seedasr_jax.train.objectives.shared import (
    DROPOUT,
    NOISE,
    SPANS,
    Hearing,
    Needs,
    count,
    per_example,
)

COLLAPSED = 2.0  # perplexity of labels: less than a fair coin per frame teaches nothing
JUDGED = 32  # masked frames of a step at least, before that is said of it


class Masked(Hearing):
    """BERT-style masked prediction (Seed-ASR section 3.2); subclasses define the labels."""

    cure = ""  # of labels that collapsed

    @dataclasses.dataclass(frozen=True)
    class Options:
        """The paper is silent; BEST-RQ: 0.01, 40 frames and 0.1.

        Spans begin and end with encoder frames, as in WeNet's BEST-RQ: of a frame that is hidden in
        part the label could be read off, so it could not be asked for.
        """

        start: float = config.within(0, 1)  # probability that a mel frame starts a span
        span: int = config.at_least(1)  # mel frames, rounded up to encoder frames
        noise: float = config.at_least(0)  # standard deviation of what stands in hidden frames

    def hidden(self, batch, rng):
        """[B T/R] bool, encoder frames that are not heard: the same in `weigh` and `loss`."""
        stream, frames = jax.random.fold_in(rng, SPANS), self.frames(batch, rng)
        size = self.clock.buffer(batch.wave.shape[1])
        start = 1 - (1 - self.options.start) ** self.clock.stride
        span = self.clock.of_features(self.options.span)
        return masking.spans(frames, size, stream, batch.position, start=start, span=span)

    def predicted(self, batch, rng):
        """[B T/R] float32 weight of each label: 1 where its encoder frame is hidden."""
        hidden = self.hidden(batch, rng)
        valid = shapes.valid(self.frames(batch, rng), hidden.shape[1])
        return hidden * valid * batch.weight[:, None]

    def weigh(self, batch, rng):
        """Labels of masked encoder frames."""
        return {"masked": count(self.predicted(batch, rng))}

    def loss(self, model, batch, weights, rng):
        """Nll per label of a masked frame."""
        mel, length = self.features(model.encoder, batch, rng)
        labels, predicted = self.labels(model, mel, length), self.predicted(batch, rng)
        labels = jnp.pad(labels, ((0, 0), (0, predicted.shape[1] - labels.shape[1])))
        stream = jax.random.fold_in(rng, NOISE)
        hidden = jnp.repeat(self.hidden(batch, rng), self.clock.stride, axis=1)[:, : mel.shape[1]]
        seen = self.masked(mel, length, batch, rng)
        seen = masking.noise(seen, hidden, stream, batch.position, self.options.noise)
        x, _ = model.encoder(seen, length, per_example(rng, DROPOUT, batch.position))
        nll, hits = masked_prediction(model.ssl_head(x), labels, predicted)
        loss = nll / weights["masked"]
        codes = histogram(labels, predicted, self.stage.model.quantizer.codes)
        return loss, {"loss": loss, "accuracy": hits / weights["masked"], "codes": codes}

    def summary(self, terms):
        """The histogram of labels, exact over the global batch, becomes figures.

        Raises:
            UserError: nearly all labels are the same.
        """
        figures = describe(terms["codes"])
        if figures["perplexity"] < COLLAPSED and terms["codes"].sum() >= JUDGED:
            raise UserError(
                f"the labels collapsed: {100 * figures['majority']:.0f} % of masked frames have one"
                f" code (perplexity {figures['perplexity']:.2f} of {len(terms['codes'])} codes;"
                f" expected at least {COLLAPSED:g}): {self.cure}"
            )
        return {k: v for k, v in terms.items() if k != "codes"} | figures


@register("ssl1")
class Ssl1(Masked):
    """First iteration: labels by a random projection of stacked mel frames (BEST-RQ).

    In frames of 80 ms the label of one frame says next to nothing of the next one's, so that there
    is nothing to learn from (docs/results.md).
    """

    cure = "is the audio silent, or is model.quantizer.codes very small?"

    @classmethod
    def ask(cls, stage, options):
        """A quantizer that never trains."""
        del options
        strided(stage)
        parts = (names.ENCODER, names.SSL_HEAD, names.QUANTIZER)
        return Needs(parts, reads=False, drawn=(names.QUANTIZER,))

    def labels(self, model, mel, length):
        """[B T/R] int32."""
        return model.quantizer(mel, length)[0]


@register("ssl2")
class Ssl2(Masked):
    """Second iteration: labels by k-means over a layer of the encoder before, the teacher."""

    cure = "the teacher's layer says nothing, or the fit of the codebook was too short"

    @classmethod
    def ask(cls, stage, options):
        """The teacher and its codebook; the probe, where it chooses the layer."""
        del options
        strided(stage)
        parts = (names.ENCODER, names.SSL_HEAD, names.TEACHER, names.CODEBOOK)
        return Needs(parts, consults=probe_of(stage), reads=False)

    def labels(self, model, mel, length):
        """[B T/R] int32, of what the teacher hears unmasked."""
        x, length = taught(model, mel, length)
        return model.codebook(x, length)[0]


def strided(stage) -> Strided:
    """The encoder's clock: what is hidden of its frames is hidden of their features.

    Raises:
        ConfigError: a frame of the encoder is no whole number of features.
    """
    clock = encoders.clock(stage.model)
    if not isinstance(clock, Strided):
        raise ConfigError(
            f"model.encoder.kind: stage kind {stage.kind!r} expected an encoder with a whole number"
            f" of features per frame (models/clock.py: Strided), found {stage.model.encoder.kind!r}"
        )
    return clock


def probe_of(stage):
    """The key of `init` that chooses the teacher's layer, if the config does not.

    Raises:
        ConfigError: the config names a layer that the encoder does not have.
    """
    layer, layers = stage.model.quantizer.layer, stage.model.encoder.layers
    if not 0 <= layer <= layers:
        raise ConfigError(
            f"model.quantizer.layer: expected 1 to {layers}, or 0 for that of init.probe, found"
            f" {layer}"
        )
    return () if stage.model.quantizer.layer else (names.PROBE,)


def taught(model, mel, length):
    """The chosen layer of the teacher: [B T/R D], and [B] real frames."""
    return model.teacher.layer(mel, length, model.config.quantizer.layer)
