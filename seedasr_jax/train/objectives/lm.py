"""Stage `lm`: text pretraining of a decoder."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from seedasr_jax.models import small
from seedasr_jax.models.acllm import Speech
from seedasr_jax.train.objectives.registry import register
from seedasr_jax.train.objectives.shared import TEXT, Objective, count, per_example, text_loss


@register("lm")
class Lm(Objective):
    """Text pretraining of a decoder. With `copy`, ours: to read slots as an encoder gives them."""

    parts = ("decoder",)

    @dataclasses.dataclass(frozen=True)
    class Options:
        """`copy`: transcripts, half of them random, are read from slots (models/small.py)."""

        copy: bool

    def __init__(self, stage, tokens, vocabulary, options):
        self.stage, self.tokens, self.vocabulary = stage, tokens, vocabulary
        self.options = options
        self.prompted = options.copy  # the slots stand where speech will
        special = (tokens.pad, tokens.start, tokens.eos)
        self.pieces = np.array([i for i in range(vocabulary) if i not in special], np.int32)

    def weigh(self, batch, rng):
        """Tokens with the end token."""
        del rng
        return {"text": count(batch.weight * (batch.ids_length + 1))}

    def loss(self, model, batch, weights, rng):
        """Nats per token."""
        if not self.options.copy:
            logits = model.language_model(batch.ids, batch.ids_length)
        else:
            keys = per_example(rng, TEXT, batch.position)
            ids = small.random_targets(batch.ids, batch.ids_length, keys, self.pieces)
            batch = dataclasses.replace(batch, ids=ids)
            table = model.decoder.pieces(jnp.arange(self.vocabulary))
            blank = self.tokens.pad
            slots, length, clock = small.copy_slots(ids, batch.ids_length, keys, table, blank)
            speech = Speech(slots, length, clock if model.clocked else None)
            prefix = model.prefix(batch, speech)
            logits = model.transcribe_forced(prefix, ids, batch.ids_length)
        loss = text_loss(logits, batch, self.tokens.eos) / weights["text"]
        return loss, {"loss": loss}
