"""Error rates against an edit distance and a bootstrap written the slow way.

Dims: N utterances, R resamples.
"""

import random

import numpy as np
import pytest

from seedasr_jax import errors
from seedasr_jax.text import score as module
from seedasr_jax.text.score import score, units


def edit_distance(a, b):
    """The textbook table."""
    table = [
        [max(i, j) if 0 in (i, j) else 0 for j in range(len(b) + 1)] for i in range(len(a) + 1)
    ]
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            table[i][j] = min(
                table[i - 1][j] + 1,
                table[i][j - 1] + 1,
                table[i - 1][j - 1] + (a[i - 1] != b[j - 1]),
            )
    return table[-1][-1]


def counts(reference, hypothesis, unit="word"):
    """Substitutions, deletions and insertions of one utterance."""
    found = score([reference], [hypothesis], unit=unit)
    return found.substitutions, found.deletions, found.insertions


def _sentence(rng, longest=9):
    return " ".join(rng.choices(("a", "b", "ab", "中国", "中b", "ñ"), k=rng.randint(0, longest)))


@pytest.mark.parametrize("unit", ["word", "char", "mixed"])
def test_counts_sum_to_the_edit_distance(unit):
    rng = random.Random(1)
    for _ in range(400):
        both = _sentence(rng), _sentence(rng)
        substitutions, deletions, insertions = counts(*both, unit)
        reference, hypothesis = (units(text, unit) for text in both)
        assert substitutions + deletions + insertions == edit_distance(reference, hypothesis)
        assert insertions - deletions == len(hypothesis) - len(reference)
        assert substitutions + deletions <= len(reference)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("a b c", "a b c", (0, 0, 0)),
        ("a b c", "a x c", (1, 0, 0)),
        ("a b c", "a c", (0, 1, 0)),
        ("a b c", "a b x c", (0, 0, 1)),
        ("a b c", "", (0, 3, 0)),
        ("", "a b", (0, 0, 2)),
        ("", "", (0, 0, 0)),
    ],
)
def test_each_kind_of_error(reference, hypothesis, expected):
    assert counts(reference, hypothesis) == expected


def test_units():
    text = "你好 wide world、カナ 한국"
    assert units(text, "word") == ["你好", "wide", "world、カナ", "한국"]
    assert units("a bc\u3000d", "char") == ["a", "b", "c", "d"]
    assert units(text, "mixed") == ["你", "好", "wide", "world、", "カ", "ナ", "한국"]
    assert units("𠮷a b", "mixed") == ["𠮷", "a", "b"]
    assert [units(" ", unit) for unit in module.UNITS] == [[], [], []]


def test_rate_is_over_the_set_not_the_mean_of_utterances():
    result = score(["a", "a b c d e f g h i"], ["x", "a b c d e f g h i"])
    assert (result.utterances, result.ref_len, result.error_rate) == (2, 10, 10.0)
    assert (result.substitutions, result.deletions, result.insertions) == (1, 0, 0)


def test_rate_may_pass_100():
    assert score(["a"], ["b c d"]).error_rate == 300.0


def test_empty_references():
    result = score(["a b", ""], ["a b", "c"])  # the insertion counts, the length does not
    assert (result.ref_len, result.insertions, result.error_rate) == (2, 1, 50.0)
    assert score([""], [""]).error_rate == 0.0
    alone = score([""] * 10, ["x y"] + [""] * 9)
    assert (alone.ref_len, alone.error_rate) == (0, 200.0)
    assert np.isfinite([alone.ci_low, alone.ci_high]).all()


def test_order_and_concatenation_do_not_change_the_counts():
    rng = random.Random(2)
    pairs = [(_sentence(rng), _sentence(rng)) for _ in range(40)]
    whole = score(*zip(*pairs))
    turned = score(*zip(*pairs[::-1]))
    parts = [score(*zip(*pairs[:15])), score(*zip(*pairs[15:]))]
    for field in ("ref_len", "substitutions", "deletions", "insertions"):
        assert getattr(whole, field) == getattr(turned, field)
        assert getattr(whole, field) == sum(getattr(part, field) for part in parts)


def _slow_interval(pairs, draws):
    rates = []
    for drawn in draws:
        wrong = sum(edit_distance(pairs[i][0].split(), pairs[i][1].split()) for i in drawn)
        rates.append(100 * wrong / max(1, sum(len(pairs[i][0].split()) for i in drawn)))
    rates.sort()

    def quantile(q):  # linear between order statistics
        place = q * (len(rates) - 1)
        low = int(place)
        high = min(low + 1, len(rates) - 1)
        return rates[low] + (place - low) * (rates[high] - rates[low])

    return quantile(0.025), quantile(0.975)


def test_interval_equals_a_slow_loop(monkeypatch):
    rng = random.Random(3)
    pairs = [(_sentence(rng, 6), _sentence(rng, 6)) for _ in range(13)]
    generator = np.random.Generator(np.random.Philox(7))
    slow = _slow_interval(pairs, [generator.integers(13, size=13) for _ in range(101)])
    result = score(*zip(*pairs), resamples=101, seed=7)
    np.testing.assert_allclose((result.ci_low, result.ci_high), slow, rtol=1e-12)
    monkeypatch.setattr(module, "_DRAWS_AT_ONCE", 30)  # two rows a block instead of all
    assert score(*zip(*pairs), resamples=101, seed=7) == result


