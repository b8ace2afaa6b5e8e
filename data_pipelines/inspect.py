"""What is in a source, and what is wrong with it, row by row. No TensorFlow."""

import array
import collections
from collections.abc import Iterator
import functools
import math
import re

import numpy as np

from seedasr_jax import tables
from seedasr_jax.audio import files
from seedasr_jax.data_pipelines import columns, manifest, sources
from seedasr_jax.data_pipelines import table as stored
from seedasr_jax.errors import DataError, nearest
from seedasr_jax.text import conventions, languages, prompts, score

_AS_TEXTS = 1 << 20  # texts at most that are held as they are while they are counted
_CLIPPED_PERCENT = 1.0  # so many samples at full scale are no single peaks
_FULL = -32_768, 32_767  # full scale of int16
_SHORTEST_SECONDS = 0.025  # one window of the features
_FRAME_SECONDS = 0.04  # of the recipes' encoders; CTC needs one for each token
_MAY_BE_TEXT = re.compile(
    "text|trans|sent|utter|word|label|phrase|target|prompt|caption|content|script|title",
    re.IGNORECASE,
)
_MAY_BE_AUDIO = re.compile("audio|wav|file|path|sound|source|record|speech|ur[il]", re.IGNORECASE)
_MAY_BE_CHANNEL = re.compile("channel|^side$", re.IGNORECASE)
# start_ms, endTime, segment-start, clip_offset, t0, xmin: whole words of a name, however parted.
_MAY_BE_TIME = re.compile(
    r"(?!(?i:.*_(id|name|index|count|type|token))$)"
    r"((.*[^a-z]|.*[a-z](?=[A-Z]))?(?i:start|begin|onset|offset|xmin|xmax|tmin|tmax)|"
    r"(?i:(audio|clip|seg|segment|speech|utt|wav)[\W_]?(end|stop)|end|stop|from|to|segments?))"
    r"([^a-zA-Z].*|[A-Z].*|(?i:time|sec|ms|sample|frame)s?)?|t[01]",
)
_COLUMNS = (
    *("source", "utterances", "hours", "shortest", "mean", "longest", "speakers", "texts"),
    "unreadable",
)


def stats(name: str, data_folder) -> dict:
    """Counts of a SPEC, task or mixture; joined utterances are those of the first pass.

    Returns:
        source, utterances, hours, shortest, mean, longest (seconds), speakers, texts (distinct),
        words (distinct), languages (tag -> utterances), unreadable (utterances of unknown length,
        which the others leave out).
    """
    source = sources.open_named(name, data_folder)
    tags, speakers, texts, words = collections.Counter(), _Distinct(), _Distinct(), _Distinct()
    count, known, total, shortest, longest = 0, 0, 0.0, math.inf, 0.0
    for row in stored.of(source.rows()).measured(sources.measured):
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
    """How many texts differ: of many 8 bytes each are held, a hash."""

    def __init__(self):
        self._new: set[str] = set()
        self._hashes = np.zeros(0, np.uint64)

    def add(self, texts):
        """Takes some more."""
        self._new.update(texts)
        if len(self._new) > _AS_TEXTS:
            self._hashes = self._both()
            self._new.clear()

    def __len__(self):
        return len(self._both())

    def _both(self):
        new = np.fromiter(map(columns.hashed, self._new), np.uint64, len(self._new))
        return np.union1d(self._hashes, new)


class _Repeated:
    """The texts that were added more than once; of each text 8 bytes are held, a hash."""

    def __init__(self):
        self._hashes = array.array("Q")

    def add(self, text: str):
        """Takes one more, before the first is looked up."""
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
    """The counts for a person."""
    return tables.columns(_COLUMNS, ([row[key] for key in _COLUMNS] for row in rows))


