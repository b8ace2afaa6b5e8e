"""What objectives share: keys per example, counts, hearing as in training, the text's loss.

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

JUDGED = 32  # examples that are counted before a share of them is judged
UNALIGNED = 0.01  # share of the examples that CTC may leave out; above, a line says so


def per_example(rng, stream, position):
    """[B] keys, one per example, of one of the step's streams."""
    rng = jax.random.fold_in(rng, stream)
    return jax.vmap(jax.random.fold_in, (None, 0))(rng, position)


def count(tokens):
    """A weight: the number of tokens, at least 1."""
    return jnp.maximum(tokens.sum(), 1.0)


def judged(seen, part, whole, most):
    """Counts over logged steps, and the share that is worth a line, once.

    Args:
        seen: what the call before returned; None at the first.
        part, whole: of this step's examples, scalars.
        most: share without a word.

    Returns:
        What the next call gets, and (share, examples) once it is above `most`; else None.
    """
    parts, wholes, said = (0.0, 0.0, False) if seen is None else seen
    parts, wholes = parts + float(part), wholes + float(whole)
    over = not said and wholes >= JUDGED and parts > most * wholes
    return (parts, wholes, said or over), (parts / wholes, wholes) if over else None


def recogniser_parts(stage, aligned=False) -> tuple[str, ...]:
    """Parts of an AcLLM; a CTC head where it has a loss or where the LLM's input depends on it."""
    read = names.CTC_HEAD in stage.model.variant.maker().reads(stage.model)
    head = (names.CTC_HEAD,) if aligned or read else ()
    return (names.ENCODER, *head, names.CONVERTER, names.DECODER)


def text_loss(model: AcLLM, prefix, batch: Batch, weights):
    """Sum of weights [B L+1] * nll of transcript and end token; and the decoder's Routing."""
    nll, routing = model.nll(prefix, batch.ids, batch.ids_length, weights)
    return weighted(nll, weights), routing


def with_routers(total, terms, routing, stage, shares):
    """A loss and its terms with those of the decoder's routers, where it has experts.

    A router's losses are means over an example's tokens, then over layers and, by `shares` [B] of
    the global batch, over examples. A frozen decoder's routers are reported and not minimised.
    """
    if routing is None:
        return total, terms
    moe = stage.model.decoder.moe

    def mean(x):
        """[L B ...] -> [L ...] over the examples."""
        shared = shapes.align_left(shares, x[0])[None]
        return jnp.where(shared > 0, shared * x, 0).sum(1)

    balance, z = mean(routing.balance).mean(), mean(routing.z).mean()
    if names.DECODER in stage.trains:
        total = total + moe.balance * balance + moe.z * z
    routers = {"balance": balance, "z": z, "load": mean(routing.load)}
    return total, terms | {"loss": total, "experts": routers}


def text_weights(batch, eos):
    """[B L+1]: an example's weight at its tokens and the end token, 0 behind."""
    _, real = acllm.targets(batch.ids, batch.ids_length, eos)
    return real * batch.weight[:, None]


@dataclasses.dataclass(frozen=True)
class Needs:
    """What an objective asks of a stage: known from its config, before anything is built."""

    parts: tuple[str, ...]  # of the model, in the order in which they are drawn
    consults: tuple[str, ...] = ()  # keys of `init` that are no part: stages whose result is read
    reads: bool = True  # transcripts are part of what is minimised
    prompted: bool = False  # the instruction and, by data.contexts, a context are read
    aligned: bool = False  # it learns by CTC
    hypotheses: int = 0  # per utterance, which a rollout adds to the batch
    # (utterances, bucket) -> shapes of Batch.extra; None: it reads nothing beside the fields
    extra: Callable[[int, tuple[float, int, int]], Any] | None = None
    drawn: tuple[str, ...] = ()  # parts that never train: drawn once where fresh, saved with it
    apart: bool = False  # the layers of what trains learn apart, see optim.make


