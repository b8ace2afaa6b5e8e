"""Joint beam search (Seed-ASR section 3.4, equation 1): with and without the context, together.

    P(y | x, c) weighed alpha / (1 + alpha), P(y | x) weighed 1 / (1 + alpha)

Two prefixes are followed by the same tokens, a cache each: A (instruction, speech) and B (context
instruction, context, speech). Tokens that A finds implausible are cut before B is asked: a word of
the context that was not spoken has no chance. The paper states neither beam nor alpha nor what is
cut: the numbers below are ours.

Dims: B batch, W beam (also the hypotheses that come back), K tokens at most, P prompt tokens,
V vocabulary.
"""

import dataclasses

import jax
import jax.numpy as jnp

from seedasr_jax import shapes
from seedasr_jax.batch import Batch
from seedasr_jax.decode import prefill
from seedasr_jax.models.acllm import AcLLM

DOMAINS = ("linear", "log")
NEVER = -jnp.inf  # score of a hypothesis that there is not


@dataclasses.dataclass(frozen=True)
class Search:
    """How to search."""

    beam: int
    domain: str = "linear"  # the literal equation; "log" weighs log-probabilities
    prune: bool = True  # cut by A, where there is a context
    top: int = 20  # the likeliest tokens of A stay,
    delta: float = 6.0  # and those that are less than this many nats below the likeliest
    length: float = 0.0  # scores compete divided by (tokens with the end) ** length; 0: as sums


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Hypotheses:
    """The W best of each example, the best first; the end token is in `score` alone."""

    ids: jax.Array  # [B W K] int32, padding behind length
    length: jax.Array  # [B W] int32
    score: jax.Array  # [B W] float32, sum over tokens and end; -inf: no such hypothesis
    logprobs: jax.Array  # [B W K] float32, what each token added
    ended: jax.Array  # [B W] bool: false where K tokens did not suffice


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Beams:
    """Hypotheses on the way; those that are done stay and compete."""

    found: Hypotheses
    last: jax.Array  # [B W] int32, the token to go on with
    done: jax.Array  # [B W] bool: ended, or no hypothesis at all


def joint(acoustic, informed, alpha, domain):
    """Equation 1 for one token.

    Args:
        acoustic, informed: [... V] log-probabilities without and with the context.
        alpha: scalar, 0 to infinity (only the context's).
        domain: "linear": log of the weighed probabilities; "log": the weighed logarithms.
    """
    alpha = jnp.asarray(alpha, jnp.float32)
    with_context, without = -jnp.log1p(1 / alpha), -jnp.log1p(alpha)  # logarithms of the weights
    if domain == "log":
        return jnp.exp(with_context) * informed + jnp.exp(without) * acoustic
    return jnp.logaddexp(with_context + informed, without + acoustic)


def plausible(acoustic, top, delta):
    """What stays, by the log-probabilities without the context [... V]: bool [... V].

    The `top` likeliest, and all within `delta` nats of the likeliest; so too the end token.
    """
    best = jax.lax.top_k(acoustic, min(top, acoustic.shape[-1]))[0]
    return (acoustic >= best[..., -1:]) | (acoustic >= best[..., :1] - delta)


