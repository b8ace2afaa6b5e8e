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
from seedasr_jax.models import acllm
from seedasr_jax.text.conventions import Convention, Conventions
from seedasr_jax.text.template import Template
from seedasr_jax.train import rollout
from seedasr_jax.train.objectives import shared
from seedasr_jax.train.objectives.registry import register
from seedasr_jax.train.objectives.shared import count

MOST = 0.5  # share of N-best lists that may have no gradient without a warning
WARNING = (
    "{percent:.0f} % of {examples:.0f} N-best lists have no gradient, because all hypotheses of a"
    " list have equal errors: set objective.temperature=0 for the N best of a beam, or raise"
    " objective.hypotheses"
)


@register("rl")
class Rl(shared.Acoustic):
    """MWER on the N-best lists of the batch, and cross-entropy of the transcript.

    The paper states neither N, nor the weights of the cross-entropy and of keywords, nor whether
    hypotheses are drawn anew: 4, 0.01, 3 and drawing before each step are our choice.
    """

    @dataclasses.dataclass(frozen=True)
    class Options:
        """Weights of the loss, and how hypotheses are decoded."""

        ce_weight: float = config.at_least(0)  # of the cross-entropy
        hypotheses: int = config.at_least(2)  # N
        temperature: float = config.at_least(0)  # of sampling; 0: the N best of a beam search
        keyword_weight: float = config.at_least(0)  # of an error in a keyword; 1: as any other
        unit: str = config.one_of("word", "char", "mixed")  # of errors if a row has no language

    @classmethod
    def ask(cls, stage, options):
        parts, number = shared.recogniser_parts(stage), options.hypotheses
        nbest = functools.partial(rollout.shapes, number)
        return shared.Needs(parts, prompted=True, hypotheses=number, extra=nbest)

    @property
    def conventions(self):
        return Conventions(Convention(self.stage.data.normalizer, self.options.unit))

    def rollout(self, graphdef, mesh):
        how = self.options.hypotheses, self.options.temperature
        return program.rollout(graphdef, mesh, *how, shared.ROLLOUT)

    def prepare(self, graphdef, mesh, vocab):
        risk = rollout.weighted_risk(self.conventions, self.options.keyword_weight)
        template = Template(self.stage.model.prompt, vocab)

        def transcript(ids):
            return template.parse(ids)[1]

        return rollout.Rollout(self.rollout(graphdef, mesh), mesh, transcript, risk)

    def weigh(self, batch, rng):
        """Numbers of utterances, and of transcript tokens with end tokens."""
        text = count(batch.weight * (batch.ids_length + 1))
        return {"utterances": count(batch.weight), "text": text}

    def watch(self, watched, terms):
        """Warns once if a larger share of N-best lists than MOST has no gradient."""
        lists = terms["weights"]["utterances"]
        return shared.share_warning(watched, terms["no_gradient"] * lists, lists, MOST, WARNING)

    def loss(self, model, batch, weights, rng):
        """MWER per utterance and nll per token.

        `risk` is the expected risk, `no_gradient` the share of N-best lists without a gradient.
        """
        nbest = batch.extra
        dims = shapes.check(nbest.ids, "B N L", shapes.check(batch.ids, "B L"))
        prefix, _, _ = self.prefix(model, batch, rng)
        # The transcript is appended as a hypothesis: one pass over B x (N + 1).
        ids = jnp.concatenate([batch.ids[:, None], nbest.ids], 1).reshape(-1, dims["L"])
        length = jnp.concatenate([batch.ids_length[:, None], nbest.length], 1).reshape(-1)
        number = dims["N"] + 1
        prefix = jax.tree.map(lambda x: jnp.repeat(x, number, 0), prefix)
        _, valid = acllm.targets(ids, length, self.tokens.eos)
        valid = valid & jnp.repeat(batch.weight > 0, number)[:, None]
        nll, routing = model.nll(prefix, ids, length, valid)
        logprobs = mwer.sequence_logprobs(nll, valid).reshape(-1, number)

        distinct = mwer.distinct(nbest.ids, nbest.length)
        terms = (logprobs[:, 1:], nbest.risk, distinct, batch.weight)
        errors = mwer.mwer(*terms) / weights["utterances"]
        risk = mwer.expected_risk(*terms) / weights["utterances"]
        flat = mwer.without_gradient(*terms[1:]) / weights["utterances"]
        text = -(logprobs[:, 0] * batch.weight).sum() / weights["text"]
        total = errors + self.options.ce_weight * text
        terms = {"loss": total, "mwer": errors, "text": text, "risk": risk, "no_gradient": flat}
        shares = jnp.repeat(batch.weight / (number * weights["utterances"]), number)
        return shared.with_routers(total, terms, routing, self.stage, shares)
