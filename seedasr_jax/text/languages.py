"""THE table of languages, dialects and accents. No other file describes any.

A Mandarin dialect without a registered tag (RFC 5646) has a private-use one, `zh-x-NAME`. Adding a
language means adding a row, here or by `add`.

Seed-ASR states eight languages for its multilingual model, and Mandarin with 13 dialects for its
Chinese one. Which ones the recipes `seed_asr_ml` and `seed_asr_cn` name is our choice: the eight
have not been checked against the paper, and we know of no list of the 13.
"""

import dataclasses
import functools
import re

from seedasr_jax import errors
from seedasr_jax.text import normalize


@dataclasses.dataclass(frozen=True)
class Language:
    """A row of the table."""

    tag: str  # BCP-47, in its canonical case
    name: str  # in English
    parent: str  # tag of the language that this is a dialect or accent of; "" for a language
    script: str  # ISO 15924, of transcripts
    unit: str  # one of UNITS
    normalizer: str  # key of `normalize.NORMALIZERS`, for scoring
    answer: str = ""  # its name in answers of released models, Qwen3-ASR's; "": parent's, or `name`


UNITS = ("word", "char")  # that an error rate counts
_TAG = re.compile(r"([A-Za-z]{2,3}|x)(-[A-Za-z0-9]{1,8})*")  # BCP-47, its form

_ROWS = (
    # The eight languages of the multilingual recipes, each with its accents.
    Language("en", "English", "", "Latn", "word", "english@2"),
    Language("en-US", "American English", "en", "Latn", "word", "english@2"),
    Language("en-GB", "British English", "en", "Latn", "word", "english@2"),
    Language("en-GB-scotland", "Scottish English", "en-GB", "Latn", "word", "english@2"),
    Language("en-029", "Caribbean English", "en", "Latn", "word", "english@2"),
    Language("en-AU", "Australian English", "en", "Latn", "word", "english@2"),
    Language("en-CA", "Canadian English", "en", "Latn", "word", "english@2"),
    Language("en-IE", "Irish English", "en", "Latn", "word", "english@2"),
    Language("en-IN", "Indian English", "en", "Latn", "word", "english@2"),
    Language("en-ZA", "South African English", "en", "Latn", "word", "english@2"),
    Language("ar", "Arabic", "", "Arab", "word", "unpointed@2"),
    Language("es", "Spanish", "", "Latn", "word", "basic@2"),
    Language("es-ES", "Spanish of Spain", "es", "Latn", "word", "basic@2"),
    Language("es-419", "Latin American Spanish", "es", "Latn", "word", "basic@2"),
    Language("es-MX", "Mexican Spanish", "es-419", "Latn", "word", "basic@2"),
    Language("fr", "French", "", "Latn", "word", "basic@2"),
    Language("fr-FR", "French of France", "fr", "Latn", "word", "basic@2"),
    Language("fr-BE", "Belgian French", "fr", "Latn", "word", "basic@2"),
    Language("fr-CA", "Canadian French", "fr", "Latn", "word", "basic@2"),
    Language("fr-CH", "Swiss French", "fr", "Latn", "word", "basic@2"),
    Language("id", "Indonesian", "", "Latn", "word", "basic@2"),
    Language("ja", "Japanese", "", "Jpan", "char", "zh@2"),
    Language("ko", "Korean", "", "Kore", "char", "basic@2"),  # its word spacing varies by writer
    Language("pt", "Portuguese", "", "Latn", "word", "basic@2"),
    Language("pt-BR", "Brazilian Portuguese", "pt", "Latn", "word", "basic@2"),
    Language("pt-PT", "European Portuguese", "pt", "Latn", "word", "basic@2"),
    # Mandarin in its written forms.
    Language("zh", "Mandarin Chinese", "", "Hans", "char", "zh@2", "Chinese"),
    Language("zh-Hant", "Mandarin in traditional characters", "zh", "Hant", "char", "zh@2"),
    Language("zh-TW", "Taiwanese Mandarin", "zh-Hant", "Hant", "char", "zh@2"),
    # The 13 Chinese dialects, Mandarin dialects first.
    Language("zh-x-dongbei", "Northeastern Mandarin", "zh", "Hans", "char", "zh@2"),
    Language("zh-x-henan", "Henan Mandarin", "zh", "Hans", "char", "zh@2"),
    Language("zh-x-hubei", "Hubei Mandarin", "zh", "Hans", "char", "zh@2"),
    Language("zh-x-shaanxi", "Shaanxi Mandarin", "zh", "Hans", "char", "zh@2"),
    Language("zh-x-shandong", "Shandong Mandarin", "zh", "Hans", "char", "zh@2"),
    Language("zh-x-sichuan", "Sichuan Mandarin", "zh", "Hans", "char", "zh@2"),
    Language("cjy", "Jin Chinese", "zh", "Hans", "char", "zh@2"),
    Language("gan", "Gan Chinese", "zh", "Hans", "char", "zh@2"),
    Language("hak", "Hakka Chinese", "zh", "Hans", "char", "zh@2"),
    Language("hsn", "Xiang Chinese (Hunan)", "zh", "Hans", "char", "zh@2"),
    Language("nan", "Southern Min Chinese", "zh", "Hans", "char", "zh@2"),
    Language("wuu", "Wu Chinese", "zh", "Hans", "char", "zh@2"),
    Language("yue", "Cantonese", "zh", "Hant", "char", "zh@2", "Cantonese"),
    # Further languages.
    Language("cs", "Czech", "", "Latn", "word", "basic@2"),
    Language("da", "Danish", "", "Latn", "word", "basic@2"),
    Language("de", "German", "", "Latn", "word", "basic@2"),
    Language("el", "Greek", "", "Grek", "word", "basic@2"),
    Language("eu", "Basque", "", "Latn", "word", "basic@2"),
    Language("fa", "Persian", "", "Arab", "word", "unpointed@2"),
    Language("fi", "Finnish", "", "Latn", "word", "basic@2"),
    Language("fil", "Filipino", "", "Latn", "word", "basic@2"),
    Language("he", "Hebrew", "", "Hebr", "word", "unpointed@2"),
    Language("hi", "Hindi", "", "Deva", "word", "basic@2"),
    Language("hu", "Hungarian", "", "Latn", "word", "basic@2"),
    Language("it", "Italian", "", "Latn", "word", "basic@2"),
    Language("km", "Khmer", "", "Khmr", "char", "basic@2"),
    Language("lo", "Lao", "", "Laoo", "char", "basic@2"),
    Language("mk", "Macedonian", "", "Cyrl", "word", "basic@2"),
    Language("ms", "Malay", "", "Latn", "word", "basic@2"),
    Language("my", "Burmese", "", "Mymr", "char", "basic@2"),
    Language("nl", "Dutch", "", "Latn", "word", "basic@2"),
    Language("pl", "Polish", "", "Latn", "word", "basic@2"),
    Language("ro", "Romanian", "", "Latn", "word", "basic@2"),
    Language("ru", "Russian", "", "Cyrl", "word", "basic@2"),
    Language("sv", "Swedish", "", "Latn", "word", "basic@2"),
    Language("th", "Thai", "", "Thai", "char", "basic@2"),  # unspaced, as the three above
    Language("tok", "Toki Pona", "", "Latn", "word", "basic@2"),
    Language("tr", "Turkish", "", "Latn", "word", "basic@2"),
    Language("vi", "Vietnamese", "", "Latn", "word", "basic@2"),
)