def test_interval_covers_the_truth_about_95_times_in_100():
    generator = np.random.default_rng(0)
    hits = 0
    for trial in range(200):  # 80 words, each wrong with probability 0.3
        hypotheses = ["x" if wrong else "a" for wrong in generator.random(80) < 0.3]
        result = score(["a"] * 80, hypotheses, resamples=300, seed=trial)
        assert result.ci_low <= result.error_rate <= result.ci_high
        hits += result.ci_low <= 30.0 <= result.ci_high
    assert 178 <= hits <= 199  # 95 % is 190, four standard deviations are 12


def test_few_clusters_have_no_interval():
    for number, there in ((module.FEWEST - 1, False), (module.FEWEST, True)):
        found = score(["a b c d"] * number, ["a b c x"] * number)
        assert (found.clusters, found.error_rate) == (number, 25.0)
        assert (found.ci_low, found.ci_high) == ((25.0, 25.0) if there else (None, None))


def test_each_utterance_may_have_its_own_unit():
    found = score(["a b", "今天好"], ["a c", "今天"], unit=["word", "char"])
    assert (found.ref_len, found.error_rate) == (5, 40.0)
    with pytest.raises(ValueError, match="zip"):
        score(["a"], ["a"], unit=["word", "char"])


def test_errors_are_those_of_the_recordings_that_they_stand_in():
    reference = "a b c d e f"
    stretches = [("x", 2), ("y", 0), ("z", 3), ("x", 1)]
    for hypothesis, wrong in [
        ("a b c d e f", {}),
        ("a c d e f", {"x": 1}),
        ("a b c X e f", {"z": 1}),
        ("a b X c d e f", {"x": 1}),  # between two: of the first
        ("a b c d e X f", {"z": 1}),
        ("X a b c d e f X", {"x": 2}),
        ("", {"x": 3, "z": 3}),
    ]:
        edits, lengths = module._tally([reference.split()], [hypothesis.split()], [stretches])
        assert dict(zip("xyz", edits.sum(1).tolist())) == {"x": 0, "y": 0, "z": 0} | wrong
        assert lengths.tolist() == [3, 0, 3]
    with pytest.raises(ValueError, match="expected 2 units in all"):
        score(["a b"], ["a b"], clusters=[[("x", 1)]])


def test_clusters_are_drawn_whole():
    """Ten copies of each of 20 utterances tell no more than the 20 do."""
    rng = random.Random(6)
    pairs = [(_sentence(rng), _sentence(rng)) for _ in range(20)]
    once = score(*zip(*pairs))
    names = [[(f"{n:02}", len(reference.split()))] for n, (reference, _) in enumerate(pairs)]
    shuffled = rng.sample(range(200), 200)
    copies, clusters = zip(*((pairs[n % 20], names[n % 20]) for n in shuffled))
    found = score(*zip(*copies), clusters=clusters)
    assert (found.utterances, found.clusters) == (200, 20)
    assert (found.ci_low, found.ci_high) == pytest.approx((once.ci_low, once.ci_high))
    apart = score(*zip(*copies))
    assert apart.ci_high - apart.ci_low < 0.5 * (once.ci_high - once.ci_low)


def test_seed_decides_the_interval():
    rng = random.Random(4)
    pairs = list(zip(*[(_sentence(rng), _sentence(rng)) for _ in range(30)]))
    assert score(*pairs, seed=1) == score(*pairs, seed=1)
    assert score(*pairs, seed=1).ci_low != score(*pairs, seed=2).ci_low


def test_a_difference_is_paired():
    rng = np.random.default_rng(5)
    references = [" ".join(rng.choice(list("abcd"), rng.integers(1, 6))) for _ in range(60)]
    worse = [text + " x" if n % 3 == 0 else text for n, text in enumerate(references)]
    found = module.difference(references, worse, references)
    rates = [score(references, texts).error_rate for texts in (worse, references)]
    assert found.difference == pytest.approx(rates[1] - rates[0]) and found.difference < 0
    assert found.ci_low < found.difference < found.ci_high < 0
    # Errors that both make cancel in every resample: nothing is left to vary.
    same = module.difference(references, worse, worse)
    assert (same.difference, same.ci_low, same.ci_high) == (0, 0, 0)
    swapped = module.difference(references, references, worse)
    assert swapped.difference == -found.difference
    with pytest.raises(errors.DataError):
        module.difference([], [], [])
    with pytest.raises(ValueError):
        module.difference(references, worse, references[1:])


def test_a_difference_equals_a_slow_loop():
    references, before, after = ["a b", "c", "d e f"], ["a", "c c", "d e f"], ["a b", "x", "f"]
    lengths, more = np.array([2, 1, 3] * 4), np.array([0 - 1, 1 - 1, 2 - 0] * 4)
    rng = np.random.Generator(np.random.Philox(4))
    drawn = rng.integers(12, size=(200, 12))
    rates = [100 * more[d].sum() / lengths[d].sum() for d in drawn]
    found = module.difference(references * 4, before * 4, after * 4, resamples=200, seed=4)
    assert found.difference == pytest.approx(100 / 6)
    assert (found.ci_low, found.ci_high) == pytest.approx(tuple(np.percentile(rates, (2.5, 97.5))))
    few = module.difference(references, before, after)
    assert few.difference == found.difference and few.ci_low is few.ci_high is None


def test_iterators_are_taken():
    assert score(iter(["a"]), iter(["a"])).utterances == 1


def test_bad_input():
    with pytest.raises(errors.ConfigError, match="Did you mean word"):
        score(["a"], ["a"], unit="words")
    with pytest.raises(errors.DataError, match="at least one"):
        score([], [])
    with pytest.raises(ValueError, match="2 references but 1"):
        score(["a", "b"], ["a"])
    with pytest.raises(ValueError, match="resamples"):
        score(["a"], ["a"], resamples=0)
