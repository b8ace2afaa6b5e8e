"""Reductions of logits that are sharded over `tensor`: as of NumPy's whole rows.

Dims: B batch, W hypotheses, V vocabulary, C candidates.
"""

import jax
import jax.numpy as jnp
import numpy as np

from seedasr_jax import config
from seedasr_jax.decode import shards
from seedasr_jax.parallel import layout
from seedasr_jax.parallel import mesh as meshes

SIZE = 128  # of the vocabulary: 32 of each of four devices
COUNTS = (1, 5, 40)  # 40 are more than a device holds


def reduced(shard, x, index):
    assert x.shape[-1] == SIZE // 4 and x.shape[0] == 2
    best = [shard.best(x, count) for count in COUNTS]
    return best, shard.logsumexp(x), shard.at(x, index), shards.pick(shard, (-x, x))


def test_shards_reduce_as_whole_rows_do():
    """Equal values too: the first of them comes first."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 9, (4, 3, SIZE)).astype(np.float32)
    x[0, 0, 5:] = -np.inf
    index = rng.integers(0, SIZE, (4, 3, 2)).astype(np.int32)

    @jax.jit
    def call(x, index):
        with layout.over(meshes.make(config.Mesh(2, 1, 4, 1))):
            return shards.over(reduced, layout.hidden(x), index)

    best, total, at, (chosen, gain) = jax.tree.map(np.asarray, call(x, index))
    order = np.argsort(-x, -1, stable=True)
    for count, (values, found) in zip(COUNTS, best):
        np.testing.assert_array_equal(found, order[..., :count])
        np.testing.assert_array_equal(values, np.take_along_axis(x, found, -1))
    np.testing.assert_allclose(total, np.log(np.exp(x).sum(-1, keepdims=True)), rtol=1e-6)
    np.testing.assert_array_equal(at, np.take_along_axis(x, index, -1))
    np.testing.assert_array_equal(chosen, x.argmin(-1))
    np.testing.assert_allclose(gain, x.min(-1) - total[..., 0], rtol=1e-6)


def test_one_device_holds_all():
    x, index = jnp.arange(6.0).reshape(1, 1, 6), jnp.array([[[4]]])
    value, found = shards.over(lambda shard, x, index: shard.best(x, 2), x, index)
    assert value.tolist() == [[[5, 4]]] and found.tolist() == [[[5, 4]]]
    assert shards.ALL.at(x, index).item() == 4
