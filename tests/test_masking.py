"""SpecAugment and spans: the fraction that is masked, and what it depends on.

Dims: B batch, T frames, F mel bins.
"""

import jax
import jax.numpy as jnp
import numpy as np
import tiny

from seedasr_jax.audio import masking

ROWS, FRAMES, BINS = 60, 50, 20
COUNT = jnp.asarray(np.random.default_rng(0).integers(20, FRAMES, ROWS), jnp.int32)


def hidden(frames=FRAMES, position=None, seed=0, **augment):
    """[B T F] bool: what spec_augment sets to 0."""
    position = jnp.arange(ROWS) if position is None else position
    x = jnp.ones((len(position), frames, BINS))
    mask = jax.jit(masking.spec_augment, static_argnums=4)
    options = tiny.augment(**augment)
    return np.asarray(mask(x, COUNT[position], jax.random.key(seed), position, options)) == 0


def runs(row):
    """Lengths of the spans of true."""
    edges = np.diff(np.concatenate([[0], row.astype(int), [0]]))
    return np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1)


def test_off_masks_nothing():
    assert not hidden().any()


def test_a_frequency_mask_is_a_span_of_bins_over_all_frames():
    mask = hidden(frequency_masks=1, frequency_width=6)
    assert (mask == mask[:, :1]).all()
    widths = mask[:, 0].sum(-1)
    assert set(widths) == set(range(7))  # every width up to the widest, none too
    assert all(len(runs(row)) <= 1 for row in mask[:, 0])
    assert mask[:, 0].any(0).all()  # every bin has its turn


def test_a_time_mask_is_at_most_a_fraction_of_the_utterance():
    mask = hidden(time_masks=1, time_fraction=0.15)
    assert (mask == mask[:, :, :1]).all()
    widths = mask[:, :, 0].sum(-1)
    assert (widths <= 0.15 * np.asarray(COUNT)).all() and widths.max() >= 5
    assert all(not row[count:].any() for row, count in zip(mask[:, :, 0], COUNT))


def test_several_masks():
    mask = hidden(frequency_masks=2, frequency_width=4, time_masks=3, time_fraction=0.1)
    columns, frames = mask.all(1), mask.all(2)
    assert columns.sum(-1).max() > 4 and columns.sum(-1).max() <= 8
    assert max(len(runs(row)) for row in frames) == 3
    np.testing.assert_array_equal(mask, columns[:, None] | frames[:, :, None])


def test_a_width_past_the_bins_is_cut():
    assert hidden(frequency_masks=1, frequency_width=1_000)[:, 0].sum(-1).max() == BINS


def test_draws_follow_the_position_alone_and_no_padding():
    options = dict(tiny.ALL_DRAWS)
    some = hidden(position=jnp.array([7, 1, 4]), **options)
    np.testing.assert_array_equal(hidden(position=jnp.array([4, 7]), **options), some[[2, 0]])
    longer = hidden(frames=FRAMES + 30, position=jnp.array([7, 1, 4]), **options)
    np.testing.assert_array_equal(longer[:, :FRAMES], some)
    assert (hidden(position=jnp.array([7, 1, 4]), seed=1, **options) != some).any()


def spans(frames=FRAMES, position=None, count=COUNT, seed=0, start=0.02, span=6):
    """[B T] bool of masking.spans."""
    position = jnp.arange(ROWS) if position is None else position
    draw = jax.jit(masking.spans, static_argnums=1, static_argnames=("start", "span"))
    count = count[position]
    return np.asarray(draw(count, frames, jax.random.key(seed), position, start=start, span=span))


def test_spans_are_where_frames_started_them():
    hidden = spans(start=0.1)
    for row, count in zip(hidden, np.asarray(COUNT)):
        assert row.any() and not row[count:].any()
        for length, end in zip(runs(row), np.flatnonzero(np.diff(np.r_[row, False] * 1) == -1)):
            assert length >= 6 or end == count - 1  # cut by the end alone


def test_the_fraction_that_is_masked_is_the_published_one():
    """0.01 and 40 frames: about a third (1 - 0.99^40), less at the beginning."""
    count = jnp.full(ROWS, 1_000)
    hidden = spans(1_000, count=count, start=0.01, span=40)
    assert abs(hidden[:, 40:].mean() - (1 - 0.99**40)) < 0.03
    np.testing.assert_array_equal(spans(1_000, count=count, start=1.0, span=1), True)


def test_each_utterance_has_a_span_and_whole_where_there_is_room():
    hidden = spans(start=0.0)
    for row, count in zip(hidden, np.asarray(COUNT)):
        assert list(runs(row)) == [6] and not row[count:].any()
    short = spans(start=0.0, count=jnp.full(ROWS, 4))
    np.testing.assert_array_equal(short.sum(1), [min(4, n) for n in short.sum(1)])
    assert short[:, 0].all()  # no room: from the beginning
    assert not spans(start=0.0, count=jnp.zeros(ROWS, jnp.int32)).any()
    firsts = {int(np.argmax(row)) for row in spans(count=jnp.full(ROWS, 20), start=0.0)}
    assert min(firsts) == 0 and max(firsts) == 14


def test_spans_follow_the_position_alone_and_no_padding():
    some = spans(position=jnp.array([7, 1, 4]))
    np.testing.assert_array_equal(spans(position=jnp.array([4, 7])), some[[2, 0]])
    longer = spans(frames=FRAMES + 30, position=jnp.array([7, 1, 4]))
    np.testing.assert_array_equal(longer[:, :FRAMES], some)
    assert (spans(position=jnp.array([7, 1, 4]), seed=1) != some).any()


def test_noise_replaces_masked_frames():
    hidden = jnp.asarray(np.random.default_rng(0).random((ROWS, FRAMES)) < 0.5)
    mel = jnp.full((ROWS, FRAMES, BINS), 7.0)
    position = jnp.arange(ROWS)
    noise = jax.jit(masking.noise)
    found = np.asarray(noise(mel, hidden, jax.random.key(0), position, 0.1))
    drawn = found[np.asarray(hidden)]
    assert abs(drawn.std() - 0.1) < 0.002 and abs(drawn.mean()) < 0.002
    assert (found[~np.asarray(hidden)] == 7).all()
    turned = noise(mel, hidden[::-1], jax.random.key(0), position[::-1], 0.1)
    np.testing.assert_array_equal(turned[::-1], found)
