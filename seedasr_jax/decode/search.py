"""Joint beam search (Seed-ASR section 3.4, equation 1): with and without the context, together.

    P(y | x, c) weighted by alpha / (1 + alpha), P(y | x) weighted by 1 / (1 + alpha)

Each hypothesis continues two prefixes, with a cache each: A, the prompt template without a context,
and B, the template with it. Tokens that are implausible under A are pruned before B is evaluated,
so that words of the context that were not spoken are not transcribed. The paper states neither
beam, nor alpha, nor the pruning: the values below are ours.

W live hypotheses, all of equal length, are extended; the W best that have ended are kept apart. A
row is done as soon as no continuation of a live hypothesis can become one of those.

Dims: B batch, W beam and number of results, K maximum number of tokens, G languages of a prompt,
C candidates of a hypothesis, V vocabulary.
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
KEPT = 128  # maximum number of plausible tokens that B scores, beside end tokens


@dataclasses.dataclass(frozen=True)
class Search:
    """Settings of a search."""

    beam: int
    domain: str = "linear"  # the literal equation; "log" averages log-probabilities
    prune: bool = True  # whether A prunes tokens, if there is a context
    top: int = 20  # number of likeliest tokens under A that are kept,
    delta: float = 6.0  # beside those whose log-probability is at most this far below the best
    length: float = 0.0  # scores are ranked divided by (tokens with the end) ** length; 0: sums


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
    """The continuations of each live hypothesis, with their contributions to its score."""

    token: jax.Array  # [B W C] int32, the C best except end tokens, the best first
    gain: jax.Array  # [B W C] float32; -inf: pruned
    end: jax.Array  # [B W] float32, gain of the likeliest end token
    may_end: jax.Array  # [B W] bool, whether an end token is not pruned


def joint(acoustic, informed, alpha, domain):
    """Equation 1 for one token, from log-probabilities [... V] without and with the context.

    `alpha`: scalar, 0 to infinity (informed alone); `domain`: "linear": log of the weighted sum of
    probabilities, "log": weighted sum of logs.
    """
    alpha = jnp.asarray(alpha, jnp.float32)
    with_context, without = -jnp.log1p(1 / alpha), -jnp.log1p(alpha)  # logarithms of the weights
    if domain == "log":
        return jnp.exp(with_context) * informed + jnp.exp(without) * acoustic
    return jnp.logaddexp(with_context + informed, without + acoustic)


def least_plausible(acoustic, top, delta, shard=shards.ALL):
    """Pruning threshold [... 1] that keeps the `top` likeliest tokens and those within `delta`.

    `acoustic`: [... V] log-probabilities without the context, or a shard of them.
    """
    best, _ = shard.best(acoustic, top)
    return jnp.minimum(best[..., -1:], best[..., :1] - delta)


def search(
    model: AcLLM, batch: Batch, tokens: int, how: Search, *, plain=None, alpha=None
) -> Hypotheses:
    """Searches for the W best transcripts of at most K = `tokens` tokens, the best first.

    An example without a context (context_length 0) is decoded as without alpha. A hypothesis of
    K tokens ends there; its end token counts even if it would be pruned.

    Args:
        model: model with a decoder; the encoder runs once for both prefixes.
        batch: its prompt, context and suffix form B; without `plain` they form A.
        tokens, how: K and settings.
        plain: template without a context (Around) by `batch.language`, which forms A; None: no B.
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
    alone = (batch.context_length == 0)[:, None, None]  # [B 1 1], rows decoded by A alone
    # Without a context W candidates suffice, plus one for each end token among them.
    count = beam + len(special.ends)
    if informed:
        count = max(count, how.top, KEPT) if how.prune else vocabulary
    exhaustive = count >= vocabulary

    def candidates(shard, logits, alone, alpha):
        """_Next, from a shard of the logits [B W V] of each prefix."""
        if exhaustive:
            ids, kept, among = shard.indices(logits[0]), logits, shard
        else:
            best, ids = shard.best(logits[0], count)
            kept, among = (best, *(shard.at(one, ids) for one in logits[1:])), shards.ALL
        total = [shard.logsumexp(one) for one in logits]  # over all tokens
        if informed and how.prune:
            least = least_plausible(kept[0] - total[0], how.top, how.delta, among)

        def added(kept):
            """Gains from logits [B W C] of each prefix; and the same, -inf where pruned."""
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
        token = at if exhaustive else jnp.take_along_axis(ids, at, -1)
        return _Next(token.astype(jnp.int32), gain, end, end_cut > IMPOSSIBLE)

    def choose(shard, logits, live, found, alone, alpha, length):
        """The next live hypotheses, the ended ones, and the parent [B W] of each live one."""
        following = candidates(shard, logits, alone, alpha)
        found = _ended(live, following, found, length, how.length)
        live, parent = _longer(live, following, length)
        # An upper bound: a score only falls, and its divisor is largest at K tokens.
        best = _rank(live.score[:, :1], tokens, how.length)
        hopeless = best <= _rank(found.score, found.length, how.length)[:, -1:]
        live = dataclasses.replace(live, score=jnp.where(hopeless, IMPOSSIBLE, live.score))
        return live, found, parent

    def going(carry):
        length, _, live, _ = carry
        return (length < tokens + 1) & (live.score > IMPOSSIBLE).any()

    def advance(carry):
        length, streams, live, found = carry
        logits, streams = zip(*(prefill.decode_step(model, one, live.last) for one in streams))
        live, found, parent = shards.over(choose, logits, live, found, alone, alpha, length)
        streams = tuple(prefill.reorder(stream, parent) for stream in streams)
        return length + 1, streams, live, found

    found = empty(rows, beam, tokens, special.pad)
    # Padding rows start as done, so they never extend the loop.
    first = (batch.weight > 0)[:, None] & (jnp.arange(beam) == 0)[None]
    score = jnp.where(first, 0.0, IMPOSSIBLE)
    last = jnp.broadcast_to(batch.start[:, None], (rows, beam))
    live = _Live(found.ids, found.logprobs, score, last)
    carry = (jnp.zeros((), jnp.int32), tuple(streams), *layout.rows((live, found)))
    return jax.lax.while_loop(going, advance, carry)[-1]


