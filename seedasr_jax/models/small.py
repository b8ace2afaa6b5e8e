"""Devices of the small recipes: ours, not the paper's, and off by default.

Dims: B batch, T frames, D encoder width, K splice, U = ceil(T / K) slots, N tokens, V vocabulary,
P phones, E LLM width.

A tiny decoder cannot track which speech slot comes next when slots have gaps and repeats. Clocked
positions give the slots of the k-th token the position k: the clock is the running count of CTC
onsets; train/copying.py teaches a fresh decoder to read them. A linear layer cannot map frames to a
thousand embeddings in a few hundred steps: `expected_pieces` does what the CTC head knows already.
`Reader` helps a few layers to copy a name out of a list; with `spelled_alike` a name that was
misheard still looks like the one in the list.
"""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

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


def expected_pieces(logits, table):
    """CTC logits [B T V] and embeddings [V E] -> each frame's expected embedding [B T E]."""
    shapes.check(table, "V E", shapes.check(logits, "B T V"))
    return jnp.einsum("BTV,VE->BTE", jax.nn.softmax(logits, -1), table)


def spelling(texts) -> np.ndarray:
    """[V F] float32: the letters and pairs of letters of each of V texts, rows of length 1.

    The product of two rows says how much they are spelled alike; a text of nothing has zeros.
    """
    parts = [{*text, *zip(f" {text}", f"{text} ")} if text else set() for text in texts]
    number = {part: n for n, part in enumerate(sorted(set().union(*parts), key=str))}
    has = np.zeros((len(parts), max(len(number), 1)), np.float32)
    for row, own in zip(has, parts):
        row[[number[part] for part in own]] = 1 / max(len(own), 1) ** 0.5
    return has


def spelled_alike(table, texts, key):
    """Embeddings [V E] to start from: half of each is noise, half follows from its spelling.

    Args:
        table: [V' E] random rows; those past the texts, and of texts of nothing, stay.
        texts: of V pieces.
        key: of the projection of letters.
    """
    has = spelling(texts)
    letters = jax.random.normal(key, (has.shape[1], table.shape[1])) * table.shape[1] ** -0.5
    noise = table[: len(has)]
    mixed = (noise + has @ letters) * 0.5**0.5
    return table.at[: len(has)].set(jnp.where(has.any(1)[:, None], mixed, noise))


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
        options = dict(bias=True, dtype=dtype, rngs=rngs, out=jnp.float32)
        self.project = Dense(width, rows, ("width", "vocab"), **options)

    def __call__(self, x):
        dims = shapes.check(x, "B T D")
        return mask_surplus(self.project(x).reshape(dims["B"], 2 * dims["T"], -1), self.phones)


class Reader(nnx.Module):
    """How a small decoder reads tokens: mixed with the one before, flagged in a context.

    With the token before in its embedding, one layer can find in a list what followed the token
    that was just written, and copy it.
    """

    def __init__(self, width, *, mix, flag, scale, dtype, rngs):
        options = dict(dtype=dtype, rngs=rngs)
        self.mix = nnx.data(Dense(width, width, ("embed", "rank"), **options) if mix else None)
        vector = scale * width**-0.5 * jax.random.normal(rngs.params(), (width,))
        self.flag = nnx.data(nnx.Param(vector, axes=("norm",)) if flag else None)

    def __call__(self, x, earlier, in_context):
        """[B N E] embeddings, and those before each [B N E]; `in_context`: of a context."""
        if self.mix is not None:
            x = x + self.mix(earlier)
        if in_context and self.flag is not None:
            x = x + self.flag[...].astype(x.dtype)[None, None]
        return x
