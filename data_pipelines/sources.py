"""Sources: opens the utterances of a SPEC as rows."""

import collections
from collections.abc import Callable, Sequence
import dataclasses
import functools
import hashlib
import os
import pathlib

import numpy as np

from seedasr_jax import filesystem
from seedasr_jax.data_pipelines import columns, contexts, lines, spec, waves
from seedasr_jax.data_pipelines.manifest import Row
from seedasr_jax.data_pipelines.table import Table
from seedasr_jax.errors import ConfigError, DataError, nearest, unknown


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
    """Opens a SPEC; `data_folder`: for audio that sources make or convert (synth, tfds).

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


def _manifest(parsed, data_folder):
    if filesystem.is_url(parsed.where):
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
    """{split: its manifest} of `synth:NAME`, made if need be; ConfigError: no such corpus."""
    from seedasr_jax.data_pipelines.synth import commands, digits  # late: needs the synthesiser

    makers = {"commands": commands.prepare, "digits": digits.prepare}
    if name not in makers:
        raise ConfigError(
            f"synth:{name}: expected synth:NAME with NAME one of {', '.join(makers)}."
            f"{nearest(name, makers)}"
        )
    return makers[name](pathlib.Path(data_folder, "synth", name))


def _synth(parsed, data_folder):
    split, paths = parsed.split or "train", synthesised(parsed.where, data_folder)
    if split not in paths:
        raise unknown(f"synth:{parsed.where}: split", split, paths)
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

    Rows are drawn from all speakers in rotation: a few minutes have as many voices as possible.
    """
    hashes = (hashlib.sha256(f"{seed}:{row.id}".encode()).digest()[:8] for row in rows)
    order = np.argsort(np.fromiter((int.from_bytes(h, "big") for h in hashes), np.uint64))
    turns, taken = collections.Counter(), np.empty(len(order), np.uint32)
    for number, speaker in enumerate(rows.column("speaker")[order].tolist()):
        taken[number] = turns[speaker]
        turns[speaker] += 1
    chosen, left = [], 60.0 * minutes
    for place in order[np.argsort(taken, kind="stable")].tolist():
        left -= waves.measured(rows[place]).seconds
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
