"""Stage `ctc`: CTC training between SSL and SFT; not in the paper."""

from seedasr_jax.models import names
from seedasr_jax.train.objectives.registry import register
from seedasr_jax.train.objectives.shared import Acoustic, Needs


@register("ctc")
class Ctc(Acoustic):
    """CTC loss per token of encoder and CTC head. Our addition to the paper's recipe."""

    weigh = Acoustic.ctc_weights

    @classmethod
    def ask(cls, stage, options):
        return Needs((names.ENCODER, names.CTC_HEAD), aligned=True)

    def loss(self, model, batch, weights, rng):
        x, frames = self.encode(model, batch, rng)
        loss = self.ctc_loss(model.ctc_head(x), frames, batch, weights, rng)
        return loss, {"loss": loss}
