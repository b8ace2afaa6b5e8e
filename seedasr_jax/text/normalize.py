"""Text normalisers by name and version, for training text and for both sides of a score.

Results name the normaliser that produced them, so a version never changes: a new rule is a new
version beside the old one. Every normaliser is idempotent.

Version 2 differs from version 1 as follows: no integer is changed into another one, a Hebrew word
remains one word, and the Turkish İ becomes i. All punctuation between digits becomes a space, which
separates the numbers of dates, times, decimals, fractions and ranges: `3-4`, `3.4` and `3/4` are
all `3 4`, and `.5` is `0 5`.
"""

import re
import unicodedata

from seedasr_jax import errors

# Han with radicals, 々 〇, kana, bopomofo, supplementary planes; not Hangul, which uses spaces.
CJK = (
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3041-\u3096\u3099-\u30ff\u3100-\u312f"
    "\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)

_VARIATIONS = {*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)}  # variation selectors
_APOSTROPHES = "'‘’‛ʹʻʼ`"
_HYPHENS = "-\u2010\u2011"  # not dashes (– —), which separate clauses
# Arabic vowel marks, superscript alef and tatweel (not hamza and madda, U+0653 to U+0655, which
# NFKD separates from their letters); Hebrew vowel and cantillation points.
_POINTS = re.compile(
    "[\u0610-\u061a\u0640\u064b-\u0652\u0656-\u065f\u0670\u06d6-\u06dc\u06df-\u06e8\u06ea-\u06ed"
    "\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7]"
)
_STRAY_APOSTROPHE = re.compile(r"''+|(?<!\S)'|'(?!\S)")
_CJK_SPACE = re.compile(f"(?<=[{CJK}]) (?=[{CJK}])")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_ENGLISH_SPOKEN = str.maketrans({"&": " and ", "%": " percent ", **dict.fromkeys(_HYPHENS, " ")})


# Version 2. Characters that NFKC replaces by ordinary digits (a test compares them with Unicode):
# each run of superscripts or of subscripts is one number; each circled digit, fraction and the like
# is a number of its own. Keycaps and invisible operators separate numbers too.
_SUPERSCRIPTS = "\u00b2\u00b3\u00b9\u2070\u2074-\u2079\u207b"
_SUBSCRIPTS = "\u2080-\u2089\u208b"
_NUMERALS = (
    "\u00bc-\u00be\u2150-\u215f\u2189\u2460-\u2473\u2488-\u249b\u24ea\u3251-\u325f\u32b1-\u32cb"
    "\u3358-\u3370\u3378\u3379\u339f-\u33a6\u33a8\u33af\u33e0-\u33fe\U0001f100-\U0001f10a"
)
_SEPARATE = re.compile(
    f"[{_SUPERSCRIPTS}]+|[{_SUBSCRIPTS}]+|[{_NUMERALS}]|\ufe0f?[\u20dd-\u20e4]|[\u2061-\u2064]"
)
_BREAK = "\u200b"  # zero-width space: becomes a space between two digits, and nothing elsewhere
_BETWEEN_DIGITS = re.compile(rf"(?<=\d)[{_BREAK}\ufe0f\u20dd-\u20e4\u2061-\u2064]+(?=[\d\u2212])")
_MINUS = "-\u2010-\u2013\u2212"  # hyphens, figure and en dash, minus
_CURRENCY = "$\u00a2-\u00a5\u058f\u060b\u09f2\u09f3\u0af1\u0bf9\u0e3f\u17db\u20a0-\u20c0"
_DASH = re.compile(rf"[{_MINUS}](?:[{_CURRENCY}](?=\d))?")
# Hebrew abbreviations have gershayim before the last letter, for which many characters are typed.
_GERSHAYIM = re.compile(
    "(?<=[\u0591-\u05ea])(?:[\"“”„‟\u05f4]|['\u2019\u05f3]{2})(?=[\u05d0-\u05ea])"
)
_GROUPED = re.compile(r"(?<![\d,.])\d{1,3}(?:,\d{3})+(?!,?\d)")
# A decimal point without a leading 0: .5 differs from 5.
_BARE_POINT = re.compile(rf"(?<![^{_MINUS}{_CURRENCY}\s(\[{{\"'“‘«<>=~≈+±*/×])[.٫](?=\d)")
_DOTTED_I = re.compile("i\u0307+")  # İ, case folded
_ENGLISH_SYMBOLS = str.maketrans({"&": " and ", "%": " percent "})


class _Cleaned(dict):
    """Code point -> replacement, filled on first use; `str.translate` then runs at C speed."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        kind = unicodedata.category(char)
        if char in _APOSTROPHES:
            kept = "'"
        elif char.isspace():
            kept = " "
        elif char in _HYPHENS or kind[0] == "C" or kind == "Me" or code in _VARIATIONS:
            kept = ""  # invisible, or within a word
        else:
            kept = " " if kind[0] in "PSZ" else char
        self[code] = kept
        return kept


class _Cleaned2(_Cleaned):
    """As `_Cleaned`, but all digits become 0 to 9, minus signs stay, and controls become spaces."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        category = unicodedata.category(char)
        if category == "Nd":
            kept = str(unicodedata.decimal(char))
        elif char == "-":
            kept = char  # the sign of a number: `_signed` has replaced all others
        elif category == "Cc":
            kept = " "
        elif char in "\u055a\u05f3":  # the apostrophes of Armenian and Hebrew
            kept = "'"
        else:
            return super().__missing__(code)
        self[code] = kept
        return kept


