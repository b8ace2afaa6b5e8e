"""Stage `lm`: text pretraining of a decoder."""

import dataclasses

from seedasr_jax.models import names
from seedasr_jax.train.objectives.registry import register
from seedasr_jax.train.objectives.shared import (
    Needs,
    Objective,
    count,
    text_loss,
    text_weights,
    with_routers,
)


@register("lm")
class Lm(Objective):
    """Text pretraining of a decoder."""

    @dataclasses.dataclass(frozen=True)
    class Options:
        """No options."""

    @classmethod
    def ask(cls, stage, options):
        """The decoder alone."""
        del stage, options
        return Needs((names.DECODER,))

    def weigh(self, batch, rng):
        """Numbers of utterances, and of tokens with end tokens."""
        del rng
        text = count(text_weights(batch, self.tokens.eos))
        return {"utterances": count(batch.weight), "text": text}

    def loss(self, model, batch, weights, rng):
        """Nll per token."""
        del rng
        prefix = model.empty_prefix(len(batch.weight))
        importance = text_weights(batch, self.tokens.eos)
        return self.of_text(model, prefix, batch, importance, weights)

    def of_text(self, model, prefix, batch, importance, weights):
        """Nll per token after a prefix, each weighted by its importance [B L+1]."""
        nll, routing = text_loss(model, prefix, batch, importance)
        text, shares = nll / weights["text"], batch.weight / weights["utterances"]
        return with_routers(text, {"loss": text}, routing, self.stage, shares)