NOT_STATED = "None"  # what an answer names in place of a language that is not stated

LANGUAGES: dict[str, Language] = {row.tag: row for row in _ROWS}

# Other codes of these languages, including those of ISO 639-2 and -3.
_ALIASES = {"cmn": "zh", "zho": "zh", "chi": "zh", "iw": "he", "heb": "he", "in": "id", "ind": "id"}
_ALIASES |= {"eng": "en", "ara": "ar", "arb": "ar", "spa": "es", "fra": "fr", "fre": "fr"}
_ALIASES |= {"jpn": "ja", "kor": "ko", "por": "pt", "deu": "de", "ger": "de", "eus": "eu"}
_ALIASES |= {"baq": "eu", "hin": "hi", "ita": "it", "swe": "sv", "tha": "th"}
_ALIASES |= {"khm": "km", "lao": "lo", "mya": "my", "bur": "my"}
_ALIASES |= {"ces": "cs", "cze": "cs", "dan": "da", "ell": "el", "gre": "el", "fas": "fa"}
_ALIASES |= {"per": "fa", "fin": "fi", "hun": "hu", "mkd": "mk", "mac": "mk", "msa": "ms"}
_ALIASES |= {"may": "ms", "nld": "nl", "dut": "nl", "pol": "pl", "ron": "ro", "rum": "ro"}
_ALIASES |= {"rus": "ru", "tur": "tr", "vie": "vi", "tl": "fil", "tgl": "fil"}
_BY_LOWER = {tag.lower(): row for tag, row in LANGUAGES.items()}
_BY_NAME = {row.name.lower(): row.tag for row in _ROWS}