def problems(name: str, data_folder) -> Iterator[str]:
    """A line for each thing that is wrong with a source's rows: decodes every recording.

    A source without any text is speech alone, which stages of self-supervision take; one without
    any audio is text alone, for `lm`.
    """
    source = sources.open_named(name, data_folder)
    rows, unread, has_text, has_audio = source.rows(), set(), False, False
    ids, paths = _Repeated(), _Repeated()
    for row in rows:
        unread.update(row.unread)
        has_text, has_audio = has_text or bool(row.text), has_audio or bool(row.audio)
        ids.add(row.id)
        paths.add(row.audio)
    has_audio = has_audio or any(map(_MAY_BE_AUDIO.search, unread))
    for field in sorted(unread):
        if not has_text and _MAY_BE_TEXT.search(field):
            known = ", ".join(manifest.ALIASES["text"])
            yield f"{source.name}: no row has text; {field!r} is no known field, expected {known}"
        if _MAY_BE_TIME.fullmatch(field):
            yield (
                f"{source.name}: {field!r} is no known field: where it bounds a segment, write"
                " start and end, in seconds; else choose another name"
            )
    cache = files.WaveCache(0)
    seen: dict[str, int] = {}  # of `ids`
    for row in rows:
        where = f"{source.name} line {row.line} ({row.id})"
        if row.id in seen:
            yield f"{where}: expected an id of its own, found that of line {seen[row.id]}"
        if row.id in ids:
            seen.setdefault(row.id, row.line)
        for found in _row_problems(row, has_text, has_audio, cache):
            yield f"{where}: {found}"
        if row.seconds and not row.offset and row.audio not in paths:
            yield from (f"{where}: {found}" for found in _cut_problems(row))


def _cut_problems(row):
    """Of the only row of a file, which begins at its beginning: its text is probably all of it."""
    try:
        whole = files.seconds(row.audio)
    except DataError:
        return
    if whole > row.seconds + files.SLACK_SECONDS:
        yield f"expected the whole file, {whole:.3f} s, found a duration of {row.seconds:.3f} s"


def _row_problems(row, has_text, has_audio, cache):
    if row.fault:
        yield row.fault
    if has_text and not row.text:
        yield f"expected text as other rows have, found none; {manifest.hint(row, 'text')}"
    for name in row.keywords if row.text else ():
        if not prompts.holds(row.text, name):
            yield f"expected keywords that its text holds, found {name!r}"
    if row.text and not any(map(str.isalnum, row.text)):
        yield f"expected words, found {row.text!r}"
    if not row.audio and row.text and not has_audio:
        return
    if not row.audio:
        yield f"expected audio, found none; {manifest.hint(row, 'audio')}"
        return
    try:
        wave = sources.recording(row, cache)
    except DataError as error:
        yield str(error)
        return
    chosen = next(filter(_MAY_BE_CHANNEL.search, row.unread), None)
    if chosen and (channels := files.channels(row.audio)) > 1:
        yield (
            f"expected one channel, found {channels}, which are averaged: {chosen!r} is no known"
            " field; write the channel that it means to a file of its own"
        )
    seconds, units = len(wave) / files.RATE, len(score.units(row.text, "mixed"))
    clipped = 100 * np.count_nonzero((wave == _FULL[0]) | (wave == _FULL[1])) / len(wave)
    if clipped > _CLIPPED_PERCENT:
        yield f"expected sound below full scale, found {clipped:.0f} % of its samples clipped"
    if not wave.any():
        yield f"expected sound, found {seconds:.2f} s of digital silence"
    if seconds < _SHORTEST_SECONDS:
        yield f"expected at least {_SHORTEST_SECONDS:g} s, found {seconds:g} s"
    elif units * _FRAME_SECONDS > seconds:
        yield (
            f"expected at most {seconds / _FRAME_SECONDS:.0f} words or characters in {seconds:.2f}"
            f" s, found {units}: CTC cannot align them in frames of {_FRAME_SECONDS:g} s"
        )


def unread(name: str, data_folder) -> Iterator[str]:
    """A line for each field, and each language, of a source's rows that nothing knows."""
    source = sources.open_named(name, data_folder)
    fields, tags, first = collections.Counter(), collections.Counter(), {}
    for row in source.rows():
        fields.update(row.unread)
        tags[row.language] += 1
        for found in (*row.unread, row.language):
            first.setdefault(found, row.line)
    known = [alias for aliases in manifest.ALIASES.values() for alias in aliases]
    for field, count in sorted(fields.items()):
        why = nearest(field.strip().lower(), known, likeness=0.75)  # most are other things
        if field in known:
            why = " Another name of the same field is read."
        yield (
            f"{source.name} line {first[field]}: {field!r}, which {count} rows have, is ignored."
            f"{why}"
        )
    for tag, count in sorted(tags.items()):
        if conventions.unknown(tag):
            yield (
                f"{source.name} line {first[tag]}: {tag!r}, which {count} rows have, is no language"
                " of text/languages.py: such rows are scored as the recipe says."
                f"{languages.near(tag)}"
            )
