"""Statistics of a source, and the problems of its rows. No TensorFlow."""

import array
import collections
from collections.abc import Iterator
import functools
import math
import re

import numpy as np

from seedasr_jax import tables
from seedasr_jax.audio import files
from seedasr_jax.data_pipelines import columns, fields, named, waves
from seedasr_jax.data_pipelines import table as stored
from seedasr_jax.errors import DataError, nearest
from seedasr_jax.text import conventions, languages, prompts, score

_BUFFERED = 1 << 20  # texts to keep before they are replaced by hashes
_CLIPPED_PERCENT = 1.0  # more samples at full scale are clipping, not single peaks
_FULL_SCALE = -32_768, 32_767  # of int16
_SHORTEST_SECONDS = 0.025  # one window of the features
_FRAME_SECONDS = 0.04  # of the recipes' encoders; CTC needs a frame for each token
_MAY_BE_TEXT = re.compile(
    "text|trans|sent|utter|word|label|phrase|target|prompt|caption|content|script|title",
    re.IGNORECASE,
)
_MAY_BE_AUDIO = re.compile("audio|wav|file|path|sound|source|record|speech|ur[il]", re.IGNORECASE)
_MAY_BE_CHANNEL = re.compile("channel|^side$", re.IGNORECASE)
# Matches words within a name in any notation: start_ms, endTime, segment-start, clip_offset, xmin.
_MAY_BE_TIME = re.compile(
    r"(?!(?i:.*_(id|name|index|count|type|token))$)"
    r"((.*[^a-z]|.*[a-z](?=[A-Z]))?(?i:start|begin|onset|offset|xmin|xmax|tmin|tmax)|"
    r"(?i:(audio|clip|seg|segment|speech|utt|wav)[\W_]?(end|stop)|end|stop|from|to|segments?))"
    r"([^a-zA-Z].*|[A-Z].*|(?i:time|sec|ms|sample|frame)s?)?|t[01]",
)
_COLUMNS = ("source", "utterances", "hours", "shortest", "mean", "longest", "speakers", "texts")
_COLUMNS += ("unreadable",)


def stats(name: str, data_folder) -> dict:
    """Statistics of a SPEC, task or mixture, over recordings: before joining.

    Times are in seconds; texts and words are distinct ones; `unreadable` counts utterances of
    unknown length, which hours, shortest, mean and longest do not include.
    """
    source = named.open_named(name, data_folder)
    tags, speakers, texts, words = collections.Counter(), _Distinct(), _Distinct(), _Distinct()
    count, known, total, shortest, longest = 0, 0, 0.0, math.inf, 0.0
    for row in stored.of(source.rows()).measured(waves.measured):
        count += 1
        tags[row.language or "not stated"] += 1
        speakers.add((row.speaker,) if row.speaker else ())
        texts.add((row.text,) if row.text else ())
        words.add(row.text.split())
        if row.seconds or not row.audio:
            known, total = known + 1, total + row.seconds
            shortest, longest = min(shortest, row.seconds), max(longest, row.seconds)
    return {
        "source": source.name,
        "utterances": count,
        "hours": round(total / 3600, 4),
        "shortest": round(shortest if known else 0.0, 3),
        "mean": round(total / max(known, 1), 3),
        "longest": round(longest, 3),
        "speakers": len(speakers),
        "texts": len(texts),
        "words": len(words),
        "languages": dict(sorted(tags.items())),
        "unreadable": count - known,
    }


class _Distinct:
    """Number of distinct texts; large numbers of texts are kept as 8-byte hashes."""

    def __init__(self):
        self._new: set[str] = set()
        self._hashes = np.zeros(0, np.uint64)

    def add(self, texts):
        """Adds texts."""
        self._new.update(texts)
        if len(self._new) > _BUFFERED:
            self._hashes = self._both()
            self._new.clear()

    def __len__(self):
        return len(self._both())

    def _both(self):
        new = np.fromiter(map(columns.hashed, self._new), np.uint64, len(self._new))
        return np.union1d(self._hashes, new)


class _Repeated:
    """The set of texts that were added more than once; each text is kept as an 8-byte hash."""

    def __init__(self):
        self._hashes = array.array("Q")

    def add(self, text: str):
        """Adds a text; must not be called after the first lookup."""
        self._hashes.append(columns.hashed(text))

    def __contains__(self, text):
        wanted = np.uint64(columns.hashed(text))
        place = np.searchsorted(self._found, wanted)
        return place < len(self._found) and self._found[place] == wanted

    @functools.cached_property
    def _found(self):
        hashes = np.sort(np.array(self._hashes, np.uint64))
        return np.unique(hashes[1:][hashes[1:] == hashes[:-1]])


def table(rows: list[dict]) -> str:
    """Statistics as a text table."""
    return tables.columns(_COLUMNS, ([row[key] for key in _COLUMNS] for row in rows))


