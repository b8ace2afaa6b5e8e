"""Stage `ctc`: CTC training between SSL and SFT; not in the paper."""

import dataclasses

from seedasr_jax.models import names
from seedasr_jax.train.objectives.registry import register
from seedasr_jax.train.objectives.shared import Acoustic, Needs


@register("ctc")
class Ctc(Acoustic):
    """CTC loss of encoder and CTC head on transcripts. Our addition to the paper's recipe."""

    @dataclasses.dataclass(frozen=True)
    class Options:
        """No options."""

    @classmethod
    def ask(cls, stage, options):
        """Encoder and CTC head."""
        del stage, options
        return Needs((names.ENCODER, names.CTC_HEAD), aligned=True)

    def weigh(self, batch, rng):
        """See `Acoustic.ctc_weights`."""
        return self.ctc_weights(batch, rng)

    def loss(self, model, batch, weights, rng):
        """CTC loss per token."""
        x, frames = self.encode(model, batch, rng)
        loss = self.ctc_loss(model.ctc_head(x), frames, batch, weights, rng)
        return loss, {"loss": loss}
