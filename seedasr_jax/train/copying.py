"""Text to read: what a fresh small decoder is taught before it hears anything; ours.

Slots as a CTC encoder would fill them, made out of text. All of one example are drawn by its key.

Dims: B batch, L tokens, S = SLOTS * L + tail slots, V vocabulary, E LLM width.
"""

import jax
import jax.numpy as jnp

from seedasr_jax import shapes

SLOTS = 4  # of one token, on the average of an example, at most
RUN, GAP = 6, 2  # slots of one token and blanks before it, at most: an example has less, or as many
WRONG = 0.05  # of all slots
UNSURE = 0.55  # of a slot is something else, at most


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


def copy_slots(ids, ids_length, keys, table, blank, tail=0):
    """Slots as a CTC encoder would give them: gaps, repeats, soft mixtures, 5 % wrong.

    Heads differ: some name a token in one frame and have blanks between, some (those that learned
    from labels of frames) in all of its frames. So do the examples here. Measured on the small
    recipe of commands: runs of 1 to 16 frames, 2.4 on average; the likeliest token has 0.58, 0.73,
    0.90 of a frame in 5, 10 and 20 % of them, a neighbour the rest in one of five.

    Args:
        ids: [B L]; ids_length: [B]; keys: [B]; table: [V E] embeddings.
        tail: blanks behind the last token, at most.

    Returns:
        [B S E] slots, [B] real ones, and [B S] int32 the clock: tokens begun so far.
    """
    dims = shapes.check(ids, "B L")
    size = SLOTS * dims["L"] + tail

    def one(ids, length, key):
        keys = jax.random.split(key, 8)
        most = jnp.floor(jax.random.uniform(keys[0], (2,)) * jnp.array([RUN, GAP + 1]))
        run = jnp.floor(jax.random.uniform(keys[1], ids.shape) * (most[0] + 1)).astype(int) + 1
        gap = jnp.floor(jax.random.uniform(keys[2], ids.shape) * (most[1] + 1)).astype(int)
        real = jnp.arange(dims["L"]) < length
        fits = jnp.where(real, gap + run, 0).sum() <= SLOTS * dims["L"]
        each, gap = jnp.where(real, jnp.where(fits, gap + run, 1), 0), jnp.where(fits, gap, 0)
        ends = jnp.cumsum(each)
        slot = jnp.arange(size)
        last = jnp.maximum(length, 1) - 1
        token = jnp.minimum((slot[:, None] >= ends[None]).sum(1), last)
        silent = (slot < (ends - each + gap)[token]) | (slot >= ends[-1])
        wrong = jax.random.bernoulli(keys[3], WRONG, slot.shape)
        other = ids[jax.random.randint(keys[4], slot.shape, 0, last + 1)]
        shown = jnp.where(wrong, other, jnp.where(silent, blank, ids[token]))
        before, after = ids[jnp.maximum(token - 1, 0)], ids[jnp.minimum(token + 1, last)]
        near = jnp.stack([jnp.full_like(other, blank), before, after, other])
        beside = near[jax.random.randint(keys[5], slot.shape, 0, len(near)), slot]
        doubt = jax.random.uniform(keys[6], slot.shape)
        doubt = UNSURE * jnp.where(silent, doubt, doubt**5)[:, None]
        slots = (1 - doubt) * table[shown] + doubt * table[beside]
        behind = jax.random.randint(keys[7], (), 0, tail + 1)
        return slots, ends[-1] + behind, token + 1 - (silent & (slot < ends[-1]))

    slots, length, clock = jax.vmap(one)(ids, ids_length, keys)
    return shapes.zero_padding(slots, length), length, clock
