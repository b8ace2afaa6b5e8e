"""Normalisers: worked examples that pin each version, and properties over random text."""

import random
import re
import unicodedata

import pytest

from seedasr_jax import errors
from seedasr_jax.text.normalize import NORMALIZERS, normalize

# A row that has to change means a new version, not a new expectation.
EXAMPLES = [
    ("none@1", "  Hello,  World! ", "  Hello,  World! "),
    ("basic@1", "  Hello,  World! ", "hello world"),
    ("basic@1", "hello,world", "hello world"),
    ("basic@1", "Don’t say 'tis the dogs' rock'n'roll", "don't say tis the dogs rock'n'roll"),
    ("basic@1", "‘quoted’ ''twice'' ' alone", "quoted twice alone"),
    ("basic@1", "don´t don`t donʼt don＇t", "don't don't don't don't"),
    ("basic@1", "well-known – and—so on", "wellknown and so on"),
    ("basic@1", "STRASSE Straße ﬁn Ｆｕｌｌ", "strasse strasse fin full"),
    ("basic@1", "¿Qué año? ¡Sí!", "qué año sí"),
    ("basic@1", "cafe\u0301", "café"),
    ("basic@1", "cafe-\u0301", "café"),
    ("basic@1", "a\tb\nc\u00a0d\u3000e", "a b c d e"),
    ("basic@1", "a\u200bb\ufeffc\u00add", "abcd"),
    ("basic@1", "snake_case $5 + 50% <b>", "snake case 5 50 b"),
    ("basic@1", "I ❤\ufe0f it 1\ufe0f\u20e3", "i it 1"),
    ("basic@1", "हिन्दी में", "हिन्दी में"),  # vowel signs are letters' parts
    ("basic@1", "...?!", ""),
    ("basic@1", "", ""),
    ("zh@1", "你好，世界！Hello World。", "你好世界 hello world"),
    ("zh@1", "今 天 天 气", "今天天气"),
    ("zh@1", "我 用 iPhone 15 拍 照", "我用 iphone 15 拍照"),
    ("zh@1", "カタ カナ と ひら がな", "カタカナとひらがな"),
    ("zh@1", "𠮷 野", "𠮷野"),
    ("zh@1", "한국 사람", "한국 사람"),  # Hangul keeps its spaces
    ("basic@1", "你好，世界", "你好 世界"),
    ("english@1", "Well-known twenty‐one", "well known twenty one"),
    ("english@1", "R&D: 1,234,567 is 50% of it", "r and d 1234567 is 50 percent of it"),
    ("english@1", "one, two,3,45", "one two 3 45"),
    ("english@1", "It´s it’s", "it's it's"),
    ("unpointed@1", "d´un", "d'un"),
    ("unpointed@1", "مَرْحَبًا", "مرحبا"),
    ("unpointed@1", "العـــربية", "العربية"),
    ("unpointed@1", "أنا آكل", "أنا آكل"),  # hamza and madda stay
    ("unpointed@1", "שָׁלוֹם", "שלום"),
    ("basic@1", "3-4, 10²", "34 102"),  # what version 2 is for
    ("basic@2", "Don’t say 'tis the dogs' rock'n'roll", "don't say tis the dogs rock'n'roll"),
    ("basic@2", "well-known, a-\u0301, anak\u2011anak", "well known a \u0301 anak anak"),
    ("basic@2", "3-4 2019–2020 3--4 1/2 3.14 12:30", "3 4 2019 2020 3 4 1 2 3 14 12 30"),
    (
        "basic@2",
        "10² 10¹² 10⁻² H₂O 5m² ½ 2½ ①② 2㏠",
        "10 2 10 12 10 -2 h2o 5m2 1 2 2 1 2 1 2 2 1日",
    ),
    ("basic@2", "1\ufe0f\u20e30\ufe0f\u20e3 1\u200b2 1\u20632 20\u00ad19", "1 0 1 2 1 2 2019"),
    ("basic@2", "１２ ١٢ १२ 𝟏𝟐", "12 12 12 12"),
    ("basic@2", "-5 (−5) to –3, x-5, F-16, 5 – 3, +5", "-5 -5 to -3 x 5 f 16 5 3 5"),
    ("basic@2", "1,000 1.000 5% $5", "1 000 1 000 5 5"),
    ("basic@2", ".5 -.5 (.5) $.50 ٫٥ v.2 é.5 ...5 1.5", "0 5 -0 5 0 5 0 50 0 5 v 2 é 5 5 1 5"),
    ("basic@2", "İstanbul ISTANBUL ışık i\u0307", "istanbul istanbul ışık i"),
    ("basic@2", "5%-10% 5€–10€ $5-$10 5 €-10 € 5°-9° (3)-4", "5 10 5 10 5 10 5 10 5 9 3 4"),
    ("basic@2", '-$5 (-5) "-5" "5"-6 x=-5 3,-5 \u200e-5 -½', "-5 -5 -5 5 6 x -5 3 -5 -5 -1 2"),
    ("basic@2", "1\u20dd2\u20dd 1\x002 10⁻⁵", "1 2 1 2 10 -5"),
    ("english@2", "5%-10% -1,000 (1,000)-2,000", "5 percent 10 percent -1000 1000 2000"),
    ("zh@2", "气温−5度，第3、4页 3月-5月", "气温 -5度第3 4页 3月 5月"),
    ("zh@2", "我 用 iPhone 15 拍 照", "我用 iphone 15 拍照"),
    ("english@2", "1,000 1,234,567.5 50% R&D", "1000 1234567 5 50 percent r and d"),
    ("english@2", "2019,100 5,10 1,000,00 0.5,100", "2019 100 5 10 1 000 00 0 5 100"),
    ("english@2", "Well-known twenty‐one 1-2", "well known twenty one 1 2"),
    ("unpointed@2", "צ׳יפס צ'יפס צ’יפס", "צ'יפס צ'יפס צ'יפס"),
    ("unpointed@2", "צה״ל צה\"ל צה''ל צַהַ״ל", "צה'ל צה'ל צה'ל צה'ל"),
    ("unpointed@2", 'רח׳ "שלום" בית־ספר בית-ספר', "רח שלום בית ספר בית ספר"),
    ("unpointed@2", "مَرْحَبًا العـــربية أنا آكل 10²", "مرحبا العربية أنا آكل 10 2"),
]