class Objective:
    """Base of all objectives; everything but `ask`, `weigh` and `loss` has a default."""

    conventions = None  # of the languages whose errors it counts

    def __init__(self, stage, tokens, vocabulary, options):
        """Arguments as of `registry.make`, the options built."""
        self.stage, self.tokens, self.vocabulary, self.options = stage, tokens, vocabulary, options
        self.needs = self.ask(stage, options)

    @classmethod
    def ask(cls, stage, options) -> Needs:
        """What a stage of this kind needs.

        Raises:
            ConfigError: settings of the stage that the objective cannot work with.
        """
        raise NotImplementedError(f"{cls.__name__}.ask")

    def summary(self, terms: dict) -> dict:
        """The terms of a step as they are logged, scalars.

        Raises:
            UserError: the stage cannot learn anything any more; says why.
        """
        if "experts" not in terms:
            return terms
        load = np.asarray(terms["experts"]["load"]) * terms["experts"]["load"].shape[1]  # 1: even
        shares = {f"{expert:03}": share for expert, share in enumerate(load.mean(0))}
        routers = {"load": shares, "load_max": load.max(), "load_min": load.min()}
        return terms | {"experts": terms["experts"] | routers}

    def watch(self, seen, terms: dict):
        """What is to be said of the steps that were logged.

        Args:
            seen: what the call before returned; None at the first.
            terms: of this step, as `summary` gives them.

        Returns:
            What the next call gets, and a line for people, or "".
        """
        return seen, ""

    def filler(self, vocab):
        """What fills in Batch.extra on the host: (Batch, its rows, bucket, step) -> Batch; None:
        nothing does, or `prepare` does.
        """
        del vocab
        return None

    def rollout(self, graphdef, mesh):
        """The program of decode/program.py that gives a batch hypotheses before its step, which
        `prepare` runs and a plan compiles; None: the stage has none.
        """
        return None

    def prepare(self, graphdef, mesh, vocab):
        """(state, Batch, rows) -> the Batch to train on: more than data gives, or the same."""
        return lambda state, batch, rows: batch


class Hearing(Objective):
    """What the objectives that hear audio share: waves to encoder frames, as in training."""

    def channel(self, batch: Batch, rng):
        """The channel of each example: the same in `weigh` and in `loss`."""
        stream = jax.random.fold_in(rng, PERTURB)
        return perturb.draw(stream, batch.position, self.stage.augment)

    @functools.cached_property
    def clock(self) -> Clock:
        """The clock of the encoder's frames."""
        return encoders.clock(self.stage.model)

    def features(self, encoder, batch: Batch, rng):
        """Waves through their channel to an encoder's features [B T F] and [B] valid ones."""
        length = jnp.where(batch.weight > 0, batch.wave_length, 0)  # whatever a bad row holds
        return encoder.features(batch.wave, length, self.channel(batch, rng))

    def masked(self, features, count, batch: Batch, rng):
        """Features [B T F], [B] valid ones, through SpecAugment."""
        stream = jax.random.fold_in(rng, MASK)
        return masking.spec_augment(features, count, stream, batch.position, self.stage.augment)

    def encode(self, model: AcLLM, batch: Batch, rng):
        """Waves to encoder frames [B T D] and [B] real ones."""
        return model.encoder(*self.heard(model.encoder, batch, rng))

    def heard(self, encoder, batch: Batch, rng):
        """An encoder's arguments: features [B T F], [B] valid ones, [B] keys of its dropout."""
        features, count = self.features(encoder, batch, rng)
        features = self.masked(features, count, batch, rng)
        return features, count, per_example(rng, DROPOUT, batch.position)

    def frames(self, batch: Batch, rng, clock: Clock | None = None):
        """[B] valid frames of the encoder, or of another clock, from lengths alone."""
        clock, channel = clock or self.clock, self.channel(batch, rng)
        tempo = 1.0 if channel is None else channel.tempo
        found = clock.frames(batch.wave_length, tempo)
        return jnp.minimum(found, clock.buffer(batch.wave.shape[1]))

    def most_frames(self, samples: int) -> int:
        """Encoder frames of a wave at the slowest tempo that may be drawn."""
        return self.clock.frames(samples, self.stage.augment.slowest)

    def ctc_tokens(self, batch: Batch, rng):
        """[B] weight of each example's CTC: 0 where its frames have no room for its tokens."""
        frames = self.frames(batch, rng)
        return batch.weight * feasible(batch.ids, batch.ids_length, frames)

    def ctc_weights(self, batch: Batch, rng):
        """CTC's tokens; `unaligned`, the examples of `utterances` that it leaves out."""
        aligned = self.ctc_tokens(batch, rng)
        return {
            "ctc": count(aligned * batch.ids_length),
            "unaligned": jnp.where(batch.ids_length > 0, batch.weight - aligned, 0).sum(),
            "utterances": count(batch.weight),
        }

    def watch(self, seen, terms):
        """Counts what CTC left out; returns a line, once, when it is more than UNALIGNED."""
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
