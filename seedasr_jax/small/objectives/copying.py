"""Text to read: what a fresh small decoder is taught before it hears anything; ours.

Slots as a CTC encoder would fill them, made out of text. All of one example are drawn by its key.

Dims: B batch, L tokens, S = SLOTS * L + tail slots, V vocabulary, E LLM width.
"""

import jax
import jax.numpy as jnp

from seedasr_jax import shapes

SLOTS = 4  # that there are, for each place of a bucket's transcripts
RUN, GAP = 6, 2  # sustained: slots of one token and blanks before it, at most
WRONG = 0.05  # of all slots
UNSURE = 0.55  # sustained: share of a slot that is something else, at most


def random_targets(ids, ids_length, keys, pieces):
    """Replaces half of the transcripts by random tokens, half of those over a few symbols only.

    Grammar text alone teaches a decoder to guess, random text makes it read.

    Args:
        ids: [B L]; ids_length: [B]; keys: [B]; pieces: [V'] int32, what is drawn from.
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
    """Slots as a CTC encoder would give them: gaps, repeats, soft mixtures, 5 % wrong.

    Heads differ. Most name a token in a frame or two, with blanks between. One that learned from
    labels of frames names it in all of its frames, and takes neighbours for each other where they
    meet: runs of 1 to 16, 2.4 on average; the likeliest token has 0.58, 0.73, 0.90 of a frame in 5,
    10 and 20 % of them, a neighbour the rest in one of five (measured, recipe `commands`; runs
    above RUN are rare and left out).

    Args:
        ids: [B L]; ids_length: [B]; keys: [B]; table: [V E] embeddings.
        tail: blanks behind the last token, at most.
        sustained: as of a head of the second kind, and of all between it and the first.

    Returns:
        [B S E] slots, [B] real ones, and [B S] int32 the clock: tokens begun so far.
    """
    dims = shapes.check(ids, "B L")
    size = SLOTS * dims["L"] + tail

    def one(ids, length, key):
        keys = jax.random.split(key, 5)
        real = jnp.arange(dims["L"]) < length
        gap, run = (_sustained if sustained else _peaky)(keys[0], keys[1], real)
        each = jnp.where(real, gap + run, 0)
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


def _peaky(gaps, runs, real):
    """[L] blanks before each token, and [L] its own slots: one or two."""
    return jax.random.randint(gaps, real.shape, 0, 3), jax.random.randint(runs, real.shape, 1, 3)


def _sustained(gaps, runs, real):
    """The same, as long as an example draws; a slot for each token where they had no room."""
    gaps, most_gap = jax.random.split(gaps)
    runs, most_run = jax.random.split(runs)
    gap = jax.random.randint(gaps, real.shape, 0, jax.random.randint(most_gap, (), 1, GAP + 2))
    run = jax.random.randint(runs, real.shape, 1, jax.random.randint(most_run, (), 2, RUN + 2))
    fits = jnp.where(real, gap + run, 0).sum() <= SLOTS * len(real)
    return jnp.where(fits, gap, 0), jnp.where(fits, run, 1)
