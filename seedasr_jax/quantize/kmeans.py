"""k-means over encoder frames: labels for the second SSL iteration, and its fit (online Lloyd).

The parameters are sums over frames, so a step's sums over any mesh, micro-batches and hosts are
computed as gradients are: `surrogate` is linear in the stored sums, and its gradient is minus the
batch's sums. `advance` adds these to the decayed stored sums.

Dims: B batch, T frames, D encoder width, K codes.
"""

from flax import nnx
import jax
import jax.numpy as jnp

from seedasr_jax import shapes

EMPTY = 0.01  # a code with less than this fraction of the mean count is re-initialised by a split
SPLIT = 0.1  # standard deviations, per feature, between the two halves of a split code


class KMeans(nnx.Module):
    """Labels a frame with its nearest centroid, features standardised; stores sums over frames."""

    def __init__(self, width, *, codes):
        self.sums = nnx.Param(jnp.zeros((codes, width)), axes=("codes", "width"))
        self.counts = nnx.Param(jnp.zeros(codes), axes=("codes",))
        self.first = nnx.Param(jnp.zeros(width), axes=("norm",))  # sum of all frames
        self.second = nnx.Param(jnp.zeros(width), axes=("norm",))  # sum of their squares
        self.frames = nnx.Param(jnp.zeros(()), axes=())

    def statistics(self):
        """The stored sums by name, as `advance` takes them."""
        names = ("sums", "counts", "first", "second", "frames")
        return {name: getattr(self, name)[...] for name in names}

    def distances(self, x):
        """[B T D] -> [B T K] squared distances of standardised features, float32.

        Infinite to codes without frames, except to the first code before the first step.
        """
        shapes.check(x, "B T D")
        stored = self.statistics()
        mean, deviation = moments(stored)
        a = (x.astype(jnp.float32) - mean[None, None]) / deviation[None, None]
        b = (centroids(stored) - mean[None]) / deviation[None]
        with jax.default_matmul_precision("highest"):
            products = jnp.einsum("BTD,KD->BTK", a, b)
        squares = (a * a).sum(-1)[..., None] + (b * b).sum(-1)[None, None]
        used = stored["counts"] > 0
        used = used.at[0].set(used[0] | ~used.any())
        return jnp.where(used[None, None], jnp.maximum(squares - 2 * products, 0), jnp.inf)

    def __call__(self, x, length):
        """[B T D] of [B] valid frames -> [B T] int32 labels, 0 at padding; [B] valid labels."""
        ids = jnp.argmin(self.distances(x), -1).astype(jnp.int32)
        return shapes.zero_padding(ids, length), length


def moments(stored):
    """[D] mean and [D] standard deviation of all frames; 0 and 1 before the first frame."""
    frames = jnp.maximum(stored["frames"], 1)
    mean = stored["first"] / frames
    deviation = jnp.sqrt(jnp.maximum(stored["second"] / frames - mean**2, 1e-6))
    return mean, jnp.where(stored["frames"] > 0, deviation, 1.0)


def centroids(stored):
    """[K D] means of each code's frames; 0 for a code without frames."""
    return stored["sums"] / jnp.where(stored["counts"] > 0, stored["counts"], 1)[:, None]


def batch_sums(x, ids, weights, codes):
    """The sums, by name, of frames [B T D] with labels [B T]; frames of weight 0 are ignored."""
    shapes.check(ids, "B T", shapes.check(x, "B T D"))
    x = jnp.where((weights > 0)[..., None], x.astype(jnp.float32), 0)
    chosen = jax.nn.one_hot(ids, codes) * weights[..., None]
    with jax.default_matmul_precision("highest"):
        return {
            "sums": jnp.einsum("BTK,BTD->KD", chosen, x),
            "counts": chosen.sum((0, 1)),
            "first": jnp.einsum("BT,BTD->D", weights, x),
            "second": jnp.einsum("BT,BTD->D", weights, x * x),
            "frames": weights.sum(),
        }


def surrogate(stored, batch):
    """A scalar whose gradient with respect to `stored` is minus the sums of `batch`."""
    products = jax.tree.map(lambda s, b: (s * jax.lax.stop_gradient(b)).sum(), stored, batch)
    return -sum(jax.tree.leaves(products))


def advance(stored, batch, keep, key):
    """Stored sums times `keep` plus the batch's; the most used codes are split into empty ones.

    All codes but the first begin empty, so the number of used codes doubles with each step until
    all are used. `key` draws the directions of splits.
    """
    stored = jax.tree.map(lambda old, new: keep * old + new, stored, batch)
    counts = stored["counts"]
    empty = counts < EMPTY * counts.sum() / counts.shape[0]
    # The r-th empty code receives half of the r-th most used one, while there are used ones left.
    splits = jnp.minimum(empty.sum(), (~empty).sum())
    donor = jnp.argsort(-counts, stable=True)  # empty ones last
    taker = jnp.argsort(~empty, stable=True)  # empty ones first
    rank = jnp.arange(counts.shape[0])
    donor, taker = (jnp.where(rank < splits, x, counts.shape[0]) for x in (donor, taker))
    half = counts.at[donor].get(mode="fill", fill_value=0.0)[:, None] / 2
    centre = centroids(stored).at[donor].get(mode="fill", fill_value=0.0)
    _, deviation = moments(stored)
    apart = SPLIT / 2 * deviation[None] * jax.random.normal(key, centre.shape)
    sums = stored["sums"]
    for where, sign in ((donor, 1), (taker, -1)):
        sums = sums.at[where].set(half * (centre + sign * apart), mode="drop")
        counts = counts.at[where].set(half[:, 0], mode="drop")
    return stored | {"sums": sums, "counts": counts}