def add(row: Language) -> None:
    """Adds or replaces a row, from a module of `config.imports`: the last module wins.

    Raises:
        ConfigError: the tag is no BCP-47; an unknown parent, unit or normaliser; a dialect that is
            counted otherwise than its parent.
    """
    if not _TAG.fullmatch(row.tag):
        raise errors.ConfigError(
            f"language {row.tag!r}: expected a BCP-47 tag, such as cy or zh-x-henan.{near(row.tag)}"
        )
    if row.parent and (row.parent not in LANGUAGES or row.parent == row.tag):
        raise errors.ConfigError(
            f"language {row.tag!r}: expected a parent that has a row, found {row.parent!r}."
            f"{near(row.parent)}"
        )
    if row.unit not in UNITS:
        raise errors.unknown(f"language {row.tag!r}: unit", row.unit, UNITS)
    if row.normalizer not in normalize.NORMALIZERS:
        what = f"language {row.tag!r}: normalizer"
        raise errors.unknown(what, row.normalizer, normalize.NORMALIZERS)
    if row.parent:
        parent = LANGUAGES[row.parent]
        if (row.unit, row.normalizer) != (parent.unit, parent.normalizer):
            raise errors.ConfigError(
                f"language {row.tag!r}: expected unit and normalizer of its parent, {parent.unit}"
                f" and {parent.normalizer}, found {row.unit} and {row.normalizer}"
            )
    above = LANGUAGES.get(row.parent)
    while above is not None and above.tag != row.tag:
        above = LANGUAGES.get(above.parent)
    if above is not None:
        raise errors.ConfigError(
            f"language {row.tag!r}: expected a parent above it, but {row.parent!r} descends from it"
        )
    for other in LANGUAGES.values():
        if other.parent == row.tag and (other.unit, other.normalizer) != (row.unit, row.normalizer):
            raise errors.ConfigError(
                f"language {row.tag!r}: its dialect {other.tag!r} has {other.unit} and"
                f" {other.normalizer}, found {row.unit} and {row.normalizer}: keep them, or replace"
                " its dialects too"
            )
    LANGUAGES[row.tag] = _BY_LOWER[row.tag.lower()] = row
    _BY_NAME[row.name.lower()] = row.tag
    known.cache_clear()


def lookup(tag: str) -> Language:
    """Returns the row of a tag, or of its longest known prefix.

    Case is ignored, and `_` is read as `-`. Unknown subtags are removed from the right as in
    RFC 4647 (en-NZ -> en), else it is a ConfigError. `zh-yue` is `yue`, `cmn` `zh`, `eng` `en`.
    """
    subtags = str(tag).lower().replace("_", "-").split("-")
    subtags[0] = _ALIASES.get(subtags[0], subtags[0])
    if subtags[0] == "zh" and len(subtags) > 1:
        extended = _BY_LOWER.get(_ALIASES.get(subtags[1], subtags[1]))
        if extended and "zh" in (extended.tag, extended.parent):
            subtags[:2] = [extended.tag]
    while subtags:
        if row := _BY_LOWER.get("-".join(subtags)):
            return row
        subtags.pop()
    raise errors.ConfigError(
        f"unknown language {tag!r}: expected a BCP-47 tag whose language is in text/languages.py, "
        f"such as en, zh or yue.{near(tag)}"
    )


@functools.cache
def known(tag: str) -> Language | None:
    """As `lookup`; None for an unknown tag, and for an empty one, which states no language."""
    try:
        return lookup(tag) if tag else None
    except errors.ConfigError:
        return None


def answered(row: Language) -> str:
    """The name of a language in answers: `answer`, else its parent's, else `name`."""
    while row.parent and not row.answer:
        row = LANGUAGES[row.parent]
    return row.answer or row.name


def tag_of(answer: str) -> str:
    """The tag of a language named in an answer; the text itself if no row has that name."""
    rows = (row for row in LANGUAGES.values() if row.answer or not row.parent)
    return next((row.tag for row in rows if answered(row).lower() == answer.lower()), answer)


def near(tag: str) -> str:
    """A suggestion for an unknown tag or a language's name, in the form of errors.nearest."""
    if by_name := _BY_NAME.get(str(tag).lower()):
        return f" Did you mean {by_name}?"
    return errors.nearest(str(tag).lower(), LANGUAGES)