def _rank(score, length, power):
    """The value that ranks hypotheses of `length` tokens and an end token, [B W] each."""
    return score / (length + 1.0) ** power if power else score


def _ended(live: _Live, following: _Next, found: Hypotheses, length, power) -> Hypotheses:
    """The W best of the ended hypotheses and of the live ones, of `length` tokens, that end now.

    One ends if its end token is among the W best continuations in its row, or after K tokens.
    """
    final = length == live.ids.shape[-1]
    ends = live.score + following.end
    others = live.score[..., None] + following.gain
    flat = jnp.concatenate([others.reshape(len(ends), -1), ends], 1)
    least = jax.lax.top_k(flat, ends.shape[1])[0][:, -1:]
    new = Hypotheses(
        ids=live.ids,
        length=jnp.full_like(found.length, length),
        score=jnp.where(final | (following.may_end & (ends >= least)), ends, IMPOSSIBLE),
        logprobs=live.logprobs,
        ended=~final | (following.may_end & (following.end >= following.gain[..., 0])),
    )
    both = jax.tree.map(lambda *x: jnp.concatenate(x, 1), found, new)
    rank = _rank(both.score, both.length, power)
    return prefill.select(both, jax.lax.top_k(rank, ends.shape[1])[1])


def _longer(live: _Live, following: _Next, length):
    """The W best live hypotheses extended by one token, and the parent [B W] of each."""
    dims = shapes.check(following.gain, "B W C", shapes.check(live.ids, "B W K"))

    def flat(x):
        return x.reshape(dims["B"], -1)

    total = jnp.where(length == dims["K"], IMPOSSIBLE, live.score[..., None] + following.gain)
    score, index = jax.lax.top_k(flat(total), dims["W"])
    parent, at = index // dims["C"], jnp.minimum(length, dims["K"] - 1)
    last, gain = prefill.select((flat(following.token), flat(following.gain)), index)
    ids, logprobs = prefill.select((live.ids, live.logprobs), parent)
    ids, logprobs = ids.at[..., at].set(last), logprobs.at[..., at].set(gain)
    return _Live(ids, logprobs, score, last), parent


def _without_context(batch: Batch, plain: Sequence[Around]) -> Batch:
    """The batch with the template without a context, by each row's language."""
    rows = len(batch.weight)
    nothing = dict(context=batch.context[:, :0], context_length=jnp.zeros(rows, jnp.int32))

    def chosen(table):
        """[G ...] -> [B ...] by the language of each row."""
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
