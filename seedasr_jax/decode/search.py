"""Joint beam search (Seed-ASR section 3.4, equation 1): with and without the context, together.

    P(y | x, c) weighed alpha / (1 + alpha), P(y | x) weighed 1 / (1 + alpha)

Two prefixes are followed by the same tokens, a cache each: A, by the prompt template without a
context, and B, by the one with it. Tokens that are implausible by A are cut before B is evaluated,
so that words of the context that were not spoken are not written. The paper states neither beam nor
alpha nor what is cut: the numbers below are ours.

W live hypotheses, all of equal length, continue; the W best that have ended are kept apart. A row
is done as soon as no live one can be among those any more, whatever follows.

Dims: B batch, W beam (also the hypotheses that come back), K tokens at most, G languages of a
prompt, C candidates of a hypothesis, V vocabulary.
"""

from collections.abc import Sequence
import dataclasses

import jax
import jax.numpy as jnp

from seedasr_jax import shapes
from seedasr_jax.batch import Batch
from seedasr_jax.decode import prefill, shards
from seedasr_jax.decode.hypotheses import IMPOSSIBLE, Hypotheses, empty
from seedasr_jax.models.acllm import AcLLM
from seedasr_jax.parallel import layout
from seedasr_jax.text.template import Around

DOMAINS = ("linear", "log")
KEPT = 128  # plausible tokens at most that are scored by B, the end token aside


@dataclasses.dataclass(frozen=True)
class Search:
    """How to search."""

    beam: int
    domain: str = "linear"  # the literal equation; "log" weighs log-probabilities
    prune: bool = True  # cut by A, where there is a context
    top: int = 20  # the likeliest tokens of A stay,
    delta: float = 6.0  # and those whose log-probability is at most this far below the best
    length: float = 0.0  # scores compete divided by (tokens with the end) ** length; 0: as sums


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Live:
    """Unfinished hypotheses, the best first."""

    ids: jax.Array  # [B W K] int32
    logprobs: jax.Array  # [B W K] float32
    score: jax.Array  # [B W] float32; -inf: no such hypothesis
    last: jax.Array  # [B W] int32, the last token


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Next:
    """The continuations of each live hypothesis, and what each adds to its score."""

    token: jax.Array  # [B W C] int32, its C best but for the end token, the best first
    gain: jax.Array  # [B W C] float32; -inf: cut
    end: jax.Array  # [B W] float32, what the likeliest end token adds
    may_end: jax.Array  # [B W] bool: the end token is not cut


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


def least_plausible(acoustic, top, delta, shard=shards.ALL):
    """The lowest log-probability that is kept: of the `top` likeliest tokens, and of those within
    `delta` of the likeliest.

    Args:
        acoustic: [... V] log-probabilities without the context, or a shard of them.

    Returns:
        [... 1].
    """
    best, _ = shard.best(acoustic, top)
    return jnp.minimum(best[..., -1:], best[..., :1] - delta)


def search(
    model: AcLLM,
    batch: Batch,
    tokens: int,
    how: Search,
    *,
    plain: Sequence[Around] | None = None,
    alpha=None,
) -> Hypotheses:
    """Searches for the W best transcripts of at most `tokens` tokens, the best first.

    An example without a context (context_length 0) gets what it would get without alpha. A
    hypothesis of `tokens` tokens ends there: its end token counts, plausible or not.

    Args:
        model: with a decoder; the encoder runs once for both prefixes.
        batch: B as it stands; without `plain` the only prefix.
        tokens: K.
        how: see Search.
        plain: of text/template.py, what stands around the speech in A by `batch.language`; None: A
            is the batch as it stands, and there is no B.
        alpha: scalar, may be traced; None: there is no B, and no context is read.
    """
    rows, beam, special = len(batch.weight), how.beam, model.tokens
    vocabulary = model.decoder.vocabulary
    speech = prefill.encode(model, batch)
    prefixes = [batch] if plain is None else [_without_context(batch, plain)]
    informed = plain is not None and alpha is not None and batch.context.shape[1] > 0
    if informed:
        prefixes.append(batch)
    streams = [prefill.fill(model, prefix, speech, tokens + 1, beam) for prefix in prefixes]
    alone = (batch.context_length == 0)[:, None, None]  # [B 1 1], rows that A alone decides
    # Without a context W candidates suffice, and as many more as may be end tokens.
    count = beam + len(special.ends)
    if informed:
        count = max(count, how.top, KEPT) if how.prune else vocabulary
    whole = count >= vocabulary

    def candidates(shard, logits, alone, alpha):
        """_Next by a shard of the logits [B W V] of each prefix."""
        if whole:
            ids, kept, among = shard.indices(logits[0]), logits, shard
        else:
            best, ids = shard.best(logits[0], count)
            kept, among = (best, *(shard.at(one, ids) for one in logits[1:])), shards.ALL
        total = [shard.logsumexp(one) for one in logits]  # of all tokens
        if informed and how.prune:
            least = least_plausible(kept[0] - total[0], how.top, how.delta, among)

        def added(kept):
            """What each of [B W C] logits by prefix adds; and the same, -inf where it is cut."""
            logprobs = [one - of_all for one, of_all in zip(kept, total)]
            gain, allowed = logprobs[0], True
            if informed:
                if how.prune:
                    allowed = alone | (gain >= least)
                gain = jnp.where(alone, gain, joint(*logprobs, alpha, how.domain))
            return gain, jnp.where(allowed, gain, IMPOSSIBLE)

        ends = jnp.broadcast_to(jnp.array(special.ends), (*logits[0].shape[:-1], len(special.ends)))
        end, end_cut = (x.max(-1) for x in added([shard.at(one, ends) for one in logits]))
        others = ~special.is_end(ids) & (ids < vocabulary)
        gain, at = among.best(jnp.where(others, added(kept)[1], IMPOSSIBLE), min(beam, vocabulary))
        token = at if whole else jnp.take_along_axis(ids, at, -1)
        return _Next(token.astype(jnp.int32), gain, end, end_cut > IMPOSSIBLE)

    def choose(shard, logits, live, found, alone, alpha, step):
        """The next live ones, those that have ended, and the parent [B W] of each live one."""
        following = candidates(shard, logits, alone, alpha)
        found = _ended(live, following, found, step, how.length)
        live, parent = _longer(live, following, step)
        # A score only falls; what it is divided by grows up to that of K tokens.
        best = _rank(live.score[:, :1], tokens, how.length)
        hopeless = best <= _rank(found.score, found.length, how.length)[:, -1:]
        live = dataclasses.replace(live, score=jnp.where(hopeless, IMPOSSIBLE, live.score))
        return live, found, parent

    def going(carry):
        step, _, live, _ = carry
        return (step < tokens + 1) & (live.score > IMPOSSIBLE).any()

    def advance(carry):
        step, streams, live, found = carry
        logits, streams = zip(*(prefill.decode_step(model, one, live.last) for one in streams))
        live, found, parent = shards.over(choose, logits, live, found, alone, alpha, step)
        streams = tuple(prefill.reorder(stream, parent) for stream in streams)
        return step + 1, streams, live, found

    found = empty(rows, beam, tokens, special.pad)
    # Padding rows start as done, so they never extend the loop.
    first = (batch.weight > 0)[:, None] & (jnp.arange(beam) == 0)[None]
    score = jnp.where(first, 0.0, IMPOSSIBLE)
    last = jnp.full((rows, beam), special.start, jnp.int32)
    live = _Live(found.ids, found.logprobs, score, last)
    carry = (jnp.zeros((), jnp.int32), tuple(streams), *layout.rows((live, found)))
    return jax.lax.while_loop(going, advance, carry)[-1]


