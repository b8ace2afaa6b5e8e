"""Start times of words and phones, from the synthesiser's events."""

import numpy as np

from seedasr_jax.data_pipelines.synth import espeak, timing


def said(text, unit, *events, samples=espeak.RATE, trimmed=0.0):
    events = tuple(espeak.Event(*event) for event in events)
    speech = espeak.Speech(np.zeros(samples, np.int16), events)
    return timing.alignment(text, unit, speech, trimmed, samples / espeak.RATE - trimmed)


def test_words_said_as_one_share_its_phones():
    tenth = espeak.RATE // 10
    found = said(
        "on the hill",
        "word",
        ("word", 0, "on", 0),
        *(("phoneme", k * tenth, name) for k, name in enumerate(("'0", "n", "D", "@"), 1)),
        ("word", 6 * tenth, "hill", 7),
        ("phoneme", 6 * tenth, "h"),
        ("phoneme", 9 * tenth, "_:"),
        ("phoneme", 9 * tenth + 1, "_"),
        trimmed=0.05,
    )
    assert found["words"] == [0.0, 0.25, 0.55]
    assert found["phones"] == [[0.05, "0"], [0.15, "n"], [0.25, "D"], [0.35, "@"], [0.55, "h"]]


def test_characters_without_a_phone_each_share_the_time():
    tenth = espeak.RATE // 10
    events = [
        ("word", 0, "三", 0),
        ("phoneme", 0, "s"),
        ("word", 4 * tenth, "十", 1),
        ("phoneme", 4 * tenth, "_|"),
        ("phoneme", 5 * tenth, "i"),
    ]
    found = said("三十五", "char", *events)
    assert found["words"] == [0.0, 0.4, 0.7]
    assert found["phones"] == [[0.0, "s"], [0.4, "_"], [0.5, "i"]]
