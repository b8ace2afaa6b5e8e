"""Devices of the small recipes: ours, not the paper's, and off by default.

Dims: B batch, T frames, K splice, U = ceil(T / K) slots, N tokens, L tokens, V vocabulary, E LLM
width.

A tiny decoder cannot track which speech slot comes next when slots have gaps and repeats. Clocked
positions give the slots of the k-th token the position k: the clock is the running count of CTC
onsets. `copy_slots` makes such slots out of text, to teach a fresh decoder to read them. A linear
layer cannot map frames to a thousand embeddings in a few hundred steps: `expected_pieces` does what
the CTC head knows already. `Reader` helps a few layers to copy a name out of a list.
"""

from flax import nnx
import jax
import jax.numpy as jnp

from seedasr_jax import shapes
from seedasr_jax.models.converter import Converter
from seedasr_jax.models.layers import Dense, mask_surplus, padded_vocabulary


def onset_clock(logits, length, splice, blank):
    """Counts CTC greedy onsets up to each splice's last frame.

    Args:
        logits: [B T V] of the CTC head; length: [B] real frames.

    Returns:
        [B U] int32, without gradient; padding keeps the last count.
    """
    dims = shapes.check(logits, "B T V")
    best = jnp.where(shapes.valid(length, dims["T"]), jnp.argmax(logits, -1), blank)
    before = jnp.pad(best, ((0, 0), (1, 0)), constant_values=blank)[:, :-1]
    count = jnp.cumsum((best != blank) & (best != before), 1)
    count = jnp.pad(count, ((0, 0), (0, -dims["T"] % splice)), mode="edge")
    return jax.lax.stop_gradient(count[:, splice - 1 :: splice].astype(jnp.int32))


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


SLOTS = 4  # at most, of one token: two blanks and two of its own


def copy_slots(ids, ids_length, keys, table, blank):
    """Slots as a CTC encoder would give them: gaps, repeats, soft mixtures, 5 % wrong.

    Args:
        ids: [B L]; ids_length: [B]; keys: [B]; table: [V E] embeddings.

    Returns:
        [B 4L E] slots, [B] real ones, and [B 4L] int32 the clock: tokens begun so far.
    """
    dims = shapes.check(ids, "B L")
    size = SLOTS * dims["L"]

    def one(ids, length, key):
        keys = jax.random.split(key, 5)
        gap = jax.random.randint(keys[0], ids.shape, 0, 3)
        repeat = jax.random.randint(keys[1], ids.shape, 1, 3)
        each = jnp.where(jnp.arange(dims["L"]) < length, gap + repeat, 0)
        ends = jnp.cumsum(each)
        slot = jnp.arange(size)
        token = jnp.minimum((slot[:, None] >= ends[None]).sum(1), dims["L"] - 1)
        silent = slot < (ends - each + gap)[token]
        shown = jnp.where(silent, blank, ids[token])
        wrong = jax.random.bernoulli(keys[2], 0.05, shown.shape)
        other = ids[jax.random.randint(keys[3], shown.shape, 0, jnp.maximum(length, 1))]
        shown = jnp.where(wrong, other, shown)
        share = jax.random.uniform(keys[4], shown.shape, minval=0.6, maxval=1.0)[:, None]
        beside = jnp.where(silent, other, blank)
        slots = share * table[shown] + (1 - share) * table[beside]
        return slots, ends[-1], token + 1 - silent

    slots, length, clock = jax.vmap(one)(ids, ids_length, keys)
    return shapes.zero_padding(slots, length), length, clock


def expected_pieces(logits, table):
    """CTC logits [B T V] and embeddings [V E] -> each frame's expected embedding [B T E]."""
    shapes.check(table, "V E", shapes.check(logits, "B T V"))
    return jnp.einsum("BTV,VE->BTE", jax.nn.softmax(logits, -1), table)


class MeanConverter(Converter):
    """A converter between equal widths that starts as the mean of the frames it splices."""

    def __init__(self, width, *, splice, dtype, rngs):
        super().__init__(width, width, splice=splice, dtype=dtype, rngs=rngs)
        kernel = self.project.kernel
        kernel[...] = jnp.tile(jnp.eye(width, dtype=kernel[...].dtype), (splice, 1)) / splice


class PhoneHead(nnx.Module):
    """Two phones in each encoder frame, early and late: [B T D] -> [B 2T P] float32 logits."""

    def __init__(self, width, phones, *, dtype, rngs):
        self.phones = phones
        rows = 2 * padded_vocabulary(phones)
        self.project = Dense(width, rows, ("width", "vocab"), bias=True, dtype=dtype, rngs=rngs)

    def __call__(self, x):
        dims = shapes.check(x, "B T D")
        return mask_surplus(self.project(x).reshape(dims["B"], 2 * dims["T"], -1), self.phones)


class Reader(nnx.Module):
    """How a small decoder reads tokens: mixed with the one before, flagged where they are told.

    With the token before in its embedding, one layer can find in a list what followed the token
    that was just written, and copy it.
    """

    def __init__(self, width, *, mix, flag, scale, dtype, rngs):
        options = dict(scale=0.1, dtype=dtype, rngs=rngs)
        self.mix = nnx.data(Dense(width, width, ("embed", "rank"), **options) if mix else None)
        vector = scale * width**-0.5 * jax.random.normal(rngs.params(), (width,))
        self.flag = nnx.data(nnx.Param(vector, axes=("norm",)) if flag else None)

    def __call__(self, x, earlier, told):
        """[B N E] embeddings, those before each [B N E]; `told`: they are of a context."""
        if self.mix is not None:
            x = x + self.mix(earlier)
        if told and self.flag is not None:
            x = x + self.flag[...].astype(x.dtype)[None, None]
        return x
