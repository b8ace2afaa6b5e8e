"""SPEC: `KIND:WHERE?query` names a source of utterances on a command line or in a recipe."""

import dataclasses
import os
import re

from seedasr_jax.data_pipelines import contexts
from seedasr_jax.errors import ConfigError, nearest

KINDS = ("manifest", "synth", "tfds")
KEYS = (
    *("context", "join", "language", "limit", "minutes", "names"),
    *("part", "seed", "speaker", "split", "without"),
)
PARTS = ("dev", "train")
_DIGITS = 9
_MANIFEST = re.compile(r"(.+?\.jsonl?)(?:\?(.*))?", re.DOTALL)  # a file's name may hold a `?`


@dataclasses.dataclass(frozen=True)
class Spec:
    """A parsed SPEC. What the query does not say is "", () or None."""

    kind: str
    where: str  # a path, or the NAME of a corpus
    query: str = ""  # as typed, part of the source's name
    join: tuple[int, int] | None = None  # utterances of one speaker, fewest and most
    seed: int = 0  # of the joining, and of `minutes`
    part: str = ""  # dev: a twentieth of the utterances, by a hash of their id; train: the others
    speaker: tuple[str, ...] = ()  # only these
    without: tuple[str, ...] = ()  # all but these
    split: str = ""
    language: tuple[str, ...] = ()  # only these
    minutes: int | None = None  # drawn, speakers taking turns, until so much speech is reached
    limit: int | None = None  # the first so many that are left
    context: tuple[str, int] | None = None  # of a test: see contexts.py
    names: str = ""  # the split whose names are its distractors; its own where nothing is said


def parse(text: str) -> Spec:
    """Parses a SPEC.

    Raises:
        ConfigError: says what was expected, what was found, and the nearest valid name.
    """
    kind, colon, rest = text.partition(":")
    if not colon or kind not in KINDS:
        raise ConfigError(
            f"source {text!r}: expected KIND:WHERE with KIND one of {', '.join(KINDS)}."
            f"{nearest(kind, KINDS)}"
        )
    where, _, query = rest.partition("?")
    if kind == "manifest" and (named := _MANIFEST.fullmatch(rest)):
        where, query = named[1], named[2] or ""
    if not where:
        raise ConfigError(f"source {text!r}: expected {kind}:WHERE, found nothing behind the colon")
    values = {}
    for item in filter(None, query.split("&")):
        key, equals, value = item.partition("=")
        if key not in KEYS:
            raise ConfigError(
                f"source {text!r}: {key!r} is no key; expected {', '.join(KEYS)}."
                f"{nearest(key, KEYS)}"
            )
        if key in values or not equals or not value:
            raise ConfigError(f"source {text!r}: expected {key}=VALUE once, found {item!r}")
        values[key] = _PARSERS.get(key, _text)(text, key, value)
    if "names" in values and "context" not in values:
        raise ConfigError(
            f"source {text!r}: names={values['names']} says where a context takes its distractors:"
            " add context=distractors_3, or leave it out"
        )
    return Spec(kind, where, query, **values)


def task_name(spec: Spec, digest: str) -> str:
    """KIND:FILENAME?query#8 hex of the content: says what was read, whatever its folder."""
    query = f"?{spec.query}" if spec.query else ""
    where = spec.where.split("@")[0]  # tfds: NAME without DATA_DIR
    if spec.kind == "manifest":
        where = os.path.basename(spec.where)
    return f"{spec.kind}:{where}{query}#{digest[:8]}"


def _text(text, key, value):
    return value


def _names(text, key, value):
    return tuple(name for name in value.split(",") if name)


def _count(text, key, value):
    if not value.isdecimal() or len(value) > _DIGITS:
        few = f" of at most {_DIGITS} digits" if value.isdecimal() else ""
        raise ConfigError(f"source {text!r}: {key}: expected a whole number{few}, found {value!r}")
    return int(value)


def _positive(text, key, value):
    if not _count(text, key, value):
        raise ConfigError(f"source {text!r}: {key}: expected at least 1, found 0")
    return int(value)


def _join(text, key, value):
    match = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", value)
    low, high = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= low <= high:
        raise ConfigError(f"source {text!r}: join: expected FEWEST-MOST, say 3-6, found {value!r}")
    return low, high


def _part(text, key, value):
    if value not in PARTS:
        raise ConfigError(
            f"source {text!r}: part: expected dev or train, found {value!r}.{nearest(value, PARTS)}"
        )
    return value


def _context(text, key, value):
    return contexts.check(text, value)


_PARSERS = {
    "context": _context,
    "join": _join,
    "language": _names,
    "limit": _positive,
    "minutes": _positive,
    "part": _part,
    "seed": _count,
    "speaker": _names,
    "without": _names,
}
