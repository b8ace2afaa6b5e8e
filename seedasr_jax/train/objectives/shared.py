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

JUDGED = 32  # minimum number of examples of which a share is reported
UNALIGNED = 0.01  # share of examples that CTC may leave out without a warning


def per_example(rng, stream, position):
    """[B] keys, one per example, from one of the step's streams."""
    rng = jax.random.fold_in(rng, stream)
    return jax.vmap(jax.random.fold_in, (None, 0))(rng, position)


def count(tokens):
    """The number of tokens, at least 1, as a weight to divide by."""
    return jnp.maximum(tokens.sum(), 1.0)


def judged(seen, part, whole, most):
    """Accumulates a share over logged steps and reports it once if it is above `most`.

    Args:
        seen: first result of the previous call; None at the first.
        part, whole: scalars, this step's examples that count for the share, and all.
        most: largest share that is not reported.

    Returns:
        `seen` for the next call, and (share, examples) if it is reported now, else None.
    """
    parts, wholes, said = (0.0, 0.0, False) if seen is None else seen
    parts, wholes = parts + float(part), wholes + float(whole)
    over = not said and wholes >= JUDGED and parts > most * wholes
    return (parts, wholes, said or over), (parts / wholes, wholes) if over else None


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

    def mean(x):
        """Weighted mean over examples: [L B ...] -> [L ...]."""
        shared = shapes.align_left(shares, x[0])[None]
        return jnp.where(shared > 0, shared * x, 0).sum(1)

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

    def __init__(self, stage, tokens, vocabulary, options):
        """Arguments as of `registry.make`; `options` is an instance of `Options`."""
        self.stage, self.tokens, self.vocabulary, self.options = stage, tokens, vocabulary, options
        self.needs = self.ask(stage, options)

    @classmethod
    def ask(cls, stage, options) -> Needs:
        """The Needs of a stage of this kind.

        Raises:
            ConfigError: the objective does not support settings of the stage.
        """
        raise NotImplementedError(f"{cls.__name__}.ask")

    def summary(self, terms: dict) -> dict:
        """The terms of a step as scalars to log.

        Raises:
            UserError: further training is pointless; states the reason.
        """
        if "experts" not in terms:
            return terms
        load = np.asarray(terms["experts"]["load"]) * terms["experts"]["load"].shape[1]  # 1: even
        shares = {f"{expert:03}": share for expert, share in enumerate(load.mean(0))}
        routers = {"load": shares, "load_max": load.max(), "load_min": load.min()}
        return terms | {"experts": terms["experts"] | routers}

    def watch(self, seen, terms: dict):
        """Warns about the steps that were logged.

        Args:
            seen: first result of the previous call; None at the first.
            terms: terms of this step, as `summary` returns them.

        Returns:
            `seen` for the next call, and a line for the log, or "".
        """
        return seen, ""

    def filler(self, vocab):
        """Fills in Batch.extra on the host: (Batch, its rows, bucket, step) -> Batch.

        None: it is empty, or `prepare` fills it in.
        """
        del vocab
        return None

    def rollout(self, graphdef, mesh):
        """The program (decode/program.py) that decodes hypotheses of a batch before its step.

        `prepare` runs it and a plan compiles it; None: the stage has none.
        """
        return None

    def prepare(self, graphdef, mesh, vocab):
        """(state, Batch, rows) -> the Batch to train on; by default unchanged."""
        return lambda state, batch, rows: batch


class Acoustic(Objective):
    """Base of objectives on audio: waves to encoder frames, with augmentation."""

    def channel(self, batch: Batch, rng):
        """The perturbation drawn for each example: the same in `weigh` and in `loss`."""
        stream = jax.random.fold_in(rng, PERTURB)
        return perturb.draw(stream, batch.position, self.stage.augment)

    @functools.cached_property
    def clock(self) -> Clock:
        """The clock of the encoder's frames."""
        return encoders.clock(self.stage.model)

    def features(self, encoder, batch: Batch, rng):
        """Perturbed waves to an encoder's features [B T F], and [B] number of valid ones."""
        length = jnp.where(batch.weight > 0, batch.wave_length, 0)  # a bad row counts as empty
        return encoder.features(batch.wave, length, self.channel(batch, rng))

    def masked(self, features, count, batch: Batch, rng):
        """Applies SpecAugment to features [B T F], of which count [B] are valid."""
        stream = jax.random.fold_in(rng, MASK)
        return masking.spec_augment(features, count, stream, batch.position, self.stage.augment)

    def encode(self, model: AcLLM, batch: Batch, rng):
        """Waves to encoder frames [B T D], and [B] number of valid ones."""
        return model.encoder(*self.encoder_inputs(model.encoder, batch, rng))

    def encoder_inputs(self, encoder, batch: Batch, rng):
        """Arguments of an encoder: features [B T F], [B] number of valid ones, [B] dropout keys."""
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

    def ctc_weights(self, batch: Batch, rng):
        """`ctc`: tokens with a CTC loss; `unaligned`: examples of `utterances` without one."""
        aligned = self.ctc_tokens(batch, rng)
        return {
            "ctc": count(aligned * batch.ids_length),
            "unaligned": jnp.where(batch.ids_length > 0, batch.weight - aligned, 0).sum(),
            "utterances": count(batch.weight),
        }

    def watch(self, seen, terms):
        """Warns once if CTC leaves out a larger share of examples than UNALIGNED."""
        if not self.needs.aligned:
            return seen, ""
        weights = terms["weights"]
        seen, found = judged(seen, weights["unaligned"], weights["utterances"], UNALIGNED)
        if not found:
            return seen, ""
        share, examples = found
        return seen, (
            f"CTC leaves out {100 * share:.0f} % of {examples:.0f} utterances, which at the tempo"
            " that was drawn have fewer frames than tokens: set augment.tempo and augment.speed"
            " nearer to 1, or vocab.size higher, for a text of fewer tokens"
        )

    def ctc_loss(self, logits, frames, batch, weights, rng):
        """CTC loss per token of the global batch."""
        tokens = self.ctc_tokens(batch, rng)
        total = ctc(logits, frames, batch.ids, batch.ids_length, tokens, self.tokens.pad)
        return total / weights["ctc"]
