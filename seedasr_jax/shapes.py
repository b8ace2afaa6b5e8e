"""Shapes: axis letters, checks of shapes, and masks from lengths.

Letters (one meaning everywhere): A micro-batches, B batch, S samples, T frames, F mel bins,
D encoder width, K splice, kernel or codes, U speech tokens, P prompt tokens, C context tokens,
N decoder positions, L transcript tokens (or layers in parameters), E decoder width, H heads,
G key-value heads, V vocabulary.
"""

import jax
import jax.numpy as jnp

LANES = 128  # of a TPU's vectors: lengths must be multiples of it for TPU kernels
# Logit of an excluded outcome, such as a padding row of a vocabulary. Not the lowest float32, which
# is -inf in bfloat16, the input type of a TPU's matrix product: -inf times a 0 of one-hot labels
# (CTC) is NaN.
NEVER = -1e9


def check(x, letters: str, dims: dict | None = None) -> dict:
    """Checks the shape of `x` and returns {letter: size}, including `dims`.

    Args:
        x: an array, a tracer or a ShapeDtypeStruct.
        letters: such as "B T D"; a number is a fixed size.
        dims: known sizes by letter, which `x` must match.

    Raises:
        ValueError: the rank or a size differs; names the letter, expected and found size.
    """
    names = letters.split()
    dims = dict(dims or {})
    if len(names) != len(x.shape):
        raise ValueError(f"expected [{letters}] ({len(names)} axes), found shape {x.shape}")
    for name, size in zip(names, x.shape):
        expected = int(name) if name.isdigit() else dims.setdefault(name, size)
        if expected != size:
            raise ValueError(f"expected [{letters}] with {name} = {expected}, found {x.shape}")
    return dims


def valid(length: jax.Array, size: int) -> jax.Array:
    """[B] lengths -> [B size] bool, true at valid positions."""
    return jnp.arange(size)[None] < length[:, None]


def align(x: jax.Array, like: jax.Array) -> jax.Array:
    """`x` with leading axes of size 1 added up to the rank of `like`, for explicit broadcasting."""
    return x.reshape((1,) * (like.ndim - x.ndim) + x.shape)


def align_left(x: jax.Array, like: jax.Array) -> jax.Array:
    """`x` with trailing axes of size 1 added up to the rank of `like`."""
    return x.reshape(x.shape + (1,) * (like.ndim - x.ndim))


def zero_padding(x: jax.Array, length: jax.Array) -> jax.Array:
    """[B T ...] with padding replaced by zeros, even where it is NaN."""
    return jnp.where(align_left(valid(length, x.shape[1]), x), x, 0)
