"""Contexts: their normal form, the names of a list, how a long one is cut."""

import bisect
from collections.abc import Callable, Sequence
import re

from seedasr_jax.errors import ConfigError
from seedasr_jax.text import joining
from seedasr_jax.text.normalize import normalize

SEPARATOR = ", "  # between the names of a context that is a list

# Commas and semicolons of all scripts (a test compares them with Unicode), bars, tabs, line breaks.
_BETWEEN = re.compile(
    "[,;|\\uff5c\\u055d\\u060c\\u061b\\u07f8\\u1363\\u1364\\u1802\\u1808\\u204f\\u2e32\\u2e34\\u2e35\\u2e41\\u2e49"
    "\\u2e4c\\u3001\\ua4fe\\ua60d\\ua6f5\\ua6f6\\ufe10\\ufe11\\ufe14\\ufe50\\ufe51\\ufe54\\uff0c\\uff1b\\uff64"
    "\\U0001144d\\U0001145a\\U00016e97\\U0001da87\\U0001da89\\t\\n\\v\\f\\r\\x85\\u2028\\u2029]"
)
# A comma between two digits belongs to a number.
_BETWEEN_ITEMS = re.compile(rf"(?!(?<=\d),\d){_BETWEEN.pattern}")
_SURROGATE = re.compile("[\ud800-\udfff]")
_SAME = "basic@2"  # names are equal if this normaliser makes them equal


def split(text: str) -> list[str]:
    """The names of a list, separated by commas, semicolons, bars, tabs or line breaks."""
    return [name for item in _BETWEEN.split(text) if (name := item.strip())]


def contains(text: str, name: str) -> bool:
    """Whether a text contains a name: as whole words, or, in scripts without spaces, anywhere."""
    text, name = (normalize(_SAME, one).replace("'", " ") for one in (text, name))  # ann's is ann
    bound = "" if joining.UNSPACED.search(name) else " "
    return bool(name) and f"{bound}{name}{bound}" in f" {text} "


def normal_context(normalizer: str, text: str) -> str:
    """A context normalised as transcripts are, except that commas between names are kept."""
    if normalizer.startswith("none@"):  # not even separators are unified
        return text
    items = (normalize(normalizer, item) for item in _BETWEEN_ITEMS.split(text))
    return SEPARATOR.join(item for item in items if item)


def context(text: str | None = "", hotwords: str | Sequence[str] | None = ()) -> str:
    """Joins a text and hotwords to a context, which `normal_context` normalises; None: none.

    The paper's contexts are natural language; a list is ours. `hotwords` is a sequence of names, or
    one text that `split` reads. Duplicates after the first are removed, and commas within a name.
    ConfigError is raised for another type, such as a set, and for text that is not UTF-8.
    """
    if not isinstance(text, str | None):
        raise ConfigError(f"context: expected a text, found {text!r}")
    names = () if hotwords is None else hotwords
    names = split(names) if isinstance(names, str) else names
    if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise ConfigError(
            'hotwords: expected names in order, ["ann", "bob"], or a text that lists them,'
            f' "ann, bob"; found {hotwords!r}'
        )
    for key, one in (("context", text or ""), *(("hotwords", name) for name in names)):
        if _SURROGATE.search(one):  # also from bytes on a command line
            raise ConfigError(f"{key}: expected text in UTF-8, found {one!r}")
    once = {"": (text or "").strip()}
    for name in names:
        once.setdefault(normalize(_SAME, name), " ".join(split(name)))
    return SEPARATOR.join(filter(None, once.values()))


def cut(context: str, fits: Callable[[str], bool]) -> tuple[str, str]:
    """Truncates a context from the left, by whole names or, if not one name fits, by whole words.

    Returns the removed and the remaining text; `fits` is monotonic in the length of a text.
    """
    if fits(context):  # the common case
        return "", context
    for between in (SEPARATOR, " "):
        items = context.split(between)
        first = bisect.bisect_left(
            range(len(items)), True, key=lambda n: fits(between.join(items[n:]))
        )
        if first < len(items):
            return between.join(items[:first]), between.join(items[first:])
    return context, ""
