"""Spoken languages: grammars, and how the synthesiser pronounces their words."""

import itertools
import unicodedata

import numpy as np
import pytest

from seedasr_jax.data_pipelines.synth import commands, espeak, facts
from seedasr_jax.data_pipelines.synth.spoken import SPOKEN
from seedasr_jax.data_pipelines.synth.spoken.language import NAME, spoken

LATIN = ("en", "es", "pt")


def test_texts_are_plain():
    for tag in SPOKEN:
        for split, own in commands.sentences(tag).items():
            for sentence in own:
                text = sentence.text
                assert text == unicodedata.normalize("NFC", text).lower(), (tag, split)
                assert " ".join(text.split()) == text
                kept = text.replace(" ", "") if tag in LATIN else text
                assert kept.isalpha(), text


@pytest.mark.parametrize("tag", SPOKEN)
def test_the_names_of_a_group_sound_the_same_in_every_dialect_and_groups_do_not(tag):
    language = SPOKEN[tag]
    groups = [*language.homophones, *language.rare, *language.unseen, *language.unseen_dev]
    names = [name for group in groups for name in group]
    assert len(set(names)) == len(names) and min(map(len, groups)) >= 2
    rng = np.random.default_rng(0)
    carriers = [language.sentence(rng, NAME) for _ in groups]
    texts = {n: c.replace(NAME, n) for g, c in zip(groups, carriers, strict=True) for n in g}
    for dialect, voice in language.voices.items():
        utterances = [espeak.Utterance(texts[name], voice) for name in names]
        pronounced = dict(zip(names, espeak.phonemes(utterances, ipa=False), strict=True))
        for group in groups:
            assert len({pronounced[name] for name in group}) == 1, (dialect, group, texts[group[0]])
    alone = [espeak.Utterance(group[0], voice) for group in groups]
    assert len(set(espeak.phonemes(alone, ipa=False))) == len(groups)


@pytest.mark.parametrize("tag", SPOKEN)
def test_every_unit_is_read_by_its_own_language(tag):
    """A character that a voice does not know is spelled by an English one: (en)."""
    own = sorted(
        {unit for s in commands.sentences(tag)["train"] for unit in facts.units(tag, s.text)}
    )
    for voice in SPOKEN[tag].voices.values():
        utterances = [espeak.Utterance(unit, voice) for unit in own]
        for unit, sound in zip(own, espeak.phonemes(utterances), strict=True):
            assert sound and "(" not in sound, (unit, sound)


def test_a_grammar_draws_no_option_twice_and_every_option():
    toy = spoken(
        tag="en",
        voices={"en-US": "gmw/en-US"},
        space=" ",
        plain="""
    from CITY to CITY WHEN
    """,
        named="""
    call NAME WHEN
    """,
        slots="""
    CITY: rome | paris
    | new york
    WHEN: | on DAY
    DAY: monday
    """,
        homophones="ann/anne",
        rare="",
        unseen="",
        unseen_dev="",
    )
    rng = np.random.default_rng(0)
    drawn = {toy.sentence(rng) for _ in range(300)}
    cities = itertools.permutations(("rome", "paris", "new york"), 2)
    assert drawn == {f"from {a} to {b}{w}" for a, b in cities for w in ("", " on monday")}
    assert {toy.sentence(rng, "ann") for _ in range(50)} == {"call ann", "call ann on monday"}
    assert toy.homophones == (("ann", "anne"),) and toy.rare == ()
