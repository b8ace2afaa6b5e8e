"""Synthetic slots, on which a new small decoder is trained before any speech.

They are made from text and imitate a CTC encoder. All draws of an example use its key.

Dims: B batch, L tokens, S = SLOTS * L + tail slots, V vocabulary, E LLM width.
"""

import jax
import jax.numpy as jnp

from seedasr_jax import shapes

SLOTS = 4  # per token of a bucket's transcript length
RUN, GAP = 6, 2  # maxima if sustained: slots of one token, blanks before it
WRONG = 0.05  # share of slots with a wrong token
UNSURE = 0.55  # if sustained: maximum share of another token in a slot


def random_targets(ids, ids_length, keys, pieces):
    """Replaces half of the transcripts [B L] by random tokens, half of those of only a few kinds.

    From grammatical text alone a decoder learns to guess; random text forces it to read. `keys`:
    [B]; `pieces`: [V'] int32, tokens to draw from.
    """
    dims = shapes.check(ids, "B L")

    def one(ids, key):
        kind, symbols, at = jax.random.split(key, 3)
        free = jnp.asarray(pieces)[jax.random.randint(symbols, ids.shape, 0, len(pieces))]
        few = free[jax.random.randint(at, ids.shape, 0, min(4, dims["L"]))]
        draw = jax.random.uniform(kind)
        return jnp.where(draw < 0.5, ids, jnp.where(draw < 0.75, free, few))

    return jnp.where(shapes.valid(ids_length, dims["L"]), jax.vmap(one)(ids, keys), 0)


def copy_slots(ids, ids_length, keys, table, blank, tail=0, sustained=False):
    """Slots that imitate a CTC encoder's: gaps, repeats, soft mixtures, 5 % wrong.

    Most CTC heads emit a token in one or two frames, with blanks between tokens. A head trained on
    frame labels emits it in all of its frames and confuses neighbours where they meet: runs of 1 to
    16 frames, 2.4 on average; the top probability is below 0.58, 0.73, 0.90 in 5, 10 and 20 % of
    frames, with the rest on a neighbour in one of five (measured, recipe `commands`; runs above RUN
    are rare and left out).

    Args:
        ids: [B L]; ids_length: [B]; keys: [B]; table: [V E] embeddings.
        tail: maximum number of blanks behind the last token.
        sustained: imitates the second kind of head and all between both kinds.

    Returns:
        [B S E] slots, [B] valid ones, and the clock, [B S] int32 tokens begun so far.
    """
    dims = shapes.check(ids, "B L")
    size = SLOTS * dims["L"] + tail

    def one(ids, length, key):
        keys = jax.random.split(key, 5)
        valid = jnp.arange(dims["L"]) < length
        gap, run = (_sustained if sustained else _peaky)(keys[0], keys[1], valid)
        each = jnp.where(valid, gap + run, 0)
        ends = jnp.cumsum(each)
        slot = jnp.arange(size)
        last = jnp.maximum(length, 1) - 1
        token = jnp.minimum((slot[:, None] >= ends[None]).sum(1), last)
        behind_all = slot >= ends[-1]
        silent = (slot < (ends - each + gap)[token]) | behind_all
        shown = jnp.where(silent, blank, ids[token])
        wrong = jax.random.bernoulli(keys[2], WRONG, shown.shape)
        other = ids[jax.random.randint(keys[3], shown.shape, 0, last + 1)]
        shown = jnp.where(wrong, other, shown)
        if sustained:
            before = ids[jnp.maximum(jnp.where(behind_all, token, token - 1), 0)]
            after = ids[jnp.where(silent, token, jnp.minimum(token + 1, last))]
            near = jnp.stack([jnp.full_like(other, blank), before, after, other])
            which, doubt = jax.random.split(keys[4])
            beside = near[jax.random.randint(which, shown.shape, 0, len(near)), slot]
            doubt = jax.random.uniform(doubt, shown.shape)
            share = 1 - UNSURE * jnp.where(silent, doubt, doubt**5)
        else:
            beside = jnp.where(silent, other, blank)
            share = jax.random.uniform(keys[4], shown.shape, minval=0.6, maxval=1.0)
        slots = share[:, None] * table[shown] + (1 - share)[:, None] * table[beside]
        behind = jax.random.randint(jax.random.fold_in(key, 3), (), 0, tail + 1)
        return slots, ends[-1] + behind, token + 1 - (silent & ~behind_all)

    slots, length, clock = jax.vmap(one)(ids, ids_length, keys)
    return shapes.zero_padding(slots, length), length, clock


def _peaky(gaps, runs, valid):
    """[L] numbers of blanks before each token, and [L] of its slots: one or two."""
    return jax.random.randint(gaps, valid.shape, 0, 3), jax.random.randint(runs, valid.shape, 1, 3)


def _sustained(gaps, runs, valid):
    """The same with maxima drawn per example; one slot per token if they do not fit."""
    gaps, most_gap = jax.random.split(gaps)
    runs, most_run = jax.random.split(runs)
    gap = jax.random.randint(gaps, valid.shape, 0, jax.random.randint(most_gap, (), 1, GAP + 2))
    run = jax.random.randint(runs, valid.shape, 1, jax.random.randint(most_run, (), 2, RUN + 2))
    fits = jnp.where(valid, gap + run, 0).sum() <= SLOTS * len(valid)
    return jnp.where(fits, gap, 0), jnp.where(fits, run, 1)
