"""Stages `sft` and `context_sft`: supervised fine-tuning as in the paper."""

import dataclasses

from seedasr_jax import config
from seedasr_jax.errors import ConfigError
from seedasr_jax.train.objectives import shared
from seedasr_jax.train.objectives.registry import register
from seedasr_jax.train.objectives.shared import count


@register("sft")
class Sft(shared.Acoustic):
    """Cross-entropy of the transcript given instruction and speech (Seed-ASR section 3.3)."""

    @dataclasses.dataclass(frozen=True)
    class Options:
        """`ctc_weight`: weight of the auxiliary CTC loss, our addition; 0 in the paper."""

        ctc_weight: float = config.at_least(0)

    @classmethod
    def ask(cls, stage, options):
        aligned = options.ctc_weight > 0
        parts = shared.recogniser_parts(stage, aligned)
        return shared.Needs(parts, prompted=True, aligned=aligned)

    def weigh(self, batch, rng):
        """Utterances; transcript tokens with end tokens; with CTC, `ctc_weights`."""
        weights = {"utterances": count(batch.weight)}
        if self.needs.aligned:
            weights = self.ctc_weights(batch, rng)
        return weights | {"text": count(batch.weight * (batch.ids_length + 1))}

    def loss(self, model, batch, weights, rng):
        prefix, ctc_logits, frames = self.prefix(model, batch, rng)
        token_weights = shared.text_weights(batch, self.tokens.eos)
        nll, routing = shared.text_loss(model, prefix, batch, token_weights)
        total = text = nll / weights["text"]
        terms = {"loss": text}
        if self.options.ctc_weight:
            aligned = self.ctc_loss(ctc_logits, frames, batch, weights, rng)
            total = text + self.options.ctc_weight * aligned
            terms = {"loss": total, "text": text, "ctc": aligned}
        shares = batch.weight / weights["utterances"]
        return shared.with_routers(total, terms, routing, self.stage, shares)


@register("context_sft")
class ContextSft(Sft):
    """SFT on <context, speech, text> mixed with plain utterances (Seed-ASR section 3.4)."""

    @classmethod
    def ask(cls, stage, options):
        if not stage.data.contexts.tokens:
            raise ConfigError(
                "stage kind 'context_sft': expected data.contexts.tokens > 0, such as 48, found 0"
            )
        return super().ask(stage, options)
