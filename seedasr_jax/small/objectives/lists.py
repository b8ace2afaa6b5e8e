"""Synthetic lists of names, with which a new small decoder learns to use contexts.

Lists have the correct spelling of a name; slots imitate an encoder that misrecognises unknown
names. All draws of an example use its key.

Dims: B batch, L tokens, C context tokens, V vocabulary.
"""

import jax
import jax.numpy as jnp
import numpy as np

from seedasr_jax import shapes
from seedasr_jax.small.models.decoder import spelling

RENAMED = 0.7  # share of lists with new names, in list and text alike
ALONE = 0.8, 0.0  # share of lists whose text is names only, at the start and the end of a stage
INSERTED = 0.2  # share of lists from which a name is inserted into the text
DECOYS = 0.3  # share of tokens taken from the text, in half of the lists without a spoken name
NAMES = 6  # maximum number of names in a text of names only
CONFUSED = 0.7  # share of misrecognised listed tokens replaced by one of similar spelling
LONGER = 0.25  # share of misrecognised tokens that become two; as many are deleted
EMPHASIS = 2.0  # loss weight of tokens that are in the list, because they are few
_ALIKE = 8  # number of pieces of most similar spelling
COMPARED = 4_096  # maximum number of pieces to compare pairwise, see `alike`

_NOTHING = -1  # at context padding; equals no token


def listed_targets(ids, ids_length, context, context_length, keys, separator, progress):
    """Makes transcripts that depend on their lists, and lists of unseen names.

    Some become names of their list only, in any order, at first more often, so that the decoder
    learns to follow a list first and when not to afterwards; others get a name inserted. In most,
    tokens of names are permuted, in list and text alike: a name that is always new must be read.

    Args:
        ids: [B L]; ids_length: [B]; keys: [B].
        context: [B C] lists of names; context_length: [B]; 0 leaves an example unchanged.
        separator: id of the token between names.
        progress: [B], of the stage, 0 to 1.

    Returns:
        [B L] ids, [B] lengths, [B C] context.
    """
    dims = shapes.check(context, "B C", shapes.check(ids, "B L"))
    valid = shapes.valid(context_length, dims["C"])

    def one(ids, length, context, context_length, key, progress):
        share = ALONE[0] + (ALONE[1] - ALONE[0]) * progress
        which, order, rename = jax.random.split(jax.random.fold_in(key, 1), 3)
        names, ends = _shuffled(context, context_length, separator, order)
        how_many, at, draw = jax.random.uniform(which, (3,))
        last = jnp.maximum((ends > 0).sum(), 1) - 1
        first = jnp.minimum(ends[0], dims["L"])
        alone = ends[jnp.minimum((NAMES * how_many).astype(jnp.int32), last)]
        alone = jnp.minimum(alone, dims["L"])
        inserted = _insert(ids, names, first, (at * (length + 1)).astype(jnp.int32))
        only_names = jnp.pad(names, (0, max(dims["L"] - dims["C"], 0)))[: dims["L"]]
        kind = (draw < share).astype(int) + (draw < share + INSERTED)
        kind = jnp.where(context_length > 0, kind, 0)
        ids = jnp.stack([ids, inserted, only_names])[kind]
        length = jnp.stack([length, jnp.minimum(length + first, dims["L"]), alone])[kind]
        ids = jnp.where(jnp.arange(dims["L"]) < length, ids, 0)
        ids, context = _renamed(ids, context, rename, separator)
        return ids, _with_decoys(ids, length, context, rename, separator), length

    context = _marked(context, context_length)
    ids, context, length = jax.vmap(one)(ids, ids_length, context, context_length, keys, progress)
    return ids, length, jnp.where(valid, context, 0)


def _shuffled(context, length, separator, key):
    """Concatenates the names in random order: [C] tokens, and [C] end of each name, then 0."""
    size = context.shape[0]
    valid = jnp.arange(size) < length
    entry = jnp.cumsum((context == separator) & valid)
    count = jnp.where(length > 0, entry[-1] + 1, 0)
    exists = jnp.arange(size) < count
    draws = jnp.where(exists, jax.random.uniform(key, (size,)), 2.0)
    rank = jnp.argsort(jnp.argsort(draws))  # by entry
    spelled = valid & (context != separator)
    order = jnp.where(spelled, rank[entry] * size + jnp.arange(size), size * size)
    names = context[jnp.argsort(order)]
    each = jnp.zeros(size, jnp.int32).at[rank[entry]].add(spelled)
    return names, jnp.where(exists, jnp.cumsum(each), 0)


def _insert(ids, name, size, at):
    """Inserts the first `size` tokens of a name before token `at`."""
    number = jnp.arange(ids.shape[0])
    before, inside = number < at, number < at + size
    old = ids[jnp.where(before, number, jnp.maximum(number - size, 0))]
    new = name[jnp.clip(number - at, 0, name.shape[0] - 1)]
    return jnp.where(inside & ~before, new, old)


