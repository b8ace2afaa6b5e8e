"""The small recipes' decoder, whose embeddings make up for having only a few layers.

`Reader` helps to copy a name out of a list, `spelled_alike` to find a misrecognised name there.

Dims: B batch, W hypotheses, N tokens, V vocabulary, F letters and letter pairs, E LLM width.
"""

import functools

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from seedasr_jax.models.decoder import Decoder
from seedasr_jax.models.layers import Dense, Embed

_NONE = -1  # in place of a token before the first one


class ReadingDecoder(Decoder):
    """A Decoder whose embeddings may be initialised by spelling and include the previous token."""

    def __init__(self, config, vocabulary, *, lora, variant, texts, remat, dtype, rngs):
        """`variant`: options.Small; `texts`: spellings of the pieces, if `variant.spelled`."""
        embed = functools.partial(spelled_embed, texts=texts) if variant.spelled else Embed
        options = dict(dtype=dtype, rngs=rngs)
        super().__init__(config, vocabulary, lora=lora, remat=remat, embed=embed, **options)
        self.reader = nnx.data(None)
        if variant.mix or variant.flag:
            options |= dict(scale=config.embed_scale)
            self.reader = Reader(config.width, mix=variant.mix, flag=variant.flag, **options)

    def embed_tokens(self, ids, *, in_context=False):
        """[B N] int32 -> [B N E], see Decoder."""
        x = self.pieces(ids)
        if self.reader is None:
            return x
        return self.reader(x, jnp.pad(x, ((0, 0), (1, 0), (0, 0)))[:, :-1], in_context)

    def memory(self, rows, count):
        """[B W] int32, the previous token, initially _NONE."""
        return None if self.reader is None else jnp.full((rows, count), _NONE, jnp.int32)

    def embed_next(self, ids, memory):
        """[B W] int32 -> [B W E], see Decoder."""
        x = self.pieces(ids)
        if self.reader is None:
            return x, memory
        earlier = jnp.where((memory >= 0)[..., None], self.pieces(jnp.maximum(memory, 0)), 0)
        return self.reader(x, earlier, False), ids


class Reader(nnx.Module):
    """Adds the projected previous token to each embedding, and a flag to those of a context.

    One layer can then find in a list what follows the token that was just decoded, and copy it.
    """

    def __init__(self, width, *, mix, flag, scale, dtype, rngs):
        options = dict(dtype=dtype, rngs=rngs)
        self.mix = nnx.data(Dense(width, width, ("embed", "rank"), **options) if mix else None)
        vector = scale * width**-0.5 * jax.random.normal(rngs.params(), (width,))
        self.flag = nnx.data(nnx.Param(vector, axes=("norm",)) if flag else None)

    def __call__(self, x, earlier, in_context):
        """`x`, `earlier`: [B N E], embeddings of the tokens and of the previous ones."""
        if self.mix is not None:
            x = x + self.mix(earlier)
        if in_context and self.flag is not None:
            x = x + self.flag[...].astype(x.dtype)[None, None]
        return x


def spelled_embed(size, width, *, texts, dtype, rngs) -> Embed:
    """An Embed whose table is initialised by the spelling of its pieces."""
    embed = Embed(size, width, dtype=dtype, rngs=rngs)
    embed.table[...] = spelled_alike(embed.table[...], texts, rngs.params())
    return embed


def spelling(texts) -> np.ndarray:
    """[V F] float32: the letters and letter pairs of each of V texts, as rows of norm 1.

    The product of two rows is their similarity in spelling; an empty text has zeros.
    """
    letters = [{*text, *zip(f" {text}", f"{text} ")} if text else set() for text in texts]
    columns = {each: n for n, each in enumerate(sorted(set().union(*letters), key=str))}
    rows = np.zeros((len(letters), max(len(columns), 1)), np.float32)
    for row, of_text in zip(rows, letters):
        row[[columns[each] for each in of_text]] = 1 / max(len(of_text), 1) ** 0.5
    return rows


def spelled_alike(table, texts, key):
    """Initial embeddings [V' E]: half of each is noise, half a projection of its spelling.

    `table`: [V' E] random rows, kept past the texts and for empty ones; `texts`: of V pieces;
    `key`: for the projection of letters.
    """
    spelled = spelling(texts)
    letters = jax.random.normal(key, (spelled.shape[1], table.shape[1])) * table.shape[1] ** -0.5
    noise = table[: len(spelled)]
    mixed = (noise + spelled @ letters) * 0.5**0.5
    return table.at[: len(spelled)].set(jnp.where(spelled.any(1)[:, None], mixed, noise))
