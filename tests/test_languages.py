"""The table of languages: its rows agree with each other, and a tag finds the right one."""

import dataclasses
import re

import pytest

from seedasr_jax import errors
from seedasr_jax.configs import seed_asr_cn, seed_asr_ml
from seedasr_jax.text import languages, normalize, score

ROWS = list(languages.LANGUAGES.values())
# RFC 5646, the part that the table uses: language, script, region, variant, private use.
BCP47 = r"[a-z]{2,3}(-[A-Z][a-z]{3})?(-([A-Z]{2}|\d{3}))?(-[a-z]{5,8})?(-x(-[a-z0-9]{1,8})+)?"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.tag)
def test_row_is_consistent(row):
    assert re.fullmatch(BCP47, row.tag)
    assert re.fullmatch("[A-Z][a-z]{3}", row.script)
    assert row.unit in score.UNITS
    assert row.normalizer in normalize.NORMALIZERS
    assert languages.lookup(row.tag) is row
    seen, above = [row.tag], row.parent
    while above:  # ends: no cycle, no parent that is missing
        assert above not in seen
        seen.append(above)
        above = languages.LANGUAGES[above].parent


def test_tags_and_names_are_unique():
    assert len({row.tag.lower() for row in ROWS}) == len(ROWS)
    assert len({row.name for row in ROWS}) == len(ROWS)


def test_a_dialect_is_scored_like_its_parent():
    for row in ROWS:
        if row.parent:
            parent = languages.LANGUAGES[row.parent]
            assert (row.unit, row.normalizer) == (parent.unit, parent.normalizer), row.tag


def test_the_recipes_have_eight_languages_and_thirteen_dialects():
    assert len(set(seed_asr_ml.TAGS)) == 8
    assert all(not languages.LANGUAGES[tag].parent for tag in seed_asr_ml.TAGS)
    mandarin, *dialects = seed_asr_cn.TAGS
    assert mandarin == "zh" and len(set(dialects)) == 13
    assert {languages.LANGUAGES[tag].parent for tag in dialects} == {"zh"}


@pytest.mark.parametrize(
    ("tag", "found"),
    [
        ("EN", "en"),
        ("en_us", "en-US"),
        ("en-NZ", "en"),
        ("en-GB-scotland", "en-GB-scotland"),
        ("en-GB-oxendict", "en-GB"),
        ("es-mx", "es-MX"),
        ("es-AR", "es"),
        ("pt-BR-x-rural", "pt-BR"),
        ("zh-Hans-CN", "zh"),
        ("zh-Hant-HK", "zh-Hant"),
        ("cmn-CN", "zh"),
        ("zh-cmn-Hant", "zh-Hant"),
        ("zh-yue-HK", "yue"),  # the extended form: not Mandarin
        ("zh-X-Sichuan", "zh-x-sichuan"),
        ("zh-x-nowhere", "zh"),
        ("iw-IL", "he"),
        ("eng", "en"),
        ("zho-CN", "zh"),
        ("JPN", "ja"),
    ],
)
def test_lookup(tag, found):
    assert languages.lookup(tag).tag == found


def test_zh_followed_by_another_language_is_not_that_language():
    assert languages.lookup("zh-en").tag == "zh"


@pytest.mark.parametrize(
    ("tag", "near"), [("engl", "en"), ("yui", "yue"), ("Cantonese", "yue"), ("tokk", "tok")]
)
def test_unknown_language_names_the_nearest(tag, near):
    with pytest.raises(errors.ConfigError, match=rf"{tag}.*Did you mean .*\b{near}\b"):
        languages.lookup(tag)


@pytest.mark.parametrize("tag", ["", "-", "qqq", "x-en", None])
def test_nonsense_is_refused(tag):
    with pytest.raises(errors.ConfigError, match="BCP-47"):
        languages.lookup(tag)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(tag="Welsh language"), "'Welsh language': expected a BCP-47 tag"),
        (dict(parent="cyy"), "expected a parent that has a row, found 'cyy'"),
        (dict(parent="cy"), "expected a parent that has a row, found 'cy'"),
        (dict(parent="zh"), "expected unit and normalizer of its parent, char and .*, found word"),
        (dict(unit="words"), "unit: .*Did you mean word"),
        (dict(normalizer="basic@9"), "normalizer: .*found 'basic@9'. Did you mean basic@"),
    ],
)
def test_a_wrong_row_is_not_added(changes, message):
    row = languages.Language("cy", "Welsh", "", "Latn", "word", "basic@2")
    with pytest.raises(errors.ConfigError, match=message):
        languages.add(dataclasses.replace(row, **changes))
    assert not {"cy", "Welsh language"} & set(languages.LANGUAGES)


def test_a_replaced_row_keeps_its_dialects():
    """It is no descendant of its own dialects, and they are counted as it is."""
    german, zh = languages.LANGUAGES["de"], languages.LANGUAGES["zh"]
    with pytest.raises(errors.ConfigError, match="expected a parent that has a row, found 'de'"):
        languages.add(dataclasses.replace(german, parent="de"))
    with pytest.raises(errors.ConfigError, match="its dialect 'zh-Hant' has char and zh@2"):
        languages.add(dataclasses.replace(zh, unit="word"))
    with pytest.raises(errors.ConfigError, match="'zh-TW' descends from it"):
        languages.add(dataclasses.replace(zh, parent="zh-TW"))
    assert (languages.LANGUAGES["de"], languages.LANGUAGES["zh"]) == (german, zh)
