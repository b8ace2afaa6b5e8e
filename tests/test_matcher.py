"""The string matcher: what it writes, what it leaves, and how its threshold is chosen."""

import pytest

from seedasr_jax.evaluate import matcher


def replace(hypothesis, *names, threshold=0.4, unit="mixed"):
    return matcher.replace(hypothesis, names, threshold=threshold, unit=unit)


@pytest.mark.parametrize(
    "hypothesis, names, expected",
    [
        ("call steven now", ("stephen",), "call stephen now"),
        ("call to mo kan now", ("tomokan", "berlin"), "call tomokan now"),  # cut into pieces
        ("call steven", ("berlin",), "call steven"),
        ("打给张伟", ("张为",), "打 给 张 伟"),  # half of its letters differ
        ("打给张小伟", ("张小为",), "打 给 张小为"),
        ("call ann and an", ("ann",), "call ann and an"),  # once, where it fits best
        ("steven", ("stefen", "stephen"), "stefen"),  # the nearest
        ("", ("ann",), ""),
        ("call ann", (), "call ann"),
        ("call ann", ("",), "call ann"),
    ],
)
def test_what_is_almost_spelled_is_written(hypothesis, names, expected):
    assert replace(hypothesis, *names) == expected


def test_no_stretch_is_used_twice():
    assert replace("call jon smith", "john smith", "jon smit") == "call john smith"
    assert replace("anna and hanna", "hanna", "anna") == "anna and hanna"


def test_at_0_only_spaces_change():
    assert replace("call an na", "anna", threshold=0.0) == "call anna"
    assert replace("call hanna", "anna", threshold=0.0) == "call hanna"


def test_the_threshold_keeps_to_what_false_names_may_cost():
    said = ["call steven", "go to berlin", "stop", "play a song"]
    lists = [["stephen"], ["merlin"], ["zoe"], ["max"]]  # none is said

    def costs(threshold):
        pairs = zip(said, lists)
        return sum(replace(t, *names, threshold=threshold) != t for t, names in pairs)

    free = matcher.choose(said, said, lists, most=0.0, unit="word")
    assert free in matcher.GRID and costs(free) == 0 and costs(free + 0.05) > 0
    dear = matcher.choose(said, said, lists, most=50.0, unit="word")
    assert free < dear and costs(dear) <= 2
    assert matcher.choose(said, said, lists, most=100.0, unit="word") == max(matcher.GRID)