@pytest.mark.parametrize(("name", "text", "expected"), EXAMPLES)
def test_examples(name, text, expected):
    assert normalize(name, text) == expected


def _random_texts(count):
    rng = random.Random(0)
    alphabet = "aZ é ßİ-‐−'’״,.&%1 ,000 中 国 か 한 ש\u0301\u0345ְ\ufe0f\u200b\u200dﬁ½²⁻①…"
    for i in range(count):
        if i % 2:
            yield "".join(rng.choices(alphabet, k=12))
        else:
            codes = (rng.choice((0x300, 0x3000, 0x10000, 0x110000)) for _ in range(8))
            yield "".join(chr(rng.randrange(top)) for top in codes)


@pytest.mark.parametrize("name", NORMALIZERS)
def test_properties_on_random_text(name):
    for text in _random_texts(4000):
        once = normalize(name, text)
        assert normalize(name, once) == once, ascii(text)
        if name == "none@1":
            assert once == text
            continue
        assert once == " ".join(once.split()), ascii(text)
        assert unicodedata.is_normalized("NFKC", once), ascii(text)
        plain = once.replace("'", "")
        if name.endswith("@2"):  # the sign of a number stays
            plain = re.sub(r"(?<!\S)-(?=\d)", "", plain)
        assert all(unicodedata.category(c)[0] not in "PS" for c in plain), ascii(text)
        once.encode()  # no lone surrogates: results are written as UTF-8


SECOND = [name for name in NORMALIZERS if name.endswith("@2")]


def test_no_number_becomes_another_one():
    for char in map(chr, range(0x110000)):
        kind = unicodedata.category(char)
        if kind[0] not in "PSZ" and kind not in ("No", "Nl"):
            continue
        numerals = re.findall(r"\d+", unicodedata.normalize("NFKC", char))
        for name in SECOND:
            found = re.findall(r"\d+", normalize(name, f"7{char}89"))
            assert found == ["7", *numerals, "89"], (name, ascii(char))


def test_digits_of_every_script_are_the_same_number():
    for zero in range(0x110000):
        if unicodedata.decimal(chr(zero), None) == 0:
            for name in SECOND:
                assert normalize(name, "".join(chr(zero + n) for n in (2, 0, 7))) == "207"


@pytest.mark.parametrize(
    ("name", "near"), [("basic", "basic@"), ("english@3", "english@"), ("zh", "zh@")]
)
def test_unknown_names_the_nearest(name, near):
    with pytest.raises(errors.ConfigError, match=f"Did you mean .*{near}"):
        normalize(name, "text")
