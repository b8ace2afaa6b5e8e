"""Sources: opens the utterances of a SPEC as rows, and reads the audio of a row.

Dims: S samples.
"""

import bisect
import collections
from collections.abc import Callable, Iterator, Sequence
import dataclasses
import functools
import hashlib
import itertools
import os
import pathlib

import numpy as np

from seedasr_jax import workdir as disk
from seedasr_jax.audio import files, pauses
from seedasr_jax.data_pipelines import columns, contexts, lines, spec
from seedasr_jax.data_pipelines.manifest import Row
from seedasr_jax.data_pipelines.table import Table
from seedasr_jax.errors import ConfigError, DataError, nearest
from seedasr_jax.text.normalize import normalize

_MAX_SAMPLED = 100  # utterances whose pauses are measured


def _unchanged(rows):
    return rows


@dataclasses.dataclass(frozen=True)
class Source:
    """The utterances of a SPEC, in order, and how they are joined."""

    name: str  # KIND:FILENAME?query#8 hex of the content
    utterances: Sequence[Row]  # a table.Table
    join: tuple[int, int] | None = None
    seed: int = 0
    add_contexts: Callable = _unchanged  # rows -> rows with the contexts that the SPEC states

    def rows(self) -> Sequence[Row]:
        """The recordings, before joining. A user-defined source needs only this method."""
        return self.utterances


def open_source(text: str, data_folder) -> Source:
    """Opens a SPEC.

    Args:
        text: the SPEC.
        data_folder: for audio that sources make or convert (synth, tfds).

    Raises:
        ConfigError: the SPEC is invalid. DataError: its data are, or the query selects no row.
    """
    parsed = spec.parse(text)
    rows, digest = _read(parsed, data_folder, text)
    rows = _select(rows, parsed, text)
    add_contexts = _unchanged
    if parsed.context:
        named = rows
        if parsed.names:
            named, more = _read(dataclasses.replace(parsed, split=parsed.names), data_folder, text)
            digest = hashlib.sha256(f"{digest} {more}".encode()).hexdigest()
        how = dict(condition=parsed.context, text=text, names=contexts.Names(named))
        add_contexts = functools.partial(contexts.fixed, **how)
    name = spec.task_name(parsed, digest)
    return Source(name, add_contexts(rows), parsed.join, parsed.seed, add_contexts)


def open_named(name: str, data_folder) -> Source:
    """Opens a SPEC, or a registered task or mixture; a mixture's rows are concatenated by task.

    The source's name changes with its content and, for a mixture, with the rates.
    """
    if name.partition(":")[0] in spec.KINDS:
        return open_source(name, data_folder)
    from seedasr_jax.data_pipelines import tasks  # late: imports TensorFlow

    found = [(source, rate) for source, _, rate in tasks.resolve(name, data_folder)]
    if len(found) == 1:
        return found[0][0]
    label = "+".join(f"{rate:.6g}*{source.name}" for source, rate in found)
    return Source(label, _Chain([source.rows() for source, _ in found]))


class _Chain(Sequence):
    """The concatenated rows of several sources."""

    def __init__(self, sources):
        self._sources, self._ends = sources, list(itertools.accumulate(map(len, sources)))

    def __len__(self):
        return self._ends[-1]

    def __getitem__(self, place):
        number = bisect.bisect_right(self._ends, place)
        return self._sources[number][place - self._ends[number]]

    def __iter__(self):
        return itertools.chain.from_iterable(self._sources)


def texts(names, data_folder, normalizer: str) -> Iterator[str]:
    """Normalised transcripts of several SPECs, tasks or mixtures, to train a tokenizer on."""
    for name in names:
        for row in open_named(name, data_folder).rows():
            if row.text and not row.fault:
                yield normalize(normalizer, row.text)


def measured(row: Row) -> Row:
    """The row with its seconds, from the file if the manifest does not state them.

    They stay 0 if the file cannot be read: such a row is counted as bad when it is drawn.
    """
    if row.seconds or not row.audio:
        return row
    try:
        seconds = files.seconds(row.audio)
    except DataError:
        return row
    return dataclasses.replace(row, seconds=max(seconds - row.offset, 0.0))


def samples(row: Row) -> int:
    """Number of samples of a recording at 16 kHz, by its row."""
    return round(row.seconds * files.RATE)


def read_recording(row: Row, cache: files.WaveCache) -> np.ndarray:
    """[S] int16: the wave of a row that is not joined.

    Raises:
        DataError: the audio is missing, damaged or shorter than the row states.
    """
    try:
        return cache.read(row.audio, row.offset, row.seconds or None)
    except DataError as error:
        if not disk.is_missing(row.audio):
            raise
        raise DataError(f"{error}; paths are relative to the manifest's folder") from error


def is_cached(row: Row, cache: files.WaveCache) -> bool:
    """Whether `read_recording` finds the wave in the cache."""
    return cache.holds(row.audio, row.offset, row.seconds or None)


def joined(waves, pauses) -> np.ndarray:
    """[S] int16: concatenates waves [s] int16 with `pauses` samples of silence between them."""
    if len(waves) == 1:
        return waves[0]
    out = np.zeros(sum(map(len, waves)) + sum(pauses), np.int16)
    start = 0
    for wave, pause in zip(waves, (*pauses, 0)):
        out[start : start + len(wave)] = wave
        start += len(wave) + pause
    return out


def read_wave(row: Row, cache: files.WaveCache) -> np.ndarray:
    """[S] int16: the wave of any row; errors as for `read_recording`."""
    waves = [read_recording(one, cache) for one in row.segments or (row,)]
    return joined(waves, row.pauses)