def search(
    model: AcLLM, batch: Batch, tokens: int, how: Search, *, instructions=None, alpha=None
) -> Hypotheses:
    """Searches for the W best transcripts of at most `tokens` tokens.

    An example without a context (context_length 0) gets what it would get without alpha. A
    hypothesis of `tokens` tokens ends there: its end token counts, plausible or not.

    Args:
        model: with a decoder; the encoder runs once for both prefixes.
        batch: what it says about prompt and context holds only where `instructions` is None.
        tokens: K.
        how: see Search.
        instructions: token ids of the two of text/prompts.py, without [P] and with [P'] context.
            None: one prefix, as it stands in the batch.
        alpha: scalar, may be traced; None: the context is not read.
    """
    rows, beam, special = len(batch.weight), how.beam, model.tokens
    speech = prefill.hear(model, batch)
    prefixes = [batch] if instructions is None else [_instructed(batch, instructions[0], False)]
    if instructions is not None and alpha is not None and batch.context.shape[1]:
        prefixes.append(_instructed(batch, instructions[1], True))
    streams = [
        prefill.spread(prefill.begin(model, prefix, speech, tokens + 1), beam)
        for prefix in prefixes
    ]
    plain = (batch.context_length == 0)[:, None, None]  # [B 1 1]

    def score(streams, last):
        """What each token would add [B W V], and which may be added."""
        followed = [prefill.follow(model, stream, last.reshape(-1)) for stream in streams]
        streams = [stream for _, stream in followed]
        acoustic, *informed = (x.reshape(rows, beam, -1) for x, _ in followed)
        if not informed:
            return streams, acoustic, jnp.ones_like(acoustic, bool)
        added = jnp.where(plain, acoustic, joint(acoustic, informed[0], alpha, how.domain))
        allowed = plain | ~jnp.bool_(how.prune) | plausible(acoustic, how.top, how.delta)
        return streams, added, allowed

    def going(carry):
        step, _, beams = carry
        return (step < tokens + 1) & ~beams.done.all()

    def advance(carry):
        step, streams, beams = carry
        streams, added, allowed = score(streams, beams.last)
        beams, parent = _choose(beams, added, allowed, step, special.eos, how.length)
        moved = (jnp.arange(rows)[:, None] * beam + parent).reshape(-1)
        return step + 1, [prefill.reorder(stream, moved) for stream in streams], beams

    # An absent row has nothing to say and keeps nobody waiting.
    alive = (batch.weight > 0)[:, None] & (jnp.arange(beam) == 0)[None]
    found = Hypotheses(
        ids=jnp.full((rows, beam, tokens), special.pad, jnp.int32),
        length=jnp.zeros((rows, beam), jnp.int32),
        score=jnp.where(alive, 0.0, NEVER),
        logprobs=jnp.zeros((rows, beam, tokens)),
        ended=jnp.zeros((rows, beam), bool),
    )
    beams = _Beams(found, jnp.full((rows, beam), special.start, jnp.int32), ~alive)
    _, _, beams = jax.lax.while_loop(going, advance, (jnp.zeros((), jnp.int32), streams, beams))
    return beams.found


def _choose(beams: _Beams, added, allowed, step, eos, length):
    """The W best of all continuations [B W V]; returns them and which each goes on from [B W]."""
    dims = shapes.check(added, "B W V")
    old, tokens = beams.found, beams.found.ids.shape[-1]
    end = (jnp.arange(dims["V"]) == eos)[None, None]
    last = step == tokens
    willing = jnp.argmax(jnp.where(allowed, added, NEVER), -1) == eos  # [B W]
    total = jnp.where(jnp.where(last, end, allowed), old.score[..., None] + added, NEVER)
    stay = jnp.where(end, old.score[..., None], NEVER)  # what is done ends once more, for nothing
    total = jnp.where(beams.done[..., None], stay, total)
    rank = total
    if length:
        rank = total / (old.length[..., None] + 1.0) ** length

    def flat(x):
        return x.reshape(dims["B"], -1)

    _, index = jax.lax.top_k(flat(rank), dims["W"])
    parent, token = index // dims["V"], (index % dims["V"]).astype(jnp.int32)

    def pick(x):
        return jnp.take_along_axis(x, parent.reshape(parent.shape + (1,) * (x.ndim - 2)), 1)

    score = jnp.take_along_axis(flat(total), index, 1)
    gain = jnp.take_along_axis(flat(added), index, 1)
    going = ~pick(beams.done) & (score > NEVER)
    kept = going & (token != eos)
    at = jnp.minimum(step, tokens - 1)
    ids, logprobs = pick(old.ids), pick(old.logprobs)
    found = Hypotheses(
        ids=ids.at[..., at].set(jnp.where(kept, token, ids[..., at])),
        length=jnp.where(score > NEVER, pick(old.length) + kept, 0),
        score=score,
        logprobs=logprobs.at[..., at].set(jnp.where(kept, gain, logprobs[..., at])),
        ended=pick(old.ended) | (going & (token == eos) & (~last | pick(willing))),
    )
    return _Beams(found, token, ~kept), parent


def _instructed(batch: Batch, instruction, with_context: bool) -> Batch:
    """The batch with one instruction on every row, and without its context unless it is wanted."""
    rows = len(batch.weight)
    ids = jnp.asarray(instruction, jnp.int32)
    batch = dataclasses.replace(
        batch,
        prompt=jnp.broadcast_to(ids[None], (rows, len(ids))),
        prompt_length=jnp.full(rows, len(ids), jnp.int32),
    )
    if with_context:
        return batch
    nothing = dict(context=batch.context[:, :0], context_length=jnp.zeros(rows, jnp.int32))
    return dataclasses.replace(batch, **nothing)
