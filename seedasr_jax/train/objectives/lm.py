"""Stage `lm`: text pretraining of a decoder."""

from seedasr_jax.models import names
from seedasr_jax.train.objectives import shared
from seedasr_jax.train.objectives.registry import register
from seedasr_jax.train.objectives.shared import count


@register("lm")
class Lm(shared.Objective):
    """Nll per token of text, end tokens included."""

    @classmethod
    def ask(cls, stage, options):
        return shared.Needs((names.DECODER,))

    def weigh(self, batch, rng):
        text = count(shared.text_weights(batch, self.tokens.eos))
        return {"utterances": count(batch.weight), "text": text}

    def loss(self, model, batch, weights, rng):
        prefix = model.empty_prefix(len(batch.weight))
        importance = shared.text_weights(batch, self.tokens.eos)
        return self.of_text(model, prefix, batch, importance, weights)

    def of_text(self, model, prefix, batch, importance, weights):
        """Nll per token after a prefix, each weighted by its importance [B L+1]."""
        nll, routing = shared.text_loss(model, prefix, batch, importance)
        text, shares = nll / weights["text"], batch.weight / weights["utterances"]
        return shared.with_routers(text, {"loss": text}, routing, self.stage, shares)
