"""Text to copy, against what Python makes of the same rows.

Dims: B batch, L tokens, V vocabulary.
"""

import jax
import numpy as np
import pytest

from seedasr_jax.small.objectives import copying

ROWS, TOKENS, VOCABULARY, BLANK = 40, 5, 12, 0
RNG = np.random.default_rng(0)
LENGTH = RNG.integers(1, TOKENS + 1, ROWS).astype(np.int32)
IDS = RNG.integers(4, VOCABULARY, (ROWS, TOKENS)).astype(np.int32)
KEYS = jax.random.split(jax.random.key(0), ROWS)
copy = jax.jit(copying.copy_slots, static_argnums=(4, 5, 6))


def test_random_targets_replace_half():
    pieces = np.arange(4, 12, dtype=np.int32)
    ids = np.asarray(jax.jit(copying.random_targets)(IDS, LENGTH, KEYS, pieces))
    real = np.arange(TOKENS)[None] < LENGTH[:, None]
    assert not ids[~real].any() and (ids[real] >= 4).all() and (ids[real] < 12).all()
    kept = np.array([(a == b)[r].all() for a, b, r in zip(ids, IDS, real)])
    assert 0.3 < kept.mean() < 0.7


def test_some_random_targets_use_few_symbols():
    rows, tokens = 200, 30
    ids = np.zeros((rows, tokens), np.int32)
    keys = jax.random.split(jax.random.key(1), rows)
    length = np.full(rows, tokens)
    pieces = np.arange(4, 999, dtype=np.int32)
    out = np.asarray(jax.jit(copying.random_targets)(ids, length, keys, pieces))
    symbols = np.array([len(set(row)) for row in out])
    assert 0.15 < ((symbols > 1) & (symbols <= 4)).mean() < 0.35  # a quarter of all
    assert 0.15 < (symbols > 20).mean() < 0.35 and 0.4 < (symbols == 1).mean() < 0.6


def copied(table, tail=0, sustained=False):
    return copy(IDS, LENGTH, KEYS, table, BLANK, tail, sustained)


@pytest.mark.parametrize("sustained", [False, True])
def test_copied_slots_say_the_tokens_in_order(sustained):
    """One-hot embeddings show what each slot is made of."""
    made = copied(np.eye(VOCABULARY, dtype=np.float32), sustained=sustained)
    slots, length, clock = (np.asarray(x) for x in made)
    least, most = (1 - copying.UNSURE, copying.RUN + copying.GAP) if sustained else (0.6, 4)
    assert slots.shape == (ROWS, copying.SLOTS * TOKENS, VOCABULARY)
    wrong = total = 0
    for b in range(ROWS):
        real, now = slots[b, : length[b]], clock[b, : length[b]]
        assert not slots[b, length[b] :].any()
        np.testing.assert_allclose(real.sum(-1), 1, rtol=1e-5)  # a mixture
        assert now[-1] == LENGTH[b] and set(np.diff(now)) <= {0, 1} and now[0] in (0, 1)
        assert (real.max(-1) >= least - 1e-6).all()  # soft, but it has a main part
        spoken = np.concatenate([[now[0]], np.diff(now)]) == 1  # where a token begins
        shown = real[spoken].argmax(-1)
        wrong += (shown != IDS[b, : LENGTH[b]]).sum()
        total += LENGTH[b]
        each = np.diff(np.append(np.flatnonzero(spoken), length[b]))
        assert max(each) <= most + 2  # its own, the next one's blanks; before the first
    assert 0 < wrong < 0.12 * total  # 5 % are another token, on purpose


def test_copied_slots_have_gaps_and_repeats():
    _, length, _ = copied(np.eye(VOCABULARY, dtype=np.float32))
    each = np.asarray(length) / LENGTH
    assert 2 < each.mean() < 3 and each.max() > 3 and each.min() >= 1


def test_what_mixes_into_a_gap_are_the_tokens_that_meet_there():
    """One token in each place: what stands in a slot is its neighbours' or, seldom, any."""
    tokens, rows = 8, 400
    ids = np.tile(np.arange(1, tokens + 1), (rows, 1)).astype(np.int32)
    length, keys = np.full(rows, tokens), jax.random.split(jax.random.key(5), rows)
    eye = np.eye(tokens + 1, dtype=np.float32)
    made = copy(ids, length, keys, eye, BLANK, 4, True)
    slots, count, clock = (np.asarray(x) for x in made)
    beside = far = 0
    for row, n, now in zip(slots, count, clock):
        for parts, done in zip(row[:n], now):
            if parts[BLANK] > 0.5:  # in a gap, or behind all: `done` tokens have begun
                inside = {*np.flatnonzero(parts).tolist()} - {BLANK}
                beside += len(inside & {done, done + 1})
                far += len(inside - {done, done + 1})
    assert beside > 500 and far < 0.6 * beside  # a quarter draws any of eight


def test_sustained_slots_have_gaps_and_runs_by_example():
    rows = 300
    ids, length = np.tile(np.arange(2, 12), (rows, 1)), np.full(rows, 10)
    keys = jax.random.split(jax.random.key(1), rows)
    made = copy(ids, length, keys, np.eye(13, dtype=np.float32), BLANK, 0, True)
    slots, size, clock = (np.asarray(x) for x in made)
    assert (size <= copying.SLOTS * 10).all() and (clock.max(1) == 10).all()
    each = size / 10
    assert 2 < each.mean() < 3 and each.max() > 3.5
    assert 0.03 < (each == 1).mean() < 0.3  # every token once, and nothing between
    best, own = slots.max(-1), [s[:n] for s, n in zip(slots, size)]
    blanks = np.array([(s.argmax(-1) == BLANK).mean() for s in own])
    assert (blanks == 0).mean() > 0.2 and blanks.max() > 0.4
    best = np.concatenate([s.max(-1)[s.argmax(-1) != BLANK] for s in own])
    assert np.median(best) > 0.95 and 0.03 < (best < 0.7).mean() < 0.2


def test_silence_may_follow_the_last_token():
    slots, length, clock = (
        np.asarray(x) for x in copied(np.eye(VOCABULARY, dtype=np.float32), tail=6)
    )
    plain = np.asarray(copied(np.eye(VOCABULARY, dtype=np.float32))[1])
    behind = length - plain
    assert set(behind) == set(range(7))
    blank = 0
    for b in range(ROWS):
        np.testing.assert_array_equal(clock[b, plain[b] : length[b]], LENGTH[b])
        blank += (slots[b, plain[b] : length[b]].argmax(-1) == BLANK).sum()
        assert not slots[b, length[b] :].any()
    assert blank > 0.8 * behind.sum()  # but for slots that are wrong on purpose
