"""Stage `copying_lm`: text pretraining of a small decoder that also learns to read its input.

The input imitates an encoder's slots (copying.py) and lists of names of data.contexts (lists.py).
"""

import dataclasses

import jax.numpy as jnp
import numpy as np

from seedasr_jax import config
from seedasr_jax.errors import ConfigError
from seedasr_jax.models.acllm import Speech
from seedasr_jax.small.models.acllm import ClockedSpeech
from seedasr_jax.small.models.parts import texts
from seedasr_jax.small.objectives import copying, lists, times
from seedasr_jax.text import prompts
from seedasr_jax.train.objectives import register
from seedasr_jax.train.objectives.lm import Lm
from seedasr_jax.train.objectives.shared import TEXT, count, per_example, text_weights


@register("copying_lm")
class CopyingLm(Lm):
    """Next-token prediction of transcripts, half of them random, that are given as slots."""

    @dataclasses.dataclass(frozen=True)
    class Options:
        """How slots are made: see copying.copy_slots."""

        tail: int = config.at_least(0)
        sustained: bool

    def __init__(self, stage, tokens, vocabulary, options):
        super().__init__(stage, tokens, vocabulary, options)
        special = (tokens.pad, tokens.start, tokens.eos)
        self.pieces = np.array([i for i in range(vocabulary) if i not in special], np.int32)
        separators = tokens.vocab.encode(prompts.SEPARATOR.strip()) if tokens.vocab else ()
        self.separator = separators[-1] if separators else -1
        compared = vocabulary <= lists.COMPARED  # else no piece is spelled
        self.alike = lists.alike(texts(tokens.vocab)) if compared else None

    @classmethod
    def ask(cls, stage, options):
        """Adds the prompt, which slots follow as speech will, and the stage's progress."""
        if stage.model.variant.kind != "small":
            raise ConfigError(
                f"stage kind 'copying_lm': expected model.variant of kind 'small', found"
                f" {stage.model.variant.kind!r}"
            )
        needs = super().ask(stage, options)
        return dataclasses.replace(needs, prompted=True, extra=times.progress_shapes)

    def filler(self, vocab):
        """The function that fills in the Progress of a batch."""
        del vocab
        return times.progress_filler(self.stage.steps)

    def weigh(self, batch, rng):
        """Number of utterances; total importance of tokens and end tokens."""
        text = count(self.importance(self.written(batch, rng)))
        return {"utterances": count(batch.weight), "text": text}

    def loss(self, model, batch, weights, rng):
        """Nll per token, each weighted by its importance."""
        batch = self.written(batch, rng)
        prefix = model.prefix(batch, self.slots(model, batch, rng))
        return self.of_text(model, prefix, batch, self.importance(batch), weights)

    def importance(self, batch):
        """[B L+1] loss weights of the tokens and the end token; 0 at padding."""
        weight = text_weights(batch, self.tokens.eos)
        if not batch.context.shape[1]:
            return weight
        lengths = batch.context_length
        in_list = lists.in_lists(batch.ids, batch.context, lengths, self.separator)
        return weight * jnp.where(jnp.pad(in_list, ((0, 0), (0, 1))), lists.EMPHASIS, 1.0)

    def written(self, batch, rng):
        """The batch with generated transcripts and contexts, the same in `weigh` and `loss`."""
        keys = per_example(rng, TEXT, batch.position)
        ids = copying.random_targets(batch.ids, batch.ids_length, keys, self.pieces)
        if not batch.context.shape[1]:
            return dataclasses.replace(batch, ids=ids)
        from_lists, length, context = lists.listed_targets(
            *(batch.ids, batch.ids_length, batch.context, batch.context_length),
            *(keys, self.separator, batch.extra.progress),
        )
        ids = jnp.where(batch.context_length[:, None] > 0, from_lists, ids)
        return dataclasses.replace(batch, ids=ids, ids_length=length, context=context)

    def slots(self, model, batch, rng) -> Speech:
        """Slots that imitate an encoder's output for the transcripts."""
        keys = per_example(rng, TEXT, batch.position)
        ids, length = batch.ids, batch.ids_length
        if batch.context.shape[1]:
            ids, length = lists.misrecognised(
                *(ids, length, batch.context, batch.context_length, keys),
                *(self.separator, self.pieces, self.alike),
            )
        table = model.decoder.pieces(jnp.arange(self.vocabulary))
        options = self.tokens.pad, self.options.tail, self.options.sustained
        slots, length, clock = copying.copy_slots(ids, length, keys, table, *options)
        if not model.config.variant.clocked:
            return Speech(slots, length)
        return ClockedSpeech(slots, length, clock)
