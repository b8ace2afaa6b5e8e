"""Sampler: exact shares, purity, every utterance once per pass."""

import collections
import time

import numpy as np
import pytest

from seedasr_jax.data_pipelines.sampler import Quota, Sampler


def test_quota_shares_are_exact_over_a_period():
    quota = Quota([0.7, 0.0, 0.3], 1)
    for cycle in range(3):
        places = range(cycle * quota.period, (cycle + 1) * quota.period)
        chosen = collections.Counter(quota.at(n)[0] for n in places)
        assert chosen == {0: 0.7 * quota.period, 2: 0.3 * quota.period}


@pytest.mark.parametrize("weights", [[1], [1, 1, 1], [5, 1e-3, 2], [1e-9, 1]])
def test_quota_counts_earlier_draws(weights):
    quota, seen = Quota(weights, 4), collections.Counter()
    assert quota.counts.sum() == quota.period
    assert (quota.counts > 0).all()
    for n in range(2 * quota.period + 50):
        choice, before = quota.at(n)
        assert before == seen[choice]
        seen[choice] += 1
    first, count = quota.period - 3, quota.period + 7  # over three cycles
    both = [quota.at(n) for n in range(first, first + count)]
    assert [*zip(*(x.tolist() for x in quota.run(first, count)))] == both


def test_a_rare_choice_keeps_its_share():
    quota = Quota([1e-3, 1.0], 0)
    assert quota.counts[0] / quota.period == pytest.approx(1e-3 / 1.001, rel=0.2)


def test_cycles_and_keys_differ():
    quota, other = Quota([1, 1], 1), Quota([1, 1], 2)
    first = [quota.at(n)[0] for n in range(quota.period)]
    assert first != [quota.at(n)[0] for n in range(quota.period, 2 * quota.period)]
    assert first != [other.at(n)[0] for n in range(quota.period)]


def at(sampler, step):
    """The bucket of a step, and (source, number) of each row."""
    bucket, sources, numbers = sampler.at(step)
    return bucket, [*zip(sources.tolist(), numbers.tolist())]


SIZES = [[30, 10, 0], [0, 50, 50]]


def sampler(seed=0, rates=(3.0, 1.0)):
    return Sampler(SIZES, rates, [8, 4, 2], seed)


def test_a_step_needs_no_steps_before_it():
    one, other = sampler(), sampler()
    ascending = [at(one, step) for step in range(40)]
    for step in range(40):
        assert one.drawn(step) == sum(len(rows) for _, rows in ascending[:step])
    assert [at(other, step) for step in reversed(range(40))] == ascending[::-1]
    assert ascending != [at(sampler(seed=1), step) for step in range(40)]
    begun = time.perf_counter()
    sampler().at(10**6)
    assert time.perf_counter() - begun < 0.5


def test_draws_of_a_source_in_a_bucket_count_up():
    seen, drawn = collections.Counter(), sampler()
    for step in range(600):
        bucket, rows = at(drawn, step)
        assert len(rows) == [8, 4, 2][bucket]
        for source, number in rows:
            assert SIZES[source][bucket] > 0
            assert number == seen[source, bucket]
            seen[source, bucket] += 1


def test_rates_are_shares_of_utterances():
    drawn = sampler()
    seen = collections.Counter()
    for step in range(12_000):
        bucket, rows = at(drawn, step)
        seen.update((source, bucket) for source, _ in rows)
    total = sum(seen.values())
    share = np.array([[seen[s, b] / total for b in range(3)] for s in range(2)])
    expected = np.array([[0.75 * 0.75, 0.75 * 0.25, 0], [0, 0.25 * 0.5, 0.25 * 0.5]])
    np.testing.assert_allclose(share, expected, atol=0.004)
