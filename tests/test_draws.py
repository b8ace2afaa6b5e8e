"""Draws: published values, permutations, independence of keys."""

import collections
import itertools

import numpy as np
import pytest

from seedasr_jax.data_pipelines import draws


def test_words_are_splitmix64():
    # The first outputs of the reference implementation (Vigna, splitmix64.c) from state 0.
    expected = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert draws.words(3).tolist() == expected


def test_words_agree_with_plain_integers():
    mask, base = (1 << 64) - 1, draws.word(5, 6)
    for place, drawn in enumerate(draws.words(4, 5, 6).tolist(), 1):
        z = (base + place * 0x9E3779B97F4A7C15) & mask
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        assert drawn == z ^ (z >> 31)


def test_keys_matter_in_value_and_order():
    keys = [(), (0,), (1,), (0, 0), (0, 1), (1, 0), (2**63,)]
    assert len({draws.word(*key) for key in keys}) == len(keys)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1000])
def test_permute_and_shuffled_are_permutations(size):
    assert sorted(draws.permute(i, size, 3) for i in range(size)) == list(range(size))
    assert sorted(draws.shuffled(size, 3).tolist()) == list(range(size))


def test_permute_gives_every_order_about_equally():
    seen = collections.Counter(
        tuple(draws.permute(i, 4, key) for i in range(4)) for key in range(4_800)
    )
    assert set(seen) == set(itertools.permutations(range(4)))
    assert min(seen.values()) > 120 and max(seen.values()) < 300  # 200 expected


def test_permute_in_a_large_range_spreads():
    size = 10**12
    drawn = np.array([draws.permute(i, size, 1, 2) for i in range(2_000)]) / size
    assert abs(drawn.mean() - 0.5) < 0.03 and abs(drawn.std() - 12**-0.5) < 0.02
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 0.08


@pytest.mark.parametrize("size", [1, 2, 5, 64, 1000, 2**20 + 1, 10**9, 2**32, 10**12])
def test_many_entries_of_a_permutation_are_those_one_by_one(size):
    places = np.array([n % size for n in (0, 1, 2, 63, size - 1, size // 2, 7 * size // 9)])
    one_by_one = [draws.permute(place, size, 3, 2**63) for place in places.tolist()]
    assert draws.permute_all(places, size, 3, 2**63).tolist() == one_by_one
    assert draws.permute_all(places[:0], size, 3).tolist() == []
