"""Normalisers: worked examples that pin each version, and properties over random text."""

import random
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
]


@pytest.mark.parametrize(("name", "text", "expected"), EXAMPLES)
def test_examples(name, text, expected):
    assert normalize(name, text) == expected


def _random_texts(count):
    rng = random.Random(0)
    alphabet = "aZ é ßİ-‐'’,.&%1 ,000 中 国 か 한 \u0301\u0345ְ\ufe0f\u200dﬁ½…"
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
        assert all(unicodedata.category(c)[0] not in "PS" for c in once.replace("'", ""))
        once.encode()  # no lone surrogates: results are written as UTF-8


@pytest.mark.parametrize(
    ("name", "near"), [("basic", "basic@1"), ("english@2", "english@1"), ("zh", "zh@1")]
)
def test_unknown_names_the_nearest(name, near):
    with pytest.raises(errors.ConfigError, match=f"Did you mean .*{near}"):
        normalize(name, "text")