def _rank(score, length, power):
    """What hypotheses compete by, [B W] each: `length` tokens and the end."""
    return score / (length + 1.0) ** power if power else score


def _pick(tree, index):
    """Arrays [B W ...] -> [B W' ...] by [B W'] int32, inside of each row."""

    def one(x):
        return jnp.take_along_axis(x, index.reshape(index.shape + (1,) * (x.ndim - 2)), 1)

    return jax.tree.map(one, tree)


def _ended(live: _Live, following: _Next, found: Hypotheses, step, power) -> Hypotheses:
    """The W best of those that had ended and of the live ones that end now.

    One ends where its end token is among the W best continuations of all, or at the last step.
    """
    final = step == live.ids.shape[-1]
    ends = live.score + following.end
    others = live.score[..., None] + following.gain
    flat = jnp.concatenate([others.reshape(len(ends), -1), ends], 1)
    least = jax.lax.top_k(flat, ends.shape[1])[0][:, -1:]
    new = Hypotheses(
        ids=live.ids,
        length=jnp.full_like(found.length, step),
        score=jnp.where(final | (following.may_end & (ends >= least)), ends, IMPOSSIBLE),
        logprobs=live.logprobs,
        ended=~final | (following.may_end & (following.end >= following.gain[..., 0])),
    )
    both = jax.tree.map(lambda *x: jnp.concatenate(x, 1), found, new)
    rank = _rank(both.score, both.length, power)
    return _pick(both, jax.lax.top_k(rank, ends.shape[1])[1])


def _longer(live: _Live, following: _Next, step):
    """The W best live hypotheses with one more token, and the parent [B W] of each."""
    dims = shapes.check(following.gain, "B W C", shapes.check(live.ids, "B W K"))

    def flat(x):
        return x.reshape(dims["B"], -1)

    total = jnp.where(step == dims["K"], IMPOSSIBLE, live.score[..., None] + following.gain)
    score, index = jax.lax.top_k(flat(total), dims["W"])
    parent, at = index // dims["C"], jnp.minimum(step, dims["K"] - 1)
    last, gain = _pick((flat(following.token), flat(following.gain)), index)
    old = _pick((live.ids, live.logprobs), parent)
    ids, logprobs = old[0].at[..., at].set(last), old[1].at[..., at].set(gain)
    return _Live(ids, logprobs, score, last), parent


def _without_context(batch: Batch, plain: Sequence[Around]) -> Batch:
    """The batch as the template without a context has it, each row in its language."""
    rows = len(batch.weight)
    nothing = dict(context=batch.context[:, :0], context_length=jnp.zeros(rows, jnp.int32))

    def chosen(table):
        """[G ...] by the language of each row -> [B ...]."""
        table = jnp.asarray(table, jnp.int32)
        if len(plain) == 1:
            return jnp.broadcast_to(table, (rows, *table.shape[1:]))
        return table[batch.language]

    def filled(name):
        table = [getattr(around, name) for around in plain]
        width = max(map(len, table))
        padded = [ids + (0,) * (width - len(ids)) for ids in table]
        return {name: chosen(padded), f"{name}_length": chosen(list(map(len, table)))}

    return dataclasses.replace(batch, **nothing, **filled("prompt"), **filled("suffix"))
