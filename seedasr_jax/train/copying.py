"""Text to read: what a fresh small decoder is taught before it hears anything; ours.

Slots as a CTC encoder would fill them, made out of text, and lists of names to copy from: a name in
a list is spelled as it should be, its slots are not quite. All of one example are drawn by its key.

Dims: B batch, L tokens, C context tokens, S = SLOTS * L + tail slots, V vocabulary, E LLM width.
"""

import jax
import jax.numpy as jnp

from seedasr_jax import shapes

SLOTS = 4  # at most, of one token: two blanks and two of its own
WRONG = 0.05  # of all slots
DOUBTED = 2.0  # share of a list's tokens whose slots say something else, at most; above 1: all
RENAMED = 0.7  # of the lists: new names, in list and text alike
ALONE, INSERTED = 0.6, 0.2  # of the lists: names are all that is said; one more name is said

_NOTHING = -1  # at the padding of a context: no token is like it


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


def listed_targets(ids, ids_length, context, context_length, keys, separator):
    """Transcripts that their lists matter to, and lists of names that nobody has seen.

    Some are only names of their list, in any order; some get a name of it put in anywhere. In most,
    the tokens of the names change places with each other, in list and text alike: a name that is
    always new must be read.

    Args:
        ids: [B L]; ids_length: [B]; keys: [B].
        context: [B C] lists of names; context_length: [B]; 0 leaves an example as it is.
        separator: id of the token between names.

    Returns:
        [B L] ids, [B] lengths, [B C] context.
    """
    dims = shapes.check(context, "B C", shapes.check(ids, "B L"))
    real = shapes.valid(context_length, dims["C"])

    def one(ids, length, context, told, key):
        kind, order, rename = jax.random.split(jax.random.fold_in(key, 1), 3)
        names, ends = _shuffled(context, told, separator, order)
        how_many, at, draw = jax.random.uniform(kind, (3,))
        last = jnp.maximum((ends > 0).sum(), 1) - 1
        first = jnp.minimum(ends[0], dims["L"])
        alone = jnp.minimum(ends[jnp.minimum((3 * how_many).astype(jnp.int32), last)], dims["L"])
        inserted = _insert(ids, length, names, first, (at * (length + 1)).astype(jnp.int32))
        said = jnp.pad(names, (0, max(dims["L"] - dims["C"], 0)))[: dims["L"]]
        kind = jnp.where(told > 0, (draw < ALONE).astype(int) + (draw < ALONE + INSERTED), 0)
        ids = jnp.stack([ids, inserted, said])[kind]
        length = jnp.stack([length, jnp.minimum(length + first, dims["L"]), alone])[kind]
        return (*_renamed(ids, context, rename, separator), length)

    context = jnp.where(real, context, _NOTHING)
    ids, context, length = jax.vmap(one)(ids, ids_length, context, context_length, keys)
    ids = jnp.where(shapes.valid(length, dims["L"]), ids, 0)
    return ids, length, jnp.where(real, context, 0)


def _shuffled(context, told, separator, key):
    """Names one after another in a random order: tokens [C], and [C] the end of each, then 0."""
    size = context.shape[0]
    real = jnp.arange(size) < told
    entry = jnp.cumsum((context == separator) & real)
    count = jnp.where(told > 0, entry[-1] + 1, 0)
    exists = jnp.arange(size) < count
    draws = jnp.where(exists, jax.random.uniform(key, (size,)), 2.0)
    rank = jnp.argsort(jnp.argsort(draws))  # of each entry
    spelled = real & (context != separator)
    place = jnp.where(spelled, rank[entry] * size + jnp.arange(size), size * size)
    names = context[jnp.argsort(place)]
    each = jnp.zeros(size, jnp.int32).at[rank[entry]].add(spelled)
    return names, jnp.where(exists, jnp.cumsum(each), 0)


def _insert(ids, length, name, size, at):
    """Puts the first `size` of a name before token `at`."""
    number = jnp.arange(ids.shape[0])
    before, inside = number < at, number < at + size
    old = ids[jnp.where(before, number, jnp.maximum(number - size, 0))]
    new = name[jnp.clip(number - at, 0, name.shape[0] - 1)]
    return jnp.where(inside & ~before, new, old)


