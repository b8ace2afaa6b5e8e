"""Stage `ctc`: ours, between SSL and SFT.

Dims: B batch, T encoder frames, N labels of a frame, D width, L layers.
"""

import dataclasses

import jax.numpy as jnp

from seedasr_jax import config, shapes
from seedasr_jax.errors import ConfigError
from seedasr_jax.losses.cross_entropy import cross_entropy
from seedasr_jax.losses.framewise import spoken
from seedasr_jax.models import names
from seedasr_jax.train.objectives.registry import register
from seedasr_jax.train.objectives.shared import Hearing, Needs, count

# Weights of the clock's labels at the start; both fall to 0, tokens' before the end, for CTC alone
# decides where it emits.
PHONES, TOKENS, TOKENS_UNTIL = 3.0, 2.0, 0.8


@register("ctc")
class Ctc(Hearing):
    """Encoder and CTC head on transcripts. Our addition to the paper's recipe.

    With `labels = "clock"` each frame is labelled too, by the clock of the synthesiser that spoke
    it: phones after the middle layer, tokens at the head. Real speech has no such clock.
    """

    @dataclasses.dataclass(frozen=True)
    class Options:
        """`labels`: of frames."""

        labels: str = config.one_of("none", "clock")

    @classmethod
    def ask(cls, stage, options):
        """A head for phones where the clock labels frames."""
        timed = options.labels == "clock"
        if timed and stage.model.small.phones < 2:
            raise ConfigError("objective.labels = 'clock' needs model.small.phones, such as 512")
        parts = (names.ENCODER, names.CTC_HEAD) + (names.PHONE_HEAD,) * timed
        return Needs(parts, aligned=True, timed=timed)

    def weigh(self, batch, rng):
        """CTC's, see `Hearing.ctc_weights`; labelled frames."""
        weights = self.ctc_weights(batch, rng)
        if self.needs.timed:
            weights["phones"] = count(self.phones(batch, rng)[1])
            weights["tokens"] = count(self.spoken(batch, rng)[1])
        return weights

    def loss(self, model, batch, weights, rng):
        """CTC per token; with a clock, cross-entropy per labelled frame that fades."""
        if not self.needs.timed:
            x, frames = self.encode(model, batch, rng)
            loss = self.ctc_loss(model.ctc_head(x), frames, batch, weights, rng)
            return loss, {"loss": loss}
        layers, frames = model.encoder.every_layer(*self.heard(model.encoder, batch, rng))
        logits = model.ctc_head(layers[-1])
        aligned = self.ctc_loss(logits, frames, batch, weights, rng)
        left = 1 - batch.progress[:, None]  # [B 1]
        labels, real = self.phones(batch, rng)
        heard = model.phone_head(layers[(len(layers) - 1) // 2])
        phones = cross_entropy(heard, labels, PHONES * left * real) / weights["phones"]
        labels, real = self.spoken(batch, rng)
        fading = TOKENS * jnp.maximum(0, 1 - (1 - left) / TOKENS_UNTIL)
        tokens = cross_entropy(logits, labels, fading * real) / weights["tokens"]
        total = aligned + phones + tokens
        return total, {"loss": total, "ctc": aligned, "phones": phones, "tokens": tokens}

    def phones(self, batch, rng):
        """[B 2T] phones, early and late in each frame, and [B 2T] float32 weights."""
        times = batch.times
        return self._labels(times.phones, times.phone_starts, times.phones_length, batch, rng, 2)

    def spoken(self, batch, rng):
        """[B T] tokens, and [B T] float32 weights."""
        known = batch.times.phones_length > 0
        length = jnp.where(known, batch.ids_length, 0)
        return self._labels(batch.ids, batch.times.starts, length, batch, rng, 1)

    def _labels(self, ids, starts, length, batch, rng, each):
        """Labels at the middle of each of `each` parts of a frame: [B N*T]; real speech only."""
        channel, frames = self.channel(batch, rng), self.frames(batch, rng)
        size = self.clock.buffer(batch.wave.shape[1])
        seconds = self.clock.seconds((jnp.arange(each * size) + 0.5) / each)
        tempo = jnp.ones(1) if channel is None else channel.tempo
        at = jnp.broadcast_to(seconds[None] * tempo[:, None], (len(length), each * size))
        labels, begun = spoken(ids, starts, length, at)
        real = shapes.valid(each * frames, each * size) & begun
        return labels, real * batch.weight[:, None]
