"""Stages `ssl1` and `ssl2`: the encoder predicts labels of masked frames.

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
from seedasr_jax.train.objectives import shared
from seedasr_jax.train.objectives.registry import register
from seedasr_jax.train.objectives.shared import Needs, count

COLLAPSED = 2.0  # perplexity of labels, as of a fair coin: below it there is nothing to learn
JUDGED = 32  # minimum number of masked frames in a step for this verdict


class Masked(shared.Acoustic):
    """BERT-style masked prediction (Seed-ASR section 3.2); subclasses define the labels."""

    cure = ""  # shown if the labels collapsed

    @dataclasses.dataclass(frozen=True)
    class Options:
        """Masking, which the paper does not specify; BEST-RQ has 0.01, 40 frames and 0.1.

        Spans are aligned to encoder frames, as in WeNet's BEST-RQ: the label of a partially masked
        frame could be read off its visible part, so it could not be predicted.
        """

        start: float = config.within(0, 1)  # probability that a mel frame starts a span
        span: int = config.at_least(1)  # mel frames, rounded up to encoder frames
        noise: float = config.at_least(0)  # standard deviation of the noise in masked frames

    def hidden(self, batch, rng):
        """[B T/R] bool, true at masked encoder frames: the same in `weigh` and `loss`."""
        stream, frames = jax.random.fold_in(rng, shared.SPANS), self.frames(batch, rng)
        size = self.clock.buffer(batch.wave.shape[1])
        start = 1 - (1 - self.options.start) ** self.clock.stride
        span = self.clock.of_features(self.options.span)
        return masking.spans(frames, size, stream, batch.position, start=start, span=span)

    def predicted(self, batch, rng):
        """[B T/R] float32 weight of each label: 1 if its encoder frame is masked."""
        hidden = self.hidden(batch, rng)
        valid = shapes.valid(self.frames(batch, rng), hidden.shape[1])
        return hidden * valid * batch.weight[:, None]

    def weigh(self, batch, rng):
        return {"masked": count(self.predicted(batch, rng))}

    def loss(self, model, batch, weights, rng):
        """Nll per label of a masked frame."""
        mel, length = self.features(model.encoder, batch, rng)
        labels, predicted = self.labels(model, mel, length), self.predicted(batch, rng)
        labels = jnp.pad(labels, ((0, 0), (0, predicted.shape[1] - labels.shape[1])))
        stream = jax.random.fold_in(rng, shared.NOISE)
        hidden = jnp.repeat(self.hidden(batch, rng), self.clock.stride, axis=1)[:, : mel.shape[1]]
        masked = self.masked(mel, length, batch, rng)
        masked = masking.noise(masked, hidden, stream, batch.position, self.options.noise)
        keys = shared.per_example(rng, shared.DROPOUT, batch.position)
        x, _ = model.encoder(masked, length, keys)
        nll, hits = masked_prediction(model.ssl_head(x), labels, predicted)
        loss = nll / weights["masked"]
        codes = histogram(labels, predicted, self.stage.model.quantizer.codes)
        return loss, {"loss": loss, "accuracy": hits / weights["masked"], "codes": codes}

    def summary(self, terms):
        """Replaces the histogram of labels by figures; a UserError if nearly all are the same."""
        figures = describe(terms["codes"])
        if figures["perplexity"] < COLLAPSED and terms["codes"].sum() >= JUDGED:
            raise UserError(
                f"the labels collapsed: {100 * figures['majority']:.0f} % of masked frames have one"
                f" code (perplexity of {len(terms['codes'])} codes: expected at least"
                f" {COLLAPSED:g}, found {figures['perplexity']:.2f}): {self.cure}"
            )
        return {k: v for k, v in terms.items() if k != "codes"} | figures


@register("ssl1")
class Ssl1(Masked):
    """First iteration: labels from a random projection of stacked mel frames (BEST-RQ).

    With frames of 80 ms, labels of adjacent frames are nearly independent, so that there is nothing
    to learn from (docs/results.md).
    """

    cure = "is the audio silent, or is model.quantizer.codes very small?"

    @classmethod
    def ask(cls, stage, options):
        encoders.strided_clock(stage.model)  # else refused
        parts = (names.ENCODER, names.SSL_HEAD, names.QUANTIZER)
        return Needs(parts, reads=False, drawn=(names.QUANTIZER,))

    def labels(self, model, mel, length):
        return model.quantizer(mel, length)[0]


@register("ssl2")
class Ssl2(Masked):
    """Second iteration: k-means labels of a layer of the teacher, the previous encoder."""

    cure = "choose another layer of the teacher, or fit the codebook for more steps"

    @classmethod
    def ask(cls, stage, options):
        encoders.strided_clock(stage.model)  # else refused
        parts = (names.ENCODER, names.SSL_HEAD, names.TEACHER, names.CODEBOOK)
        return Needs(parts, consults=probe_of(stage), reads=False)

    def labels(self, model, mel, length):
        """[B T/R] int32, from the teacher's frames of unmasked input."""
        x, length = teacher_frames(model, mel, length)
        return model.codebook(x, length)[0]


def probe_of(stage):
    """The key of `init` that chooses the teacher's layer, as a tuple; () if the config does."""
    layer, layers = stage.model.quantizer.layer, stage.model.encoder.layers
    if not 0 <= layer <= layers:
        raise ConfigError(
            f"model.quantizer.layer: expected 1 to {layers}, or 0 for init.probe's, found {layer}"
        )
    return () if stage.model.quantizer.layer else (names.PROBE,)


def teacher_frames(model, mel, length):
    """The chosen layer of the teacher: [B T/R D], and [B] number of valid frames."""
    return model.teacher.layer(mel, length, model.config.quantizer.layer)
