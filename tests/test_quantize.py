"""Speech tokenizers against float64 NumPy; the fit of k-means against Lloyd's algorithm.

Dims: B batch, T frames, F mel bins, D width, K codes, N frames in all.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from seedasr_jax.quantize import kmeans
from seedasr_jax.quantize.random_projection import RandomProjection

RNG = np.random.default_rng(0)
MEL = RNG.normal(3, 2, (3, 10, 8)).astype(np.float32)
LENGTH = np.array([10, 7, 3], np.int32)


advance, centroids = jax.jit(kmeans.advance), jax.jit(kmeans.centroids)


@jax.jit
def labels(quantizer, x, length):
    return quantizer(x, length)


def called(quantizer, x, length):
    return jax.tree.map(np.asarray, labels(quantizer, x, length))


distances = jax.jit(lambda quantizer, x: quantizer.distances(x))


def projection(codes=32, width=5, size=4):
    """With random parameters; the codes of any length."""

    def create(rngs):
        return RandomProjection(8, size=size, codes=codes, width=width, rngs=rngs)

    return tiny.drawn(create)


def test_labels_follow_the_formula():
    """z = argmin | c / |c| - A x / |A x| |, x normalised over the valid frames, stacks of 4."""
    quantizer = projection()
    ids, length = called(quantizer, MEL, LENGTH)
    a = np.asarray(quantizer.project[...], np.float64)
    codes = np.asarray(quantizer.codebook[...], np.float64)
    codes = codes / np.sqrt((codes**2).sum(1, keepdims=True))
    np.testing.assert_array_equal(length, [3, 2, 1])
    for row in range(3):
        mel = MEL[row, : LENGTH[row]].astype(np.float64)
        mel = (mel - mel.mean(0)) / np.sqrt(mel.var(0) + 1e-5)
        mel = np.pad(mel, ((0, -len(mel) % 4), (0, 0)))
        for t, x in enumerate(mel.reshape(-1, 32)):
            y = x @ a / np.sqrt(((x @ a) ** 2).sum())
            assert ids[row, t] == np.argmin(((codes - y) ** 2).sum(1))
        assert not ids[row, length[row] :].any()


def test_labels_do_not_know_the_level_of_a_bin():
    quantizer = projection()
    ids, _ = called(quantizer, MEL, LENGTH)
    scaled = MEL * np.float32([1, 2, 3, 4, 5, 6, 7, 8]) - np.float32(20)
    np.testing.assert_array_equal(called(quantizer, scaled, LENGTH)[0], ids)


def test_noise_meets_many_codes():
    """The failure that the normalisation prevents is a collapse: few codes for all frames."""
    quantizer = projection(codes=64, width=16)
    loud = RNG.normal(30, 1, (4, 400, 8)).astype(np.float32)  # far from 0: one direction
    ids, _ = called(quantizer, loud, np.full(4, 400))
    counts = np.bincount(np.asarray(ids).reshape(-1), minlength=64)
    assert (counts > 0).mean() > 0.7 and counts.max() < 0.2 * counts.sum()


def test_a_silent_or_empty_utterance_gives_labels_too():
    ids, length = called(projection(), np.zeros((2, 8, 8), np.float32), np.array([8, 0]))
    assert (ids[0] == ids[0, 0]).all() and not ids[1].any() and length[1] == 0


def stored(x, ids, codes):
    """The sums of frames [N D] with labels [N], in float64."""
    hot = np.eye(codes)[ids]
    sums = dict(sums=hot.T @ x, counts=hot.sum(0), first=x.sum(0), second=(x**2).sum(0))
    return sums | dict(frames=np.float64(len(x)))


def as_arrays(sums):
    return {k: np.asarray(v, np.float32) for k, v in sums.items()}


def module(sums, width, codes):
    """KMeans that holds these sums."""
    found = kmeans.KMeans(width, codes=codes)
    for name, value in sums.items():
        getattr(found, name)[...] = value
    return found


def nearest(x, sums):
    """Labels and squared distances [N K] of standardised features, in float64."""
    mean = sums["first"] / sums["frames"]
    deviation = np.sqrt(sums["second"] / sums["frames"] - mean**2)
    centres = sums["sums"] / sums["counts"][:, None]
    squares = (((x[:, None] - centres[None]) / deviation) ** 2).sum(-1)
    return squares.argmin(1), squares


def test_one_update_matches_float64():
    x = RNG.normal(5, [1, 4, 0.2], (60, 3))
    old = stored(x[:40], np.arange(40) % 4, 4)
    ids, squares = nearest(x, old)
    new = stored(x, ids, 4)
    assert new["counts"].min() > 0
    wanted = {k: 0.75 * old[k] + new[k] for k in old}
    quantizer = module(old, 3, 4)
    frames = x.reshape(3, 20, 3).astype(np.float32)
    np.testing.assert_allclose(distances(quantizer, frames).reshape(60, 4), squares, rtol=1e-3)
    found, length = called(quantizer, frames, np.array([20, 20, 0]))
    np.testing.assert_array_equal(found.reshape(60)[:40], ids[:40])
    assert not found[2].any() and length[2] == 0

    def loss(now):
        ids = jnp.argmin(quantizer.distances(frames), -1)
        batch = kmeans.batch_sums(frames, ids, jnp.ones((3, 20)), 4)
        return kmeans.surrogate(now, batch)

    gradient = jax.jit(jax.grad(loss))(quantizer.statistics())
    batch = jax.tree.map(np.negative, gradient)
    for name, value in new.items():
        np.testing.assert_allclose(batch[name], value, rtol=1e-5, err_msg=name)
    after = advance(as_arrays(old), batch, 0.75, jax.random.key(0))
    for name, value in wanted.items():
        np.testing.assert_allclose(after[name], value, rtol=1e-5, err_msg=name)


def test_frames_without_weight_are_in_no_sum():
    x = RNG.normal(0, 1, (2, 6, 3)).astype(np.float32)
    ids, weights = RNG.integers(0, 4, (2, 6)), RNG.integers(0, 2, (2, 6)).astype(np.float32)
    on = weights > 0
    batch_sums = jax.jit(kmeans.batch_sums, static_argnums=3)
    found = batch_sums(np.where(on[..., None], x, np.nan), ids, weights, 4)
    for name, value in stored(x[on], ids[on], 4).items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


def test_an_empty_code_takes_half_of_the_most_used():
    x = RNG.normal(0, 1, (100, 2))
    ids = np.r_[np.zeros(60, int), np.full(38, 2), np.full(2, 3)]
    old = as_arrays(stored(x, ids, 6))
    none = jax.tree.map(np.zeros_like, old)
    after = jax.tree.map(np.asarray, advance(old, none, 1.0, jax.random.key(3)))
    np.testing.assert_allclose(after["counts"], [30, 30, 19, 1, 19, 1])
    pairs = {1: 0, 4: 2, 5: 3}  # the most used to the first empty
    centres, before = (np.asarray(centroids(sums)) for sums in (after, old))
    deviation = np.asarray(jax.jit(kmeans.moments)(old)[1])
    for taker, donor in pairs.items():
        np.testing.assert_allclose((centres[taker] + centres[donor]) / 2, before[donor], atol=1e-5)
        apart = np.abs(centres[taker] - centres[donor]) / deviation
        assert 1e-3 < apart.max() < 0.5
    again = advance(old, none, 1.0, jax.random.key(3))
    np.testing.assert_array_equal(again["sums"], after["sums"])
    other = advance(old, none, 1.0, jax.random.key(4))
    assert (np.asarray(other["sums"]) != after["sums"]).any()


def test_no_frames_change_nothing():
    empty = as_arrays(stored(np.zeros((0, 2)), np.zeros(0, int), 3))
    after = advance(empty, empty, 0.9, jax.random.key(0))
    assert not any(np.asarray(x).any() for x in jax.tree.leaves(after))


def test_only_the_first_code_is_there_at_first():
    fresh = kmeans.KMeans(3, codes=5)
    x = RNG.normal(0, 1, (1, 9, 3)).astype(np.float32)
    ids, _ = called(fresh, x, np.array([9]))
    assert not ids.any()
    assert not np.isfinite(np.asarray(distances(fresh, x))[..., 1:]).any()


def lloyd(x, codes, seed):
    """Inertia per frame of plain Lloyd from `codes` frames drawn as k-means++ draws them."""
    rng = np.random.default_rng(seed)
    centres = x[rng.integers(len(x))][None]
    while len(centres) < codes:
        squares = ((x[:, None] - centres[None]) ** 2).sum(-1).min(1)
        centres = np.vstack([centres, x[rng.choice(len(x), p=squares / squares.sum())]])
    for _ in range(20):
        ids = ((x[:, None] - centres[None]) ** 2).sum(-1).argmin(1)
        centres = np.stack(
            [x[ids == k].mean(0) if (ids == k).any() else c for k, c in enumerate(centres)]
        )
    return ((x[:, None] - centres[None]) ** 2).sum(-1).min(1).mean()


@jax.jit
def fitted(now, frames, step):
    """One step of the fit on frames [1 N D]."""
    codes, width = now["sums"].shape
    ids = jnp.argmin(module(now, width, codes).distances(frames), -1)
    batch = kmeans.batch_sums(frames, ids, jnp.ones(frames.shape[:2]), codes)
    return kmeans.advance(now, batch, 0.9, jax.random.fold_in(jax.random.key(0), step))


@pytest.mark.parametrize("seed", [0, 1])
def test_the_fit_finds_blobs_like_lloyd(seed):
    """Batches of 200 frames of 20 blobs: as good as the best of five runs of Lloyd on them all."""
    rng = np.random.default_rng(seed)
    codes, width = 20, 6
    blobs = rng.normal(0, 3, (codes, width)) * [1, 1, 1, 5, 5, 0.2] + 10
    spread = np.array([1, 1, 1, 5, 5, 0.2]) * 0.4
    x = blobs[rng.integers(0, codes, 2_000)] + rng.normal(0, 1, (2_000, width)) * spread
    standard = (x - x.mean(0)) / x.std(0)
    best = min(lloyd(standard, codes, n) for n in range(5))

    now = kmeans.KMeans(width, codes=codes).statistics()
    for step in range(150):
        frames = x[rng.choice(2_000, 200)].astype(np.float32)
        now = fitted(now, frames[None], step)
    found = distances(module(now, width, codes), x[None].astype(np.float32))
    squares = np.asarray(found).min(-1)
    assert (np.asarray(now["counts"]) > 0).all()
    assert squares.mean() < 1.1 * best
