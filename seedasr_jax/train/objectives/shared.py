"""Shared code of objectives: keys per example, counts, augmented audio, the loss of the text.

Dims: B batch, T frames, L tokens, V vocabulary.
"""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seedasr_jax import shapes
from seedasr_jax.audio import masking, perturb
from seedasr_jax.batch import Batch
from seedasr_jax.losses.cross_entropy import weighted
from seedasr_jax.losses.ctc import ctc, feasible
from seedasr_jax.models import acllm, encoders, names
from seedasr_jax.models.acllm import AcLLM
from seedasr_jax.models.clock import Clock

PERTURB, MASK, DROPOUT, TEXT, ROLLOUT, SPANS, NOISE = range(7)  # streams of a step's rng

ENOUGH = 32  # minimum number of examples of which a share is reported
UNALIGNED = 0.01  # share of examples that CTC may leave out without a warning
UNALIGNED_WARNING = (
    "CTC leaves out {percent:.0f} % of {examples:.0f} utterances, which have fewer frames than"
    " tokens at the tempo drawn: set augment.tempo and augment.speed closer to 1, or raise"
    " vocab.size for fewer tokens"
)


def per_example(rng, stream, position):
    """[B] keys, one per example, from one of the step's streams."""
    rng = jax.random.fold_in(rng, stream)
    return jax.vmap(jax.random.fold_in, (None, 0))(rng, position)


def count(tokens):
    """The number of tokens, at least 1, as a weight to divide by."""
    return jnp.maximum(tokens.sum(), 1.0)


def share_warning(watched, counted, examples, most, warning):
    """Accumulates a share over logged steps and warns once if it is above `most`.

    Args:
        watched: returned by the previous call; None at the first.
        counted, examples: scalars, this step's examples that count for the share, and all.
        warning: text with {percent} and {examples}.

    Returns:
        `watched` for the next call, and the warning or "".
    """
    total, total_examples, warned = watched or (0.0, 0.0, False)
    total, total_examples = total + float(counted), total_examples + float(examples)
    warns = not warned and total_examples >= ENOUGH and total > most * total_examples
    line = ""
    if warns:
        line = warning.format(percent=100 * total / total_examples, examples=total_examples)
    return (total, total_examples, warned or warns), line


def recogniser_parts(stage, aligned=False) -> tuple[str, ...]:
    """Parts of an AcLLM; with a CTC head if it has a loss or the LLM's input depends on it."""
    read = names.CTC_HEAD in stage.model.variant.maker().reads(stage.model)
    head = (names.CTC_HEAD,) if aligned or read else ()
    return (names.ENCODER, *head, names.CONVERTER, names.DECODER)


def text_loss(model: AcLLM, prefix, batch: Batch, weights):
    """Sum of weights [B L+1] * nll of transcript and end token, and the decoder's Routing."""
    nll, routing = model.nll(prefix, batch.ids, batch.ids_length, weights)
    return weighted(nll, weights), routing


def with_routers(total, terms, routing, stage, shares):
    """Adds the losses and terms of the decoder's routers, if it has experts.

    A router's losses are averaged over an example's tokens, then over layers and, with weights
    `shares` [B] of the global batch, over examples. Those of a frozen decoder are only reported.
    """
    if routing is None:
        return total, terms
    moe = stage.model.decoder.moe

    def mean(x):  # over examples, weighted: [L B ...] -> [L ...]
        weights = shapes.align_left(shares, x[0])[None]
        return jnp.where(weights > 0, weights * x, 0).sum(1)

    balance, z = mean(routing.balance).mean(), mean(routing.z).mean()
    if names.DECODER in stage.trains:
        total = total + moe.balance * balance + moe.z * z
    routers = {"balance": balance, "z": z, "load": mean(routing.load)}
    return total, terms | {"loss": total, "experts": routers}


def text_weights(batch, eos):
    """[B L+1]: each example's weight at its tokens and the end token, 0 at padding."""
    _, valid = acllm.targets(batch.ids, batch.ids_length, eos)
    return valid * batch.weight[:, None]


@dataclasses.dataclass(frozen=True)
class Needs:
    """Requirements of an objective, known from the stage's config before anything is built."""

    parts: tuple[str, ...]  # parts of the model, in the order in which they are drawn
    consults: tuple[str, ...] = ()  # keys of `init` that are not parts: stages whose result is read
    reads: bool = True  # the loss depends on transcripts
    prompted: bool = False  # the instruction and, by data.contexts, a context are read
    aligned: bool = False  # it has a CTC loss
    hypotheses: int = 0  # number per utterance that a rollout adds to the batch
    # (utterances, bucket) -> shapes of Batch.extra; None: it is not read
    extra: Callable[[int, tuple[float, int, int]], Any] | None = None
    drawn: tuple[str, ...] = ()  # parts that never train: drawn once if fresh, saved with the stage
    apart: bool = False  # layers are optimised separately, see optim.make


