"""Stage `ctc`: ours, between SSL and SFT."""

import dataclasses

from seedasr_jax.train.objectives.registry import register
from seedasr_jax.train.objectives.shared import Hearing, count


@register("ctc")
class Ctc(Hearing):
    """Encoder and CTC head on transcripts. Our addition to the paper's recipe."""

    parts = ("encoder", "ctc_head")
    prompted = False

    @dataclasses.dataclass(frozen=True)
    class Options:
        """None."""

    def weigh(self, batch, rng):
        """Tokens of the examples whose frames have room."""
        return {"ctc": count(self.ctc_tokens(batch, rng) * batch.ids_length)}

    def loss(self, model, batch, weights, rng):
        """CTC per token."""
        x, frames = self.encode(model, batch, rng)
        loss = self.ctc_loss(model.ctc_head(x), frames, batch, weights, rng)
        return loss, {"loss": loss}