_CLEANED, _CLEANED_2 = _Cleaned(), _Cleaned2()


def _compatible(text: str, form: str = "NFKC") -> str:
    return unicodedata.normalize(form, text.replace("´", "'"))  # else it becomes space and accent


def _basic(text: str) -> str:
    """NFKC, case folded; punctuation and symbols except apostrophes within words become spaces."""
    text = _compatible(_compatible(text).casefold()).translate(_CLEANED)
    text = _compatible(text)  # a removed hyphen may have preceded a combining mark
    return " ".join(_STRAY_APOSTROPHE.sub(" ", text).split())


def _unpointed(text: str) -> str:
    """Basic, without Arabic and Hebrew vowel points and without tatweel."""
    return _basic(_POINTS.sub("", _compatible(text, "NFKD")))


def _zh(text: str) -> str:
    """Basic, without spaces between Chinese or Japanese characters."""
    return _CJK_SPACE.sub("", _basic(text))


def _english(text: str) -> str:
    """Basic, but hyphens separate words, `1,000` is 1000, and & and % are spelled out."""
    return _basic(_THOUSANDS.sub("", _compatible(text)).translate(_ENGLISH_SPOKEN))


def _separated(text: str) -> str:
    """The text with `_BREAK` around characters that NFKC would join to neighbouring digits."""
    return _SEPARATE.sub(rf"{_BREAK}\g<0>{_BREAK}", text)


def _signed(text: str) -> str:
    """The text with minus signs of numbers as hyphens, and all other dashes as spaces."""
    text = _BARE_POINT.sub("0.", _BETWEEN_DIGITS.sub(" ", text))
    return _DASH.sub(lambda dash: " -" if _is_sign(dash) else " ", text)


def _is_sign(dash: re.Match) -> bool:
    """Whether a dash is the minus sign of a number: in -5 and (-5), but not in 3-4 or 10%-20%."""
    text, before, after = dash.string, dash.start() - 1, dash.end()
    while unicodedata.category(text[after : after + 1] or " ") == "Cf":
        after += 1
    while before >= 0 and unicodedata.category(text[before]) == "Cf":
        before -= 1
    if not text[after : after + 1].isdecimal():
        return False
    if before < 0 or text[before].isspace():
        return True
    char, kind = text[before], unicodedata.category(text[before])
    rest = text[:before].rstrip()
    if char in "\"'":  # opening or closing
        return rest != text[:before] or not rest
    if kind == "Sc":
        return not rest[-1:].isdecimal()
    chinese = dash[0] == "\u2212" and re.match(f"[{CJK}]", char)  # U+2212 is never a dash there
    return kind in ("Ps", "Pi", "Sm") or char in ",;:" or bool(chinese)


def _basic_2(text: str) -> str:
    """As `_basic`, but hyphens become spaces, minus signs stay, gershayim become apostrophes."""
    text = _compatible(_compatible(_separated(text)).casefold())
    text = _signed(_GERSHAYIM.sub("'", text)).translate(_CLEANED_2)
    text = _compatible(_DOTTED_I.sub("i", text))
    return " ".join(_STRAY_APOSTROPHE.sub(" ", text).split())


def _unpointed_2(text: str) -> str:
    """Basic, without Arabic and Hebrew vowel points and without tatweel."""
    return _basic_2(_POINTS.sub("", _compatible(_separated(text), "NFKD")))


def _zh_2(text: str) -> str:
    """Basic, without spaces between Chinese or Japanese characters."""
    return _CJK_SPACE.sub("", _basic_2(text))


def _english_2(text: str) -> str:
    """Basic, but `1,000` is 1000, and & and % are spelled out."""
    text = _signed(_compatible(_separated(text)))
    text = _GROUPED.sub(lambda number: number[0].replace(",", ""), text)
    return _basic_2(text.translate(_ENGLISH_SYMBOLS))


NORMALIZERS = {
    "none@1": str,
    "basic@1": _basic,
    "unpointed@1": _unpointed,
    "zh@1": _zh,
    "english@1": _english,
    "basic@2": _basic_2,
    "unpointed@2": _unpointed_2,
    "zh@2": _zh_2,
    "english@2": _english_2,
}


def normalize(name: str, text: str) -> str:
    """Normalises a text by NAME@VERSION, a key of `NORMALIZERS`; ConfigError: another name."""
    if name not in NORMALIZERS:
        raise errors.unknown("normalizer", name, NORMALIZERS)
    return NORMALIZERS[name](text)
