"""Converter: what is spliced, and that no tail is lost.

Dims: B batch, T frames, D encoder width, K splice, U tokens, E LLM width.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from seedasr_jax.models.converter import Converter

X = np.random.default_rng(0).normal(size=(2, 10, 3)).astype(np.float32)


@pytest.mark.parametrize("splice, tokens", [(1, [10, 5]), (3, [4, 2]), (4, [3, 2])])
def test_splices_then_projects(splice, tokens):
    converter = tiny.make(Converter, 3, 5, splice=splice)
    y, length = map(np.asarray, jax.jit(lambda *x: converter(*x))(X, np.array([10, 5])))
    np.testing.assert_array_equal(length, tokens)
    assert y.shape == (2, -(-10 // splice), 5)
    kernel = np.asarray(converter.project.kernel[...], np.float64).reshape(splice, 3, 5)
    for b, frames in enumerate([10, 5]):
        for u in range(y.shape[1]):
            here = range(u * splice, min((u + 1) * splice, frames))
            wanted = sum((X[b, t] @ kernel[t % splice] for t in here), np.zeros(5))
            np.testing.assert_allclose(y[b, u], wanted, atol=1e-5)


def test_a_length_per_example_is_expected():
    converter = tiny.make(Converter, 3, 5, splice=2)
    with pytest.raises(ValueError, match="B = 2"):
        converter(jnp.asarray(X), jnp.array([10]))