def _renamed(ids, context, key, separator):
    """Exchanges the tokens of a list's names among each other, in list and text, mostly."""
    whether, which = jax.random.split(key)
    same = context[:, None] == context[None]  # [C C]
    first = jnp.argmax(same, 1)  # where a token stands first: all of it become one
    spelled = (context != separator) & (context != _NOTHING)
    once = spelled & (first == jnp.arange(len(first)))
    draws = jnp.where(once, jax.random.uniform(which, context.shape), 2.0)
    order = jnp.argsort(draws)[jnp.cumsum(once) - 1]  # of the n-th token: whose place it takes
    new = jnp.where(spelled, context[order[first]], context)
    at = jnp.argmax(ids[:, None] == context[None], 1)
    mapped = jnp.where(told_tokens(ids, context), new[at], ids)
    change = jax.random.bernoulli(whether, RENAMED)
    return jnp.where(change, mapped, ids), jnp.where(change, new, context)


def told_tokens(ids, context):
    """[L] and [C] -> [L] bool: tokens that stand in the list beside the same neighbour."""
    same = ids[:, None] == context[None]
    pair = (same[:-1, :-1] & same[1:, 1:]).any(1)  # token and the next one
    return jnp.pad(pair, (0, 1)) | jnp.pad(pair, (1, 0))


def doubted_slots(ids, ids_length, context, context_length, keys, pieces):
    """What slots say: the transcript, but for a share of what a list tells, drawn anew: [B L]."""
    dims = shapes.check(context, "B C", shapes.check(ids, "B L"))

    def one(ids, context, key):
        share, whether, which = jax.random.split(jax.random.fold_in(key, 2), 3)
        share = jax.random.uniform(share, maxval=DOUBTED)
        wrong = told_tokens(ids, context) & jax.random.bernoulli(whether, share, ids.shape)
        other = jnp.asarray(pieces)[jax.random.randint(which, ids.shape, 0, len(pieces))]
        return jnp.where(wrong, other, ids)

    context = jnp.where(shapes.valid(context_length, dims["C"]), context, _NOTHING)
    said = jax.vmap(one)(ids, context, keys)
    return jnp.where(shapes.valid(ids_length, dims["L"]), said, 0)


def copy_slots(ids, ids_length, keys, table, blank, tail=0):
    """Slots as a CTC encoder would give them: gaps, repeats, soft mixtures, 5 % wrong.

    Args:
        ids: [B L]; ids_length: [B]; keys: [B]; table: [V E] embeddings.
        tail: blanks behind the last token, at most.

    Returns:
        [B S E] slots, [B] real ones, and [B S] int32 the clock: tokens begun so far.
    """
    dims = shapes.check(ids, "B L")
    size = SLOTS * dims["L"] + tail

    def one(ids, length, key):
        keys = jax.random.split(key, 5)
        gap = jax.random.randint(keys[0], ids.shape, 0, 3)
        repeat = jax.random.randint(keys[1], ids.shape, 1, 3)
        each = jnp.where(jnp.arange(dims["L"]) < length, gap + repeat, 0)
        ends = jnp.cumsum(each)
        slot = jnp.arange(size)
        token = jnp.minimum((slot[:, None] >= ends[None]).sum(1), jnp.maximum(length, 1) - 1)
        silent = (slot < (ends - each + gap)[token]) | (slot >= ends[-1])
        shown = jnp.where(silent, blank, ids[token])
        wrong = jax.random.bernoulli(keys[2], WRONG, shown.shape)
        other = ids[jax.random.randint(keys[3], shown.shape, 0, jnp.maximum(length, 1))]
        shown = jnp.where(wrong, other, shown)
        share = jax.random.uniform(keys[4], shown.shape, minval=0.6, maxval=1.0)[:, None]
        beside = jnp.where(silent, other, blank)
        slots = share * table[shown] + (1 - share) * table[beside]
        behind = jax.random.randint(jax.random.fold_in(key, 3), (), 0, tail + 1)
        return slots, ends[-1] + behind, token + 1 - (silent & (slot < ends[-1]))

    slots, length, clock = jax.vmap(one)(ids, ids_length, keys)
    return shapes.zero_padding(slots, length), length, clock
