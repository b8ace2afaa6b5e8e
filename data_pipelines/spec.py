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
FOLDS = ("dev", "train")
_DIGITS = 9
_MANIFEST = re.compile(r"(.+?\.jsonl?)(?:\?(.*))?", re.DOTALL)  # a file name may contain a `?`


@dataclasses.dataclass(frozen=True)
class Spec:
    """A parsed SPEC. Keys that the query does not state are "", () or None."""

    kind: str
    where: str  # a path, or the NAME of a corpus
    query: str = ""  # as typed, for the source's name
    join: tuple[int, int] | None = None  # fewest and most recordings of one speaker to join
    seed: int = 0  # of `join` and `minutes`
    fold: str = ""  # key `part`; dev: a twentieth of the utterances, by a hash of id; train: others
    speaker: tuple[str, ...] = ()  # only these
    without: tuple[str, ...] = ()  # not these speakers
    split: str = ""
    language: tuple[str, ...] = ()  # only these
    minutes: int | None = None  # of speech to draw, from all speakers in rotation
    limit: int | None = None  # number of utterances, applied last
    context: tuple[str, int] | None = None  # condition of a test: see contexts.py
    names: str = ""  # split whose names are distractors; "": the same split


_ATTRIBUTES = {"part": "fold"}  # key of a query -> attribute, if they differ


def parse(text: str) -> Spec:
    """Parses a SPEC; ConfigError: it is invalid, with the nearest valid name."""
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
        raise ConfigError(f"source {text!r}: expected {kind}:WHERE, found nothing after the colon")
    values = {}
    for item in filter(None, query.split("&")):
        key, equals, value = item.partition("=")
        if key not in KEYS:
            raise ConfigError(
                f"source {text!r}: expected a key of {', '.join(KEYS)}, found {key!r}."
                f"{nearest(key, KEYS)}"
            )
        if key in values or not equals or not value:
            raise ConfigError(f"source {text!r}: expected {key}=VALUE once, found {item!r}")
        values[key] = _PARSERS.get(key, _text)(text, key, value)
    if "names" in values and "context" not in values:
        raise ConfigError(
            f"source {text!r}: names={values['names']} is the split of a context's distractors:"
            " expected a context beside it; add context=distractors_3, or remove names"
        )
    values = {_ATTRIBUTES.get(key, key): value for key, value in values.items()}
    return Spec(kind, where, query, **values)


def task_name(spec: Spec, digest: str) -> str:
    """KIND:FILENAME?query#8 hex of the content: identifies the data, independent of the folder."""
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
        raise ConfigError(f"source {text!r}: {key}: expected an integer{few}, found {value!r}")
    return int(value)


def _positive(text, key, value):
    if not _count(text, key, value):
        raise ConfigError(f"source {text!r}: {key}: expected at least 1, found 0")
    return int(value)


def _join(text, key, value):
    match = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", value)
    low, high = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= low <= high:
        raise ConfigError(
            f"source {text!r}: join: expected FEWEST-MOST, such as 3-6, found {value!r}"
        )
    return low, high


def _fold(text, key, value):
    if value not in FOLDS:
        raise ConfigError(
            f"source {text!r}: part: expected dev or train, found {value!r}.{nearest(value, FOLDS)}"
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
    "part": _fold,
    "seed": _count,
    "speaker": _names,
    "without": _names,
}