class Objective:
    """Base of all objectives; everything but `ask`, `weigh` and `loss` has a default."""

    conventions = None  # Conventions for counting errors; None: it counts none

    @dataclasses.dataclass(frozen=True)
    class Options:
        """The keys of `stages.NAME.objective`: by default none."""

    def __init__(self, stage, tokens, vocabulary, options):
        """Arguments as of `registry.make`; `options` is an instance of `Options`."""
        self.stage, self.tokens, self.vocabulary, self.options = stage, tokens, vocabulary, options
        self.needs = self.ask(stage, options)

    @classmethod
    def ask(cls, stage, options) -> Needs:
        """The Needs of a stage of this kind; a ConfigError if its settings are not supported."""
        raise NotImplementedError(f"{cls.__name__}.ask")

    def summary(self, terms: dict) -> dict:
        """The terms of a step as scalars to log; a UserError if further training is pointless."""
        if "experts" not in terms:
            return terms
        load = np.asarray(terms["experts"]["load"]) * terms["experts"]["load"].shape[1]  # 1: even
        shares = {f"{expert:03}": share for expert, share in enumerate(load.mean(0))}
        routers = {"load": shares, "load_max": load.max(), "load_min": load.min()}
        return terms | {"experts": terms["experts"] | routers}

    def watch(self, watched, terms: dict):
        """Warns about logged steps: (`watched` for the next call, a line for the log or "").

        `watched` is None at the first call; `terms` are as `summary` returns them.
        """
        return watched, ""

    def filler(self, vocab):
        """(Batch, its rows, bucket, step) -> Batch with `extra`, on the host; None: not needed."""
        return None

    def rollout(self, graphdef, mesh):
        """The program (decode/program.py) that `prepare` runs and a plan compiles; None: none."""
        return None

    def prepare(self, graphdef, mesh, vocab):
        """(state, Batch, rows) -> the Batch to train on; by default unchanged."""
        return lambda state, batch, rows: batch


class Acoustic(Objective):
    """Base of objectives on audio: waves to encoder frames, with augmentation."""

    def channel(self, batch: Batch, rng):
        """Each example's perturbation, the same in `weigh` and in `loss`; None if all are off."""
        if not self.stage.augment.perturbs:
            return None
        stream = jax.random.fold_in(rng, PERTURB)
        return perturb.draw(stream, batch.position, self.stage.augment)

    @functools.cached_property
    def clock(self) -> Clock:
        return encoders.clock(self.stage.model)

    def features(self, encoder, batch: Batch, rng):
        """Perturbed waves to an encoder's features [B T F], and [B] number of valid ones."""
        length = jnp.where(batch.weight > 0, batch.wave_length, 0)  # a bad row counts as empty
        return encoder.frontend(batch.wave, length, self.channel(batch, rng))

    def masked(self, features, count, batch: Batch, rng):
        """Applies SpecAugment to features [B T F], of which count [B] are valid."""
        stream = jax.random.fold_in(rng, MASK)
        return masking.spec_augment(features, count, stream, batch.position, self.stage.augment)

    def encode(self, model: AcLLM, batch: Batch, rng):
        """Waves to encoder frames [B T D], and [B] number of valid ones."""
        return model.encoder(*self.encoder_inputs(model.encoder, batch, rng))

    def encoder_inputs(self, encoder, batch: Batch, rng):
        """Features [B T F], [B] number of valid ones, [B] dropout keys."""
        features, count = self.features(encoder, batch, rng)
        features = self.masked(features, count, batch, rng)
        return features, count, per_example(rng, DROPOUT, batch.position)

    def frames(self, batch: Batch, rng, clock: Clock | None = None):
        """[B] number of valid frames of the encoder, or of another clock, from lengths alone."""
        clock, channel = clock or self.clock, self.channel(batch, rng)
        tempo = 1.0 if channel is None else channel.tempo
        found = clock.frames(batch.wave_length, tempo)
        return jnp.minimum(found, clock.buffer(batch.wave.shape[1]))

    def most_frames(self, samples: int) -> int:
        """Number of encoder frames of a wave at the slowest tempo that may be drawn."""
        return self.clock.frames(samples, self.stage.augment.slowest)

    def ctc_tokens(self, batch: Batch, rng):
        """[B] weight of each example's CTC loss: 0 if its frames are too few for its tokens."""
        frames = self.frames(batch, rng)
        return batch.weight * feasible(batch.ids, batch.ids_length, frames)

    def prefix(self, model: AcLLM, batch: Batch, rng):
        """The LLM's input before the transcript, CTC logits [B T V] or None, [B] valid frames."""
        x, frames = self.encode(model, batch, rng)
        ctc_logits = model.ctc_head(x) if names.CTC_HEAD in model.parts else None
        return model.prefix(batch, model.convert(x, frames, ctc_logits)), ctc_logits, frames

    def ctc_weights(self, batch: Batch, rng):
        """`ctc`: tokens with a CTC loss; `unaligned`: examples of `utterances` without one."""
        aligned = self.ctc_tokens(batch, rng)
        return {
            "ctc": count(aligned * batch.ids_length),
            "unaligned": jnp.where(batch.ids_length > 0, batch.weight - aligned, 0).sum(),
            "utterances": count(batch.weight),
        }

    def watch(self, watched, terms):
        """Warns once if CTC leaves out a larger share of examples than UNALIGNED."""
        if not self.needs.aligned:
            return watched, ""
        found = terms["weights"]
        counts = found["unaligned"], found["utterances"]
        return share_warning(watched, *counts, UNALIGNED, UNALIGNED_WARNING)

    def ctc_loss(self, logits, frames, batch, weights, rng):
        """CTC loss per token of the global batch."""
        tokens = self.ctc_tokens(batch, rng)
        total = ctc(logits, frames, batch.ids, batch.ids_length, tokens, self.tokens.pad)
        return total / weights["ctc"]
