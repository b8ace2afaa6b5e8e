"""Stage `clocked_ctc`: CTC, and frame labels from the timing that the synthesiser reports.

Dims: B batch, T encoder frames, N phones, tokens or labels per frame.
"""

import dataclasses

import jax.numpy as jnp

from seedasr_jax import shapes
from seedasr_jax.errors import ConfigError
from seedasr_jax.losses.cross_entropy import cross_entropy
from seedasr_jax.small.models.parts import PHONE_HEAD
from seedasr_jax.small.objectives import times
from seedasr_jax.train.objectives import register
from seedasr_jax.train.objectives.ctc import Ctc
from seedasr_jax.train.objectives.shared import count

# Initial loss weights of frame labels. They decay to 0, the weight of tokens at TOKENS_UNTIL of a
# stage, because CTC alone finally decides where tokens are emitted.
PHONES, TOKENS, TOKENS_UNTIL = 3.0, 2.0, 0.8


@register("clocked_ctc")
class ClockedCtc(Ctc):
    """CTC, and per frame the phone after the middle layer and the token at the head, both decaying.

    Real speech has no such timing.
    """

    @classmethod
    def ask(cls, stage, options):
        """Adds the phone head, and the times of tokens and phones."""
        if stage.model.variant.kind != "small" or stage.model.variant.phones < 2:
            raise ConfigError(
                f"stage kind 'clocked_ctc': expected model.variant of kind 'small' with phones of 2"
                f" or more, such as 512, found {stage.model.variant}"
            )
        needs = super().ask(stage, options)
        parts = (*needs.parts, PHONE_HEAD)
        return dataclasses.replace(needs, parts=parts, extra=times.shapes)

    def filler(self, vocab):
        """The function that fills in the Times of a batch."""
        phones, normalizer = self.stage.model.variant.phones, self.stage.data.normalizer
        return times.times_filler(vocab, normalizer, phones=phones, steps=self.stage.steps)

    def weigh(self, batch, rng):
        """Weights of CTC, and numbers of labelled frames."""
        weights = super().weigh(batch, rng)
        weights["phones"] = count(self.phones(batch, rng)[1])
        weights["tokens"] = count(self.frame_tokens(batch, rng)[1])
        return weights

    def loss(self, model, batch, weights, rng):
        """CTC per token, and decaying cross-entropy per labelled frame."""
        layers, frames = model.encoder.every_layer(*self.encoder_inputs(model.encoder, batch, rng))
        logits = model.ctc_head(layers[-1])
        ctc = self.ctc_loss(logits, frames, batch, weights, rng)
        left = 1 - batch.extra.progress[:, None]  # [B 1]
        labels, valid = self.phones(batch, rng)
        predicted = model.phone_head(layers[(len(layers) - 1) // 2])
        phones = cross_entropy(predicted, labels, PHONES * left * valid) / weights["phones"]
        labels, valid = self.frame_tokens(batch, rng)
        fading = TOKENS * jnp.maximum(0, 1 - (1 - left) / TOKENS_UNTIL)
        tokens = cross_entropy(logits, labels, fading * valid) / weights["tokens"]
        total = ctc + phones + tokens
        return total, {"loss": total, "ctc": ctc, "phones": phones, "tokens": tokens}

    def phones(self, batch, rng):
        """[B 2T] phones, early and late in each frame, and [B 2T] float32 weights."""
        times = batch.extra
        return self._labels(times.phones, times.phone_starts, times.phones_length, batch, rng, 2)

    def frame_tokens(self, batch, rng):
        """[B T] tokens, and [B T] float32 weights."""
        times = batch.extra
        length = jnp.where(times.phones_length > 0, batch.ids_length, 0)
        return self._labels(batch.ids, times.starts, length, batch, rng, 1)

    def _labels(self, ids, starts, length, batch, rng, each):
        """Labels at the middles of N = `each` subframes per frame, and weights: [B N*T] each."""
        channel, frames = self.channel(batch, rng), self.frames(batch, rng)
        size = self.clock.buffer(batch.wave.shape[1])
        seconds = self.clock.seconds((jnp.arange(each * size) + 0.5) / each)
        tempo = jnp.ones(1) if channel is None else channel.tempo
        at = jnp.broadcast_to(seconds[None] * tempo[:, None], (len(length), each * size))
        labels, begun = spoken(ids, starts, length, at)
        valid = shapes.valid(each * frames, each * size) & begun
        return labels, valid * batch.weight[:, None]


def spoken(ids, starts, length, seconds):
    """The phones or tokens `ids` [B N] that are spoken at times `seconds` [B T].

    `starts`: [B N] seconds at which each begins, ascending; [B] `length` of them are valid. Returns
    [B T] ids, and [B T] bool, false before the first begins.
    """
    dims = shapes.check(starts, "B N", shapes.check(ids, "B N"))
    shapes.check(seconds, "B T", dims)
    begun = (starts[:, None] <= seconds[..., None]) & shapes.valid(length, dims["N"])[:, None]
    count = begun.sum(-1)
    return jnp.take_along_axis(ids, jnp.maximum(count - 1, 0), 1), count > 0
