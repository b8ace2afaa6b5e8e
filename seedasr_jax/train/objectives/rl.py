"""Stage `rl`: minimum word error rate over hypotheses of the model itself (Seed-ASR section 3.5).

Dims: B batch, N hypotheses, L tokens.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from seedasr_jax import config, shapes
from seedasr_jax.decode import program
from seedasr_jax.losses import mwer
from seedasr_jax.models import acllm, names
from seedasr_jax.text.conventions import Convention, Conventions
from seedasr_jax.train import rollout
from seedasr_jax.train.objectives.registry import register
from seedasr_jax.train.objectives.shared import (
    ROLLOUT,
    Acoustic,
    Needs,
    count,
    judged,
    recogniser_parts,
    with_routers,
)

MOST = 0.5  # share of N-best lists that may have no gradient without a warning


@register("rl")
class Rl(Acoustic):
    """MWER on the N-best lists of the batch, and cross-entropy of the transcript.

    The paper states neither N, nor the weights of the cross-entropy and of keywords, nor whether
    hypotheses are drawn anew: 4, 0.01, 3 and drawing before each step are our choice.
    """

    @dataclasses.dataclass(frozen=True)
    class Options:
        """Weights of the loss, and how hypotheses are decoded.

        `ce_weight`: weight of the cross-entropy; `hypotheses`: N; `temperature`: of sampling, or 0
        for the N best of a beam search; `keyword_weight`: weight of an error in a keyword, 1: as
        any other; `unit`: unit of errors if a row states no language, with `data.normalizer`.
        """

        ce_weight: float = config.at_least(0)
        hypotheses: int = config.at_least(2)
        temperature: float = config.at_least(0)
        keyword_weight: float = config.at_least(0)
        unit: str = config.one_of("word", "char", "mixed")

    @classmethod
    def ask(cls, stage, options):
        """With a CTC head only if the LLM's input depends on it."""
        parts, number = recogniser_parts(stage), options.hypotheses
        nbest = functools.partial(rollout.shapes, number)
        return Needs(parts, prompted=True, hypotheses=number, extra=nbest)

    @property
    def conventions(self):
        """Conventions by each row's language; see `Options.unit`."""
        return Conventions(Convention(self.stage.data.normalizer, self.options.unit))

    def rollout(self, graphdef, mesh):
        """The program that decodes the N hypotheses of `Options`."""
        how = self.options.hypotheses, self.options.temperature
        return program.rollout(graphdef, mesh, *how, ROLLOUT)

    def prepare(self, graphdef, mesh, vocab):
        """(state, Batch, rows) -> the Batch with hypotheses."""
        risk = rollout.weighted_risk(self.conventions, self.options.keyword_weight)
        return rollout.Rollout(self.rollout(graphdef, mesh), mesh, vocab.decode, risk)

    def weigh(self, batch, rng):
        """Numbers of utterances, and of transcript tokens with end tokens."""
        del rng
        return {
            "utterances": count(batch.weight),
            "text": count(batch.weight * (batch.ids_length + 1)),
        }

    def watch(self, seen, terms):
        """Warns once if a larger share of N-best lists than MOST has no gradient."""
        lists = terms["weights"]["utterances"]
        seen, found = judged(seen, terms["no_gradient"] * lists, lists, MOST)
        if not found:
            return seen, ""
        share, lists = found
        return seen, (
            f"{100 * share:.0f} % of {lists:.0f} lists of hypotheses have no gradient, for"
            " all of a list have the same errors: set objective.temperature=0 for the N best of a"
            " beam, or more objective.hypotheses"
        )

    def loss(self, model, batch, weights, rng):
        """MWER per utterance and nll per token.

        `risk` is the expected risk, `no_gradient` the share of N-best lists without a gradient.
        """
        nbest = batch.extra
        dims = shapes.check(nbest.ids, "B N L", shapes.check(batch.ids, "B L"))
        x, frames = self.encode(model, batch, rng)
        ctc_logits = model.ctc_head(x) if names.CTC_HEAD in model.parts else None
        prefix = model.prefix(batch, model.convert(x, frames, ctc_logits))
        # The transcript is appended as a hypothesis: one pass over B x (N + 1).
        ids = jnp.concatenate([batch.ids[:, None], nbest.ids], 1).reshape(-1, dims["L"])
        length = jnp.concatenate([batch.ids_length[:, None], nbest.length], 1).reshape(-1)
        number = dims["N"] + 1
        prefix = jax.tree.map(lambda x: jnp.repeat(x, number, 0), prefix)
        _, valid = acllm.targets(ids, length, self.tokens.eos)
        valid = valid & jnp.repeat(batch.weight > 0, number)[:, None]
        nll, routing = model.nll(prefix, ids, length, valid)
        logprobs = mwer.sequence_logprobs(nll, valid).reshape(-1, number)

        listed = mwer.distinct(nbest.ids, nbest.length)
        terms = (logprobs[:, 1:], nbest.risk, listed, batch.weight)
        errors = mwer.mwer(*terms) / weights["utterances"]
        risk = mwer.expected_risk(*terms) / weights["utterances"]
        flat = mwer.without_gradient(*terms[1:]) / weights["utterances"]
        text = -(logprobs[:, 0] * batch.weight).sum() / weights["text"]
        total = errors + self.options.ce_weight * text
        terms = {"loss": total, "mwer": errors, "text": text, "risk": risk, "no_gradient": flat}
        shares = jnp.repeat(batch.weight / (number * weights["utterances"]), number)
        return with_routers(total, terms, routing, self.stage, shares)