def usual_pause(tables: Sequence[Sequence[Row]]) -> float:
    """`pauses.usual` in seconds, of evenly spaced utterances; unreadable ones are skipped."""
    found, rows = [], _Chain(tables)
    for place in range(0, len(rows), max(1, -(-len(rows) // _MAX_SAMPLED))):
        row = rows[place]
        try:
            found.append(pauses.longest(read_wave(row, files.WaveCache(0))))
        except DataError:
            continue
    return pauses.usual(found)


def _manifest(parsed, data_folder):
    if disk.is_url(parsed.where):
        raise ConfigError(
            f"manifest:{parsed.where}: expected a local file, found a URL: download it first"
        )
    if not parsed.where.endswith((".jsonl", ".json")):
        raise ConfigError(
            f"manifest:{parsed.where}: expected manifest:PATH.jsonl, an uncompressed file with one"
            " JSON object per line"
        )
    return pathlib.Path(os.path.expanduser(parsed.where))  # shells do not expand it after a colon


def _read(parsed, data_folder, text):
    """(table of a split, hash of its manifest)."""
    path = _OPENERS[parsed.kind](parsed, pathlib.Path(data_folder))
    rows, digest = lines.table(path, data_folder)
    if parsed.kind == "manifest" and parsed.split:
        rows = _only(rows, "split", (parsed.split,), text)
    return rows, digest


def synthesised(name: str, data_folder) -> dict[str, pathlib.Path]:
    """{split: its manifest} of the corpus `synth:NAME`, which is made if it does not exist.

    Raises:
        ConfigError: there is no such corpus, or the synthesiser is missing.
    """
    from seedasr_jax.data_pipelines.synth import commands, digits  # late: needs the synthesiser

    makers = {"commands": commands.prepare, "digits": digits.prepare}
    if name not in makers:
        raise ConfigError(
            f"synth:{name}: expected synth:NAME with NAME one of {', '.join(makers)}."
            f"{nearest(name, makers)}"
        )
    return makers[name](pathlib.Path(data_folder, "synth", name))


def _synth(parsed, data_folder):
    return _split(parsed, synthesised(parsed.where, data_folder))


def _split(parsed, paths):
    split = parsed.split or "train"
    if split not in paths:
        raise ConfigError(
            f"{parsed.kind}:{parsed.where}: split: expected one of {', '.join(paths)}, found"
            f" {split!r}.{nearest(split, paths)}"
        )
    return pathlib.Path(paths[split])


def _tfds(parsed, data_folder):
    from seedasr_jax.data_pipelines import tfds  # late: imports TensorFlow

    return tfds.materialise(parsed.where, parsed.split or "train", data_folder / "tfds")


_OPENERS = {"manifest": _manifest, "synth": _synth, "tfds": _tfds}


def _select(rows: Table, parsed, text) -> Table:
    """The rows that a query selects, in their order."""
    if parsed.speaker:
        rows = _only(rows, "speaker", parsed.speaker, text)
    if parsed.without:
        _only(rows, "speaker", parsed.without, text)
        rows = rows.where(~_having(rows, "speaker", parsed.without))
    if parsed.language:
        rows = _only(rows, "language", parsed.language, text)
    if parsed.fold:
        rows = rows.where(rows.has(columns.DEV) == (parsed.fold == "dev"))
    if parsed.minutes:
        name = repr(dataclasses.replace(parsed, where="", query="", limit=None, context=None))
        minutes, seed = parsed.minutes, parsed.seed
        rows = rows.drawn(name, functools.partial(_drawn, rows, minutes, seed))
    if parsed.limit:
        rows = rows[: parsed.limit]
    if not len(rows):
        raise DataError(f"{text}: the query selects no utterance; remove a key of it")
    return rows


def _drawn(rows: Table, minutes, seed) -> np.ndarray:
    """Places, ascending, of rows with a total of at most `minutes`, drawn by a hash of seed and id.

    Rows are drawn from all speakers in rotation, so that a few minutes have as many voices as
    possible.
    """
    hashes = (hashlib.sha256(f"{seed}:{row.id}".encode()).digest()[:8] for row in rows)
    order = np.argsort(np.fromiter((int.from_bytes(h, "big") for h in hashes), np.uint64))
    turns, taken = collections.Counter(), np.empty(len(order), np.uint32)
    for number, speaker in enumerate(rows.column("speaker")[order].tolist()):
        taken[number] = turns[speaker]
        turns[speaker] += 1
    chosen, left = [], 60.0 * minutes
    for place in order[np.argsort(taken, kind="stable")].tolist():
        left -= measured(rows[place]).seconds
        if left < 0:
            break
        chosen.append(place)
    return np.sort(np.array(chosen, np.uint32))


def _only(rows: Table, field, names, text):
    """The rows with one of some values in a field; each value must occur."""
    found = rows.where(_having(rows, field, names))
    present = {getattr(found[int(place)], field) for place in found.firsts(field)}
    for name in names:
        if name not in present:
            every = {getattr(rows[int(place)], field) for place in rows.firsts(field)}
            raise DataError(
                f"{text}: no utterance has the {field} {name!r}; expected one of"
                f" {', '.join(sorted(every)[:20]) or 'none'}.{nearest(name, every)}"
            )
    return found


def _having(rows: Table, field, names) -> np.ndarray:
    """[N] bool: whether a field has one of some values."""
    if field == "speaker":  # a column of hashes: speakers may be too many for a list of values
        return np.isin(rows.column(field), np.array([*map(columns.hashed, names)], np.uint64))
    known = rows.values(field)
    return np.isin(rows.column(field), [known.index(name) for name in names if name in known])
