"""Weighted errors and keyword scores by cases that can be counted by hand."""

import random

import pytest

from seedasr_jax.text import score
from seedasr_jax.text.weighted import Keywords, Leaks, keywords, leaks, weighted_errors


def weigh(reference, hypothesis, *phrases, context=(), weight=3.0, unit="word"):
    found = weighted_errors(
        reference, hypothesis, keywords=phrases, context=context, weight=weight, unit=unit
    )
    return found.errors, found.length


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("call ann now", "call ann now", (0, 5)),
        ("call ann now", "call bob now", (3, 5)),  # the keyword is substituted
        ("call ann now", "call now", (3, 5)),  # deleted
        ("call ann now", "tell ann now", (1, 5)),  # another word is
        ("call ann now", "call ann ann now", (3, 5)),  # the keyword once more
        ("call me now", "call ann me now", (3, 3)),  # inserted where the reference lacks it
        ("call me now", "call ann now", (1, 3)),  # in another's place: that one's weight
        ("call ann now", "call the ann now", (1, 5)),
        ("", "ann", (3, 0)),
        ("ann", "", (3, 3)),
        ("", "", (0, 0)),
    ],
)
def test_an_error_in_a_keyword_weighs_more(reference, hypothesis, expected):
    assert weigh(reference, hypothesis, "ann") == expected


def test_a_keyword_of_several_words_counts_as_a_whole_only():
    assert weigh("new york is new", "new york is old", "new york") == (1, 8)
    assert weigh("new york is new", "new fork is new", "new york") == (3, 8)
    assert weigh("a b", "a b new york", "new york") == (6, 2)
    assert weigh("a b", "a b new", "new york") == (1, 2)


def test_characters_weigh_where_characters_count():
    assert weigh("我找张伟", "我找章伟", "张伟", unit="char") == (3, 8)
    assert weigh("我找张伟", "你找张伟", "张伟", unit="mixed") == (1, 8)


def test_what_leaks_from_the_context_weighs_more():
    assert weigh("call me", "call me bob", context=("bob lee",)) == (3, 2)
    assert weigh("call me", "call me up", context=("bob lee",)) == (1, 2)
    assert weigh("call bob", "call bob bob", context=("bob",)) == (1, 2)  # it is in the reference
    assert weigh("call me", "call bob", context=("bob",)) == (1, 2)  # its place was another word's


def test_weight_1_is_the_plain_count():
    rng = random.Random(0)
    for _ in range(200):
        reference, hypothesis = (" ".join(rng.choices("abcde", k=rng.randint(0, 7))) for _ in "12")
        errors, length = weigh(reference, hypothesis, "a b", "c", context=("e",), weight=1.0)
        plain = score.score([reference], [hypothesis], unit="word")
        assert errors == plain.substitutions + plain.deletions + plain.insertions
        assert length == len(reference.split())
        more, _ = weigh(reference, hypothesis, "a b", "c", context=("e",), weight=2.0)
        assert errors <= more <= 2 * errors


def test_the_rate_is_over_the_weights_of_the_reference():
    found = weighted_errors("call ann now", "call bob", keywords=("ann",), weight=3.0, unit="word")
    assert found.rate == 4 / 5
    assert weighted_errors("", "a b", weight=3.0, unit="word").rate == 2.0


def count(reference, hypothesis, phrases, unit="word"):
    return keywords([reference], [hypothesis], [phrases], unit=unit)


def test_strict_recall_wants_a_keyword_in_its_place():
    assert count("call ann now", "call ann now", ["ann"]) == Keywords(1, 1, 1, 1)
    assert count("call ann now", "call bob now", ["ann"]) == Keywords(1, 0, 0, 0)
    assert count("ann saw bob", "bob saw ann", ["ann"]).recall == 0.0
    assert count("ann saw bob", "bob saw ann", ["ann"]).loose_recall == 100.0
    assert count("new york is big", "new big york is big", ["new york"]) == Keywords(1, 0, 0, 0)
    assert count("ann and ann", "ann and an", ["ann"]) == Keywords(2, 1, 1, 1)
    assert count("我找张伟", "找张伟了", ["张伟"], unit="char").recall == 100.0


def test_precision_counts_what_was_not_said():
    found = keywords(
        ["call ann", "call me", "ann ann"],
        ["call ann", "call ann", "ann"],
        [["ann"], ["ann"], ["ann", "ann", ""]],  # a duplicate counts once
        unit="word",
    )
    assert found == Keywords(3, 3, 2, 2)
    assert (found.recall, found.precision) == (200 / 3, 200 / 3)
    assert found.f1 == pytest.approx(200 / 3)
    nothing = count("call me", "call me", ["ann"])
    assert (nothing.recall, nothing.precision, nothing.f1) == (0.0, 0.0, 0.0)


def test_leaks_are_phrases_of_the_context_that_were_not_said():
    found = leaks(
        ["call me", "call ann", "call me", "call bob"],
        ["call ann", "call ann", "ann ann lee", "call new york"],
        [["ann", "lee"], ["ann"], ["ann", "lee"], ["new york", "new jersey"]],
        unit="word",
    )
    assert found == Leaks(utterances=4, leaking=3, insertions=5)
    assert found.rate == 75.0
    assert leaks([], [], [], unit="word").rate == 0.0


def test_lists_of_another_length_are_refused():
    for count_them in (keywords, leaks):
        with pytest.raises(ValueError):
            count_them(["a"], ["a", "b"], [[], []], unit="word")
