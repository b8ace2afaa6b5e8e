"""Stages `sft` and `context_sft`: supervised fine-tuning as in the paper."""

import dataclasses

from seedasr_jax import config
from seedasr_jax.errors import ConfigError
from seedasr_jax.models import names
from seedasr_jax.train.objectives.registry import register
from seedasr_jax.train.objectives.shared import (
    Acoustic,
    Needs,
    count,
    recogniser_parts,
    text_loss,
    text_weights,
    with_routers,
)


@register("sft")
class Sft(Acoustic):
    """Cross-entropy of the transcript given instruction and speech (Seed-ASR section 3.3)."""

    @dataclasses.dataclass(frozen=True)
    class Options:
        """`ctc_weight`: weight of the auxiliary CTC loss, our addition; 0 in the paper."""

        ctc_weight: float = config.at_least(0)

    @classmethod
    def ask(cls, stage, options):
        """With a CTC head only if it has a loss or the LLM's input depends on it."""
        aligned = options.ctc_weight > 0
        return Needs(recogniser_parts(stage, aligned), prompted=True, aligned=aligned)

    def weigh(self, batch, rng):
        """Utterances; transcript tokens with end tokens; with CTC, `Acoustic.ctc_weights`."""
        weights = {"utterances": count(batch.weight)}
        if self.needs.aligned:
            weights = self.ctc_weights(batch, rng)
        return weights | {"text": count(batch.weight * (batch.ids_length + 1))}

    def loss(self, model, batch, weights, rng):
        """Nll per token."""
        x, frames = self.encode(model, batch, rng)
        ctc_logits = model.ctc_head(x) if names.CTC_HEAD in model.parts else None
        prefix = model.prefix(batch, model.convert(x, frames, ctc_logits))
        wanted = text_weights(batch, self.tokens.eos)
        nll, routing = text_loss(model, prefix, batch, wanted)
        total = text = nll / weights["text"]
        terms = {"loss": text}
        if self.options.ctc_weight:
            aligned = self.ctc_loss(ctc_logits, frames, batch, weights, rng)
            total = text + self.options.ctc_weight * aligned
            terms = {"loss": total, "text": text, "ctc": aligned}
        return with_routers(total, terms, routing, self.stage, batch.weight / weights["utterances"])


@register("context_sft")
class ContextSft(Sft):
    """SFT on <context, speech, text> mixed with plain utterances (Seed-ASR section 3.4)."""

    @classmethod
    def ask(cls, stage, options):
        """As of `sft`; data.contexts.tokens must be above 0."""
        if not stage.data.contexts.tokens:
            raise ConfigError(
                "stage kind 'context_sft' needs data.contexts.tokens above 0, found 0: room for a"
                " context, such as 48"
            )
        return super().ask(stage, options)