def _renamed(ids, context, key, separator):
    """Permutes the tokens of a list's names, in list and text, with probability RENAMED."""
    whether, which = jax.random.split(key)
    same = context[:, None] == context[None]  # [C C]
    first = jnp.argmax(same, 1)  # first occurrence of a token; all of them map alike
    spelled = (context != separator) & (context != _NOTHING)
    once = spelled & (first == jnp.arange(len(first)))
    draws = jnp.where(once, jax.random.uniform(which, context.shape), 2.0)
    order = jnp.argsort(draws)[jnp.cumsum(once) - 1]  # position of the n-th token's substitute
    new = jnp.where(spelled, context[order[first]], context)
    at = jnp.argmax(ids[:, None] == context[None], 1)
    mapped = jnp.where(in_list(ids, context, separator), new[at], ids)
    change = jax.random.bernoulli(whether, RENAMED)
    return jnp.where(change, mapped, ids), jnp.where(change, new, context)


def _with_decoys(ids, length, context, key, separator):
    """Puts tokens of the text into unspoken names, so that one match alone triggers no copying."""
    whether, where, which = jax.random.split(jax.random.fold_in(key, 1), 3)
    idle = jax.random.bernoulli(whether) & ~in_list(ids, context, separator).any()
    spelled = (context != separator) & (context != _NOTHING)
    decoy = idle & spelled & jax.random.bernoulli(where, DECOYS, context.shape)
    at = jax.random.randint(which, context.shape, 0, jnp.maximum(length, 1))
    return jnp.where(decoy, ids[at], context)


def in_lists(ids, context, context_length, separator):
    """[B L] and [B C] with [B] lengths -> [B L] bool: see `in_list`."""
    context = _marked(context, context_length)
    return jax.vmap(in_list, (0, 0, None))(ids, context, separator)


def _marked(context, context_length):
    """[B C] lists with _NOTHING at padding."""
    return jnp.where(shapes.valid(context_length, context.shape[1]), context, _NOTHING)


def in_list(ids, context, separator):
    """[L], [C] -> [L] bool: tokens in the list beside the same neighbour, or as a whole name."""
    same = ids[:, None] == context[None]
    pair = (same[:-1, :-1] & same[1:, 1:]).any(1)  # token and the next one
    edge = (context == separator) | (context == _NOTHING)
    edges = jnp.pad(edge, 1, constant_values=True)
    whole = ~edge & edges[:-2] & edges[2:]  # a name of one token
    return jnp.pad(pair, (0, 1)) | jnp.pad(pair, (1, 0)) | (same & whole[None]).any(1)


def alike(spelled) -> np.ndarray | None:
    """[V _ALIKE] int32: the pieces of most similar spelling to each of V pieces; -1: no more.

    None for no pieces.
    """
    if not spelled:
        return None
    rows = spelling(spelled)
    score = rows @ rows.T + np.random.default_rng(0).uniform(0, 1e-3, (len(rows),) * 2)
    np.fill_diagonal(score, -1)
    near = np.argsort(-score, 1)[:, :_ALIKE]
    return np.where(np.take_along_axis(score, near, 1) > 0.01, near, -1).astype(np.int32)


def misrecognised(ids, ids_length, context, context_length, keys, separator, pieces, near=None):
    """Replaces a share of the tokens in lists, as an encoder would: [B L] and [B] lengths.

    The share is random, more often high, and 1 in texts of names only. Without many such rows a
    decoder reads slots and never learns to follow a name through a list. Some of the misrecognised
    tokens are deleted, and as many become two, which shifts everything behind them.

    Args:
        ids: [B L]; ids_length: [B]; context: [B C]; context_length: [B]; keys: [B].
        separator: id of the token between names.
        pieces: [V'] int32, tokens to draw from.
        near: [V K] int32, from which a share CONFUSED is drawn instead, see `alike`; or None.
    """
    dims = shapes.check(context, "B C", shapes.check(ids, "B L"))

    def one(ids, length, context, key):
        share, whether, which = jax.random.split(jax.random.fold_in(key, 2), 3)
        eligible = in_list(ids, context, separator)
        alone = (eligible | (jnp.arange(dims["L"]) >= length)).all()
        share = jnp.where(alone, 1.0, jax.random.uniform(share) ** 0.5)
        wrong = eligible & jax.random.bernoulli(whether, share, ids.shape)
        which, confused, kin, times = jax.random.split(which, 4)
        twice = (2, dims["L"])
        other = jnp.asarray(pieces)[jax.random.randint(which, twice, 0, len(pieces))]
        if near is not None:
            kin = jnp.asarray(near)[ids, jax.random.randint(kin, twice, 0, near.shape[1])]
            takes = jax.random.bernoulli(confused, CONFUSED, twice) & (kin >= 0)
            other = jnp.where(takes, kin, other)
        recognised = jnp.where(wrong, other, ids)
        times = jax.random.uniform(times, ids.shape)
        count = jnp.where(wrong, 1 + (times < LONGER) - (times > 1 - LONGER), 1)
        count = jnp.where(jnp.arange(dims["L"]) < length, count, 0)
        ends, slot = jnp.cumsum(count), jnp.arange(dims["L"])
        token = jnp.minimum((slot[:, None] >= ends[None]).sum(1), dims["L"] - 1)
        recognised = recognised[slot - (ends - count)[token], token]  # its first or second slot
        return recognised, jnp.clip(ends[-1], jnp.minimum(length, 1), dims["L"])

    context = _marked(context, context_length)
    ids, length = jax.vmap(one)(ids, ids_length, context, keys)
    return jnp.where(shapes.valid(length, dims["L"]), ids, 0), length
