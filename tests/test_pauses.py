"""Division of recordings at pauses, on tones and noise at known places."""

import itertools

import numpy as np
import pytest

from seedasr_jax.audio import files, pauses
from seedasr_jax.text import joining

RATE = files.RATE


def tone(seconds, rng, level=0.2):
    """A tone of varying level without pauses."""
    time = np.arange(round(seconds * RATE)) / RATE
    return level * (1.2 + np.sin(8 * time)) * np.sin(2 * np.pi * rng.uniform(200, 900) * time)


def spoken(rng, lengths, gaps, noise=1e-4):
    """Wave [S] int16 and [(start, end)] of its tones in samples; len(gaps) = len(lengths) + 1."""
    sounds = [np.zeros(round(gaps[0] * RATE))]
    places = []
    for seconds, gap in zip(lengths, gaps[1:], strict=True):
        start = sum(map(len, sounds))
        sounds += [tone(seconds, rng), np.zeros(round(gap * RATE))]
        places.append((start, start + len(sounds[-2])))
    wave = np.concatenate(sounds)
    return files.to_int16(wave + rng.normal(0, noise, len(wave))), places


@pytest.mark.parametrize("noise", [0.0, 1e-4, 5e-3])
@pytest.mark.parametrize("level", [1.0, 0.1])
@pytest.mark.parametrize("count", [2, 9, 110])  # of tones: from 4 s to 5 minutes
def test_cuts_fall_into_pauses_and_all_sound_is_kept(count, level, noise):
    rng = np.random.default_rng(count)
    gaps = [2.0, *rng.choice([0.12, 0.3, 0.8, 2.5], count - 1), 2.0]
    wave, places = spoken(rng, rng.uniform(0.3, 3.0, count), gaps, noise)
    wave = np.round(wave * level).astype(np.int16)
    found = pauses.segments(wave, 5.0, 0.4)
    edges = {edge for segment in found for edge in segment}
    assert not [e for start, end in places for e in edges if start < e < end]
    whole = [any(a <= start and end <= b for a, b in found) for start, end in places]
    assert all(whole)
    assert found == sorted(found)
    assert all(b <= c for (_, b), (c, _) in itertools.pairwise(found))
    assert all(b - a <= 5.0 * RATE for a, b in found)
    assert sum(b - a for a, b in found) <= len(wave) - 3.5 * RATE  # silence at the ends is gone
    for a, b in found:  # and no long pause is left
        assert pauses.longest(wave[a:b]) <= 0.4


def test_what_training_knows_is_one_piece_and_few_are_made():
    rng = np.random.default_rng(0)
    wave, _ = spoken(rng, [1.0, 1.0], [0.1, 0.3, 0.1])
    assert pauses.segments(wave, 2.5, 0.4) == [(0, len(wave))]
    wave, _ = spoken(rng, [1.0] * 8, [0.1, *[0.2] * 7, 0.1])
    assert len(pauses.segments(wave, 4.0, 0.4)) == 3  # of three, three and two
    assert len(pauses.segments(wave, 100.0, 0.1)) == 8


def test_without_a_pause_it_is_cut_where_it_is_quietest():
    rng = np.random.default_rng(0)
    wave = files.to_int16(tone(30.0, rng))
    found = pauses.segments(wave, 4.0, 0.4)
    assert [a for a, _ in found[1:]] == [b for _, b in found[:-1]]
    assert (found[0][0], found[-1][1]) == (0, len(wave))
    assert all(b - a <= 4.0 * RATE for a, b in found)
    lowest = (3 * np.pi / 2 + 2 * np.pi * np.arange(40)) / 8  # seconds, by the tone's strength
    for cut, _ in found[1:]:
        assert np.abs(lowest - cut / RATE).min() < 0.05


@pytest.mark.parametrize("seconds", [0.01, 0.05, 0.15])
def test_a_limit_below_the_margins_is_kept(seconds):
    wave = np.random.default_rng(0).normal(0, 0.1, RATE // 2)
    found = pauses.segments(wave, seconds, 0.0)
    assert found[0][0] == 0 and found[-1][1] == len(wave)
    assert all(0 < end - start <= seconds * RATE for start, end in found)
    assert all(one[1] == other[0] for one, other in itertools.pairwise(found))


def test_where_nothing_sounds_there_is_no_segment():
    assert pauses.segments(np.zeros(3 * RATE, np.int16), 5.0, 0.4) == []
    assert pauses.segments(np.zeros(60 * RATE, np.float32), 5.0, 0.4) == []
    rng = np.random.default_rng(0)
    steady = rng.normal(0, 0.05, 20_000).astype(np.float32)  # it may be speech: nothing is dropped
    assert sum(b - a for a, b in pauses.segments(steady, 0.5, 0.4)) == len(steady)
    assert pauses.segments(steady[:99], 0.5, 0.4) == [(0, 99)]


def test_a_usual_pause_is_not_the_longest_of_all():
    assert pauses.usual([0.3] * 99 + [4.0]) == pytest.approx(0.3)
    assert pauses.usual([0.01, 0.02]) == pauses.LEAST_SECONDS
    assert pauses.usual([]) == 0.0


def test_texts_are_joined_as_their_scripts_are_written():
    assert joining.join(["low mid", "", "high"]) == "low mid high"
    assert joining.join(["今天天气", "很好"]) == "今天天气很好"
    assert joining.join(["สวัสดี", "ครับ"]) == "สวัสดีครับ"
    assert joining.join(["用", "python", "写"]) == "用 python 写"
    assert joining.join(["안녕", "하세요"]) == "안녕 하세요"
    assert joining.join([]) == ""
