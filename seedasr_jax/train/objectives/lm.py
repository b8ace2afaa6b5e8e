"""Stage `lm`: text pretraining of a decoder."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from seedasr_jax import config
from seedasr_jax.models import names
from seedasr_jax.models.acllm import Speech
from seedasr_jax.train import copying, lists
from seedasr_jax.train.objectives.registry import register
from seedasr_jax.train.objectives.shared import (
    TEXT,
    Needs,
    Objective,
    count,
    per_example,
    text_loss,
    text_weights,
    with_routers,
)


@register("lm")
class Lm(Objective):
    """Text pretraining of a decoder.

    With `copy`, ours: to read slots as an encoder gives them, and lists of names as data.contexts
    has them (train/copying.py, train/lists.py).
    """

    @dataclasses.dataclass(frozen=True)
    class Options:
        """`copy`: transcripts, half of them random, are read from slots.

        `tail`: blank slots behind the last token, at most. `sustained`: tokens have all slots of
        their sound, as of a CTC head that learned from labels of frames.
        """

        copy: bool
        tail: int = config.at_least(0)
        sustained: bool

    def __init__(self, stage, tokens, vocabulary, options):
        super().__init__(stage, tokens, vocabulary, options)
        special = (tokens.pad, tokens.start, *tokens.ends)
        self.pieces = np.array([i for i in range(vocabulary) if i not in special], np.int32)
        self.alike = lists.alike(tokens.spelled) if options.copy else None

    @classmethod
    def ask(cls, stage, options):
        """The instruction where there are slots, which stand where speech will."""
        del stage
        return Needs((names.DECODER,), prompted=options.copy)

    def weigh(self, batch, rng):
        """Utterances; tokens with the end token, by what they weigh."""
        text = count(self.importance(self.written(batch, rng)))
        return {"utterances": count(batch.weight), "text": text}

    def loss(self, model, batch, weights, rng):
        """Nll per token, each weighted by its importance."""
        batch = self.written(batch, rng)
        if not self.options.copy:
            prefix = model.nothing(len(batch.weight))
        else:
            prefix = model.prefix(batch, self.slots(model, batch, rng))
        importance = self.importance(batch)
        nll, routing = text_loss(model, prefix, batch, importance)
        text, shares = nll / weights["text"], batch.weight / weights["utterances"]
        return with_routers(text, {"loss": text}, routing, self.stage, shares)

    def importance(self, batch):
        """[B L+1] what each token and the end token weigh; 0 at padding."""
        weight = text_weights(batch, self.tokens.eos)
        if not (self.options.copy and batch.context.shape[1]):
            return weight
        lengths = batch.context_length
        listed = lists.in_lists(batch.ids, batch.context, lengths, self.tokens.separator)
        return weight * jnp.where(jnp.pad(listed, ((0, 0), (0, 1))), lists.EMPHASIS, 1.0)

    def written(self, batch, rng):
        """The batch with the transcripts and contexts that are learned from: the same in both."""
        if not self.options.copy:
            return batch
        keys = per_example(rng, TEXT, batch.position)
        ids = copying.random_targets(batch.ids, batch.ids_length, keys, self.pieces)
        if not batch.context.shape[1]:
            return dataclasses.replace(batch, ids=ids)
        listed, length, context = lists.listed_targets(
            *(batch.ids, batch.ids_length, batch.context, batch.context_length),
            *(keys, self.tokens.separator, batch.progress),
        )
        ids = jnp.where(batch.context_length[:, None] > 0, listed, ids)
        return dataclasses.replace(batch, ids=ids, ids_length=length, context=context)

    def slots(self, model, batch, rng) -> Speech:
        """The transcripts as an encoder might have heard them."""
        keys = per_example(rng, TEXT, batch.position)
        said, length = batch.ids, batch.ids_length
        if batch.context.shape[1]:
            said, length = lists.doubted_slots(
                *(said, length, batch.context, batch.context_length, keys),
                *(self.tokens.separator, self.pieces, self.alike),
            )
        table = model.decoder.pieces(jnp.arange(self.vocabulary))
        blank = self.tokens.pad
        options = (self.options.tail, self.options.sustained)
        slots, length, clock = copying.copy_slots(said, length, keys, table, blank, *options)
        return Speech(slots, length, clock if model.clocked else None)
