"""Objectives: what a stage minimises. A stage changes the objective, never the path.

Dims: B batch, T frames, L tokens, V vocabulary.

An objective has `parts`, the modules that it needs, `prompted`, whether it reads the instruction,
and two pure functions: `weigh(batch, rng)` gives each term's weight from the batch and the step's
rng alone, and `loss(model, batch, weights, rng)` returns the total and the terms, sums divided by
those weights.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from seedasr_jax import config
from seedasr_jax.audio import logmel, masking, perturb
from seedasr_jax.batch import Batch
from seedasr_jax.errors import ConfigError, nearest
from seedasr_jax.losses.cross_entropy import cross_entropy
from seedasr_jax.losses.ctc import ctc, feasible
from seedasr_jax.models import acllm, small
from seedasr_jax.models.acllm import AcLLM, Speech

_PERTURB, _MASK, _DROPOUT, _TEXT = range(4)  # streams of a step's rng

_OBJECTIVES = {}


def register(kind):
    """Decorator: makes an objective class known as a stage kind (also from `config.imports`)."""

    def add(cls):
        _OBJECTIVES[kind] = cls
        return cls

    return add


def make(stage: config.Stage, tokens: acllm.Tokens, vocabulary: int):
    """The objective of a stage, its options checked against the class's fields.

    Raises:
        ConfigError: an unknown kind, an unknown or missing option, or one of another type.
    """
    if stage.kind not in _OBJECTIVES:
        raise ConfigError(
            f"stage kind {stage.kind!r} is not known.{nearest(stage.kind, _OBJECTIVES)}"
        )
    cls = _OBJECTIVES[stage.kind]
    options = config.build(dict(stage.objective), cls.Options, "objective")
    return cls(stage, tokens, vocabulary, options)


def per_example(rng, stream, position):
    """[B] keys, one per example, of one of the step's streams."""
    rng = jax.random.fold_in(rng, stream)
    return jax.vmap(jax.random.fold_in, (None, 0))(rng, position)


class Hearing:
    """What the objectives that hear audio share: waves to encoder frames, as in training."""

    def __init__(self, stage, tokens, vocabulary, options):
        self.stage, self.tokens, self.options = stage, tokens, options
        del vocabulary

    def channel(self, batch: Batch, rng):
        """The channel of each example: the same in `weigh` and in `loss`."""
        stream = jax.random.fold_in(rng, _PERTURB)
        return perturb.draw(stream, batch.position, self.stage.augment)

    def encode(self, model: AcLLM, batch: Batch, rng):
        """Waves to encoder frames [B T D] and [B] real ones."""
        features = self.stage.model.features
        length = jnp.where(batch.weight > 0, batch.wave_length, 0)  # whatever a bad row holds
        mel, count = logmel.log_mel(batch.wave, length, features, self.channel(batch, rng))
        stream = jax.random.fold_in(rng, _MASK)
        mel = masking.spec_augment(mel, count, stream, batch.position, self.stage.augment)
        return model.encoder(mel, count, per_example(rng, _DROPOUT, batch.position))

    def ctc_tokens(self, batch: Batch, rng):
        """[B] weight of each example's CTC: 0 where its frames have no room for its tokens."""
        channel = self.channel(batch, rng)
        tempo = 1.0 if channel is None else channel.tempo
        size = batch.wave.shape[1] // logmel.HOP
        frames = jnp.minimum(logmel.num_frames(batch.wave_length, tempo), size)
        frames = -(-frames // self.stage.model.encoder.subsampling)
        return batch.weight * feasible(batch.ids, batch.ids_length, frames)

    def ctc_loss(self, logits, frames, batch, weights, rng):
        """CTC in nats per token of the global batch."""
        tokens = self.ctc_tokens(batch, rng)
        total = ctc(logits, frames, batch.ids, batch.ids_length, tokens, self.tokens.pad)
        return total / weights["ctc"]


def _count(tokens):
    return jnp.maximum(tokens.sum(), 1.0)


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
        return {"ctc": _count(self.ctc_tokens(batch, rng) * batch.ids_length)}

    def loss(self, model, batch, weights, rng):
        """CTC per token."""
        x, frames = self.encode(model, batch, rng)
        loss = self.ctc_loss(model.ctc_head(x), frames, batch, weights, rng)
        return loss, {"loss": loss}


@register("sft")
class Sft(Hearing):
    """Cross-entropy of the transcript given instruction and speech (Seed-ASR section 3.3)."""

    prompted = True

    @dataclasses.dataclass(frozen=True)
    class Options:
        """`ctc_weight`: of the auxiliary CTC loss, ours; 0 in the paper's form."""

        ctc_weight: float

    @property
    def parts(self):
        """The CTC head only where it sets the clock or has a loss."""
        clocked = self.stage.model.small.speech_positions == "ctc_onsets"
        head = ("ctc_head",) if clocked or self.options.ctc_weight else ()
        return ("encoder", *head, "converter", "decoder")

    def weigh(self, batch, rng):
        """Transcript tokens with the end token; CTC's tokens."""
        weights = {"text": _count(batch.weight * (batch.ids_length + 1))}
        if self.options.ctc_weight:
            weights["ctc"] = _count(self.ctc_tokens(batch, rng) * batch.ids_length)
        return weights

    def loss(self, model, batch, weights, rng):
        """Nats per token."""
        x, frames = self.encode(model, batch, rng)
        ctc_logits = None if model.ctc_head is None else model.ctc_head(x)
        prefix = model.prefix(batch, model.convert(x, frames, ctc_logits))
        logits = model.transcribe_forced(prefix, batch.ids, batch.ids_length)
        text = _text_loss(logits, batch, self.tokens.eos) / weights["text"]
        if not self.options.ctc_weight:
            return text, {"loss": text}
        aligned = self.ctc_loss(ctc_logits, frames, batch, weights, rng)
        total = text + self.options.ctc_weight * aligned
        return total, {"loss": total, "text": text, "ctc": aligned}


def _text_loss(logits, batch, eos):
    """Sum of nats of transcript and end token, by the examples' weights."""
    wanted, real = acllm.targets(batch.ids, batch.ids_length, eos)
    return cross_entropy(logits, wanted, real * batch.weight[:, None])


@register("lm")
class Lm:
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
        return {"text": _count(batch.weight * (batch.ids_length + 1))}

    def loss(self, model, batch, weights, rng):
        """Nats per token."""
        if not self.options.copy:
            logits = model.language_model(batch.ids, batch.ids_length)
        else:
            keys = per_example(rng, _TEXT, batch.position)
            ids = small.random_targets(batch.ids, batch.ids_length, keys, self.pieces)
            batch = dataclasses.replace(batch, ids=ids)
            table = model.decoder.embed_tokens(jnp.arange(self.vocabulary))
            blank = self.tokens.pad
            slots, length, clock = small.copy_slots(ids, batch.ids_length, keys, table, blank)
            speech = Speech(slots, length, clock if model.clocked else None)
            prefix = model.prefix(batch, speech)
            logits = model.transcribe_forced(prefix, ids, batch.ids_length)
        loss = _text_loss(logits, batch, self.tokens.eos) / weights["text"]
        return loss, {"loss": loss}