def problems(name: str, data_folder) -> Iterator[str]:
    """Yields a line for each problem of a source's rows; decodes every recording.

    A source without any text is for self-supervised stages, one without any audio for `lm`.
    """
    source = named.open_named(name, data_folder)
    rows, unknown, has_text, has_audio = source.rows(), set(), False, False
    ids, paths = _Repeated(), _Repeated()
    for row in rows:
        unknown.update(row.ignored)
        has_text, has_audio = has_text or bool(row.text), has_audio or bool(row.audio)
        ids.add(row.id)
        paths.add(row.audio)
    has_audio = has_audio or any(map(_MAY_BE_AUDIO.search, unknown))
    for field in sorted(unknown):
        if not has_text and _MAY_BE_TEXT.search(field):
            known = ", ".join(fields.ALIASES["text"])
            yield f"{source.name}: no row has text: expected {known}, found unknown field {field!r}"
        if _MAY_BE_TIME.fullmatch(field):
            yield (
                f"{source.name}: unknown field {field!r}: if it bounds a segment, write start and"
                " end in seconds, else choose another name"
            )
    cache = files.WaveCache(0)
    first_line: dict[str, int] = {}  # of repeated ids
    for row in rows:
        where = f"{source.name} line {row.line} ({row.id})"
        if row.id in first_line:
            yield f"{where}: expected a unique id, found that of line {first_line[row.id]}"
        if row.id in ids:
            first_line.setdefault(row.id, row.line)
        for found in _row_problems(row, has_text, has_audio, cache):
            yield f"{where}: {found}"
        if row.seconds and not row.offset and row.audio not in paths:
            yield from (f"{where}: {found}" for found in _cut_problems(row))


def _cut_problems(row):
    """Problems of the only row of a file that begins at 0 s: it probably covers the file."""
    try:
        available = files.seconds(row.audio)
    except DataError:
        return
    if available > row.seconds + files.SLACK_SECONDS:
        yield f"expected the entire file, {available:.3f} s, found duration {row.seconds:.3f} s"


def _row_problems(row, has_text, has_audio, cache):
    if row.fault:
        yield row.fault
    if has_text and not row.text:
        yield f"expected text as in other rows, found none; {fields.hint(row.ignored, 'text')}"
    for name in row.keywords if row.text else ():
        if not prompts.contains(row.text, name):
            yield f"expected keywords that the text contains, found {name!r}"
    if row.text and not any(map(str.isalnum, row.text)):
        yield f"expected words, found {row.text!r}"
    if not row.audio and row.text and not has_audio:
        return
    if not row.audio:
        yield f"expected audio, found none; {fields.hint(row.ignored, 'audio')}"
        return
    try:
        wave = waves.read_recording(row, cache)
    except DataError as error:
        yield str(error)
        return
    chosen = next(filter(_MAY_BE_CHANNEL.search, row.ignored), None)
    if chosen and (channels := files.channels(row.audio)) > 1:
        yield (
            f"expected one channel, found {channels}, which are averaged: the field {chosen!r} is"
            " not known; write the channel that it selects to a separate file"
        )
    seconds, units = len(wave) / files.RATE, len(score.units(row.text, "mixed"))
    full_scale = (wave == _FULL_SCALE[0]) | (wave == _FULL_SCALE[1])
    clipped = 100 * np.count_nonzero(full_scale) / len(wave)
    if clipped > _CLIPPED_PERCENT:
        yield f"expected audio below full scale, found {clipped:.0f} % of its samples clipped"
    if not wave.any():
        yield f"expected a signal, found {seconds:.2f} s of digital silence"
    if seconds < _SHORTEST_SECONDS:
        yield f"expected at least {_SHORTEST_SECONDS:g} s, found {seconds:g} s"
    elif units * _FRAME_SECONDS > seconds:
        yield (
            f"expected at most {seconds / _FRAME_SECONDS:.0f} words or characters in {seconds:.2f}"
            f" s, found {units}: CTC cannot align them in frames of {_FRAME_SECONDS:g} s"
        )


def ignored(name: str, data_folder) -> Iterator[str]:
    """Yields a line for each unknown field, and each unknown language, of a source's rows."""
    source = named.open_named(name, data_folder)
    names, tags, first = collections.Counter(), collections.Counter(), {}
    for row in source.rows():
        names.update(row.ignored)
        tags[row.language] += 1
        for found in (*row.ignored, row.language):
            first.setdefault(found, row.line)
    known = [alias for aliases in fields.ALIASES.values() for alias in aliases]
    for name, count in sorted(names.items()):
        why = nearest(name.strip().lower(), known, likeness=0.75)  # most are unrelated
        if name in known:
            why = " Another name of the same field is read."
        yield (
            f"{source.name} line {first[name]}: {name!r}, which {count} rows have, is ignored.{why}"
        )
    for tag, count in sorted(tags.items()):
        if conventions.unknown(tag):
            yield (
                f"{source.name} line {first[tag]}: {tag!r}, which {count} rows have, is not a"
                " language of text/languages.py: such rows are scored by the recipe's unit and"
                f" normaliser.{languages.near(tag)}"
            )
