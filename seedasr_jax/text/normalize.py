"""Text normalisers by name and version: what training text and both sides of a score go through.

Results name the normaliser that made them, so a version never changes what it does: another rule is
another version beside the old one. Every normaliser is idempotent.
"""

import re
import unicodedata

from seedasr_jax import errors

# Han with radicals, 々 〇, kana, bopomofo, supplementary planes; not Hangul, which has spaces.
CJK = (
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3041-\u3096\u3099-\u30ff\u3100-\u312f"
    "\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)

_APOSTROPHES = "'‘’‛ʹʻʼ`"
_HYPHENS = "-\u2010\u2011"  # dashes (– —) part clauses, not the parts of a word
# Arabic vowel marks, superscript alef and tatweel (not hamza and madda, U+0653 to U+0655: NFKD
# parts them from their letters); Hebrew vowel and cantillation points.
_POINTS = re.compile(
    "[\u0610-\u061a\u0640\u064b-\u0652\u0656-\u065f\u0670\u06d6-\u06dc\u06df-\u06e8\u06ea-\u06ed"
    "\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7]"
)
_STRAY_APOSTROPHE = re.compile(r"''+|(?<!\S)'|'(?!\S)")
_CJK_SPACE = re.compile(f"(?<=[{CJK}]) (?=[{CJK}])")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_ENGLISH_SPOKEN = str.maketrans({"&": " and ", "%": " percent ", **dict.fromkeys(_HYPHENS, " ")})


class _Cleaned(dict):
    """Code point -> what stands for it, filled as characters are met: translating at C speed."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        kind = unicodedata.category(char)
        if char in _APOSTROPHES:
            kept = "'"
        elif char.isspace():
            kept = " "
        elif char in _HYPHENS or kind[0] == "C" or kind == "Me" or _is_variation(code):
            kept = ""  # invisible, or inside a word
        else:
            kept = " " if kind[0] in "PSZ" else char
        self[code] = kept
        return kept


def _is_variation(code: int) -> bool:
    return 0xFE00 <= code <= 0xFE0F or 0xE0100 <= code <= 0xE01EF


_CLEANED = _Cleaned()


def _compatible(text: str, form: str = "NFKC") -> str:
    return unicodedata.normalize(form, text.replace("´", "'"))  # it would become space and accent


def _none(text: str) -> str:
    return text


def _basic(text: str) -> str:
    """NFKC, case folded; punctuation and symbols become spaces, not apostrophes inside a word."""
    text = _compatible(_compatible(text).casefold()).translate(_CLEANED)
    text = _compatible(text)  # a hyphen may have stood before a combining mark
    return " ".join(_STRAY_APOSTROPHE.sub(" ", text).split())


def _unpointed(text: str) -> str:
    """Basic, without Arabic and Hebrew vowel points and without tatweel."""
    return _basic(_POINTS.sub("", _compatible(text, "NFKD")))


def _zh(text: str) -> str:
    """Basic, without spaces between Chinese or Japanese characters."""
    return _CJK_SPACE.sub("", _basic(text))


def _english(text: str) -> str:
    """Basic, but a hyphen parts words, `1,000` is 1000, and & and % are what they stand for."""
    return _basic(_THOUSANDS.sub("", _compatible(text)).translate(_ENGLISH_SPOKEN))


NORMALIZERS = {
    "none@1": _none,
    "basic@1": _basic,
    "unpointed@1": _unpointed,
    "zh@1": _zh,
    "english@1": _english,
}


def normalize(name: str, text: str) -> str:
    """Normalises a text.

    Args:
        name: NAME@VERSION, a key of `NORMALIZERS`.
        text: any text, also empty.

    Raises:
        errors.ConfigError: no such name or version; names the nearest.
    """
    if name not in NORMALIZERS:
        raise errors.ConfigError(
            f"unknown normalizer {name!r}: expected one of {', '.join(NORMALIZERS)}."
            f"{errors.nearest(name, NORMALIZERS)}"
        )
    return NORMALIZERS[name](text)
