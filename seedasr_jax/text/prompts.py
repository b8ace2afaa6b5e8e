"""What the language model reads before the speech: instruction (Seed-ASR, figure 2) and context."""

import bisect
from collections.abc import Callable, Sequence
import os
import pathlib
import re

from seedasr_jax.errors import ConfigError
from seedasr_jax.text import joining
from seedasr_jax.text.normalize import normalize

INSTRUCTION = "Transcribe the speech into text:"
INSTRUCTION_WITH_CONTEXT = "There are relevant contexts, transcribe the speech into text:"

SEPARATOR = ", "  # between the names of a context that is a list

# Commas and semicolons of all scripts (a test holds them against Unicode), bars, tabs and line
# breaks.
_BETWEEN = re.compile(
    "[,;|\\uff5c\\u055d\\u060c\\u061b\\u07f8\\u1363\\u1364\\u1802\\u1808\\u204f\\u2e32\\u2e34\\u2e35\\u2e41\\u2e49"
    "\\u2e4c\\u3001\\ua4fe\\ua60d\\ua6f5\\ua6f6\\ufe10\\ufe11\\ufe14\\ufe50\\ufe51\\ufe54\\uff0c\\uff1b\\uff64"
    "\\U0001144d\\U0001145a\\U00016e97\\U0001da87\\U0001da89\\t\\n\\v\\f\\r\\x85\\u2028\\u2029]"
)
# In a text, a comma between two digits is a number's.
_BETWEEN_PARTS = re.compile(rf"(?!(?<=\d),\d){_BETWEEN.pattern}")
# As other tools have them behind a name: a number behind a tab, or behind a colon that a space is
# before.
_WEIGHTED = re.compile(r".*(\t\s*|\s:\s*)[-+]?[\d.]+(\s+#.*)?\s*")
_SURROGATE = re.compile("[\ud800-\udfff]")
_SAME = "basic@2"  # names that this makes equal are one


def split(text: str) -> list[str]:
    """The names of a list: parted by commas, semicolons or bars, as people write it."""
    return [name for part in _BETWEEN.split(text) if (name := part.strip())]


def holds(text: str, name: str) -> bool:
    """Whether a text holds a name: in whole words, or, of a script without spaces, anywhere."""
    text, name = (normalize(_SAME, one).replace("'", " ") for one in (text, name))  # ann's is ann
    bound = "" if joining.UNSPACED.search(name) else " "
    return bool(name) and f"{bound}{name}{bound}" in f" {text} "


def normal_context(normalizer: str, text: str) -> str:
    """A context in the form of transcripts, its commas kept: they part the names of a list."""
    parts = (normalize(normalizer, part) for part in _BETWEEN_PARTS.split(text))
    return SEPARATOR.join(part for part in parts if part)


def context(text: str | None = "", hotwords: str | Sequence[str] | None = ()) -> str:
    """A context of a text and a list of hotwords; see `normal_context` for how it is read.

    The paper's contexts are natural language; a list is ours.

    Args:
        text: what helps; None: nothing.
        hotwords: names, or one text that lists them as `split` reads it; None: none. Each stands
            once, where it came first; in a sequence, a name may hold a comma, which is dropped.

    Raises:
        ConfigError: something else, such as a set, which has no order, or no Unicode.
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
        if _SURROGATE.search(one):  # of bytes on a command line, too
            raise ConfigError(f"{key}: expected text in UTF-8, found {one!r}")
    once = {"": (text or "").strip()}
    for name in names:
        once.setdefault(normalize(_SAME, name), " ".join(split(name)))
    return SEPARATOR.join(filter(None, once.values()))


def cut(context: str, fits: Callable[[str], bool]) -> tuple[str, str]:
    """Cuts a context from the left, by whole names or, where none of them fits, by whole words.

    Args:
        context: as `normal_context` gives it.
        fits: whether a text is short enough; what is shorter fits too.

    Returns:
        What is cut off and what is left; either may be "".
    """
    if fits(context):  # most do
        return "", context
    for between in (SEPARATOR, " "):
        pieces = context.split(between)
        first = bisect.bisect_left(
            range(len(pieces)), True, key=lambda n: fits(between.join(pieces[n:]))
        )
        if first < len(pieces):
            return between.join(pieces[:first]), between.join(pieces[first:])
    return context, ""


def read_context(text: str) -> str:
    """A context as a command line gives it.

    Raises:
        ConfigError: it is `@FILE`, which only hotwords are.
    """
    if text.startswith("@") and os.path.isfile(text[1:]):
        raise ConfigError(
            f'--context={text}: expected the text itself: write --context="$(cat {text[1:]})"'
        )
    return _typed(text)


def _typed(text) -> str:
    """A word of the command line, whose bytes Python may have read as those of another locale."""
    return text.encode(errors="surrogateescape").decode(errors="surrogateescape")


def read_hotwords(text: str) -> tuple[str, ...]:
    """Names as a command line gives them: a list that `split` reads, or `@FILE`.

    A file has a name per line, which may hold a comma, or the whole list in its only line. Empty
    lines and those that begin with `# ` are left out.

    Raises:
        ConfigError: no such file, one that is not UTF-8 text, or one without a name; a file's name
            without the @.
    """
    if not text.startswith("@"):
        if pathlib.Path(text).suffix and os.path.isfile(text):
            raise ConfigError(f"--hotwords={text}: a file's names are read as --hotwords=@{text}")
        return tuple(split(_typed(text)))
    path = pathlib.Path(text[1:])
    expected = f"--hotwords=@{path}: expected a text file in UTF-8 with a word or name per line"
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:  # also a NUL in the path
        raise ConfigError(f"{expected}, found {error}") from error
    names = [line.strip() for line in lines if line.strip() and not line.startswith("# ")]
    if not names:
        raise ConfigError(f"{expected}, found none")
    if weighted := next(filter(_WEIGHTED.fullmatch, names), ""):
        raise ConfigError(f"{expected}, found {weighted!r}: weights are not read, leave them out")
    return tuple(split(names[0]) if len(names) == 1 else names)
