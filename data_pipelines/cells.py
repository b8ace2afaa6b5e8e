"""Parsers of a manifest's values, field by field."""

from typing import NamedTuple

from seedasr_jax.config import CONTEXT_KINDS
from seedasr_jax.errors import nearest

_LONGEST_SECONDS = 1e9


class Alignment(NamedTuple):
    """Start times in seconds: of each unit of the text, and (start, name) of each phone."""

    words: tuple[float, ...]
    phones: tuple[tuple[float, str], ...] = ()


class Expected(Exception):
    """A wrong value. Args: what was expected, and a suggestion for the cure."""

    def __init__(self, expected: str, near: str = ""):
        super().__init__(expected, near and f".{near}")


def text(value) -> str:
    """A string, without surrounding white space."""
    if not isinstance(value, str):
        raise Expected("text", " Write it in quotes" * (type(value) in (int, float)))
    return value.strip()


def _path(value) -> str:
    """A path, or {"path": ...} as in Hugging Face data sets. A file name may begin with a space."""
    if isinstance(value, dict):
        value = value.get("path")
    if not isinstance(value, str):
        raise Expected("a path")
    return value if value.strip() else ""


def _label(value) -> str:
    if type(value) not in (str, int):
        raise Expected("text")
    return str(value)


def _seconds(value) -> float:
    if type(value) not in (int, float) or not 0 <= value < _LONGEST_SECONDS:
        quoted = isinstance(value, str) and value.strip()[:1].isdecimal()
        raise Expected("seconds, a number of at least 0", " Write it without quotes" * quoted)
    return float(value)


def _words(value) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise Expected("a list of texts", ' Write ["ONE", "OTHER"]' * isinstance(value, str))
    return tuple(value)


def _alignment(value) -> Alignment:
    expected = Expected('{"words": [seconds], "phones": [[seconds, name]]}')
    if not isinstance(value, dict) or not set(value) <= {"words", "phones"}:
        raise expected
    words, phones = value.get("words", []), value.get("phones", [])
    try:
        return Alignment(
            tuple(map(_seconds, words)), tuple((_seconds(start), _label(p)) for start, p in phones)
        )
    except (TypeError, ValueError, Expected):
        raise expected from None


def _kind(value) -> str:
    if text(value) and value not in CONTEXT_KINDS:
        raise Expected(f"one of {', '.join(CONTEXT_KINDS)}", nearest(value, CONTEXT_KINDS))
    return value


# Field -> parser of its value, which may raise Expected; all other fields are parsed by `text`.
PARSERS = {
    "id": _label,
    "audio": _path,
    "speaker": _label,
    "offset": _seconds,
    "seconds": _seconds,
    "end": _seconds,
    "context_kind": _kind,
    "keywords": _words,
    "siblings": _words,
    "alignment": _alignment,
}
