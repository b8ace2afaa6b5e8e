"""Sources: a SPEC -> its utterances as rows, and a row -> what is heard.

Dims: S samples.
"""

import collections
import collections.abc
import dataclasses
import functools
import hashlib
import os
import pathlib

import numpy as np

from seedasr_jax.audio import files, pauses
from seedasr_jax.data_pipelines import contexts, manifest, spec
from seedasr_jax.data_pipelines.manifest import Row
from seedasr_jax.errors import ConfigError, DataError, nearest
from seedasr_jax.text.normalize import normalize

_LISTENED = 100  # utterances at most, to know how they pause
_DEV_SHARE = 20  # part=dev: one utterance in so many


@dataclasses.dataclass(frozen=True)
class Source:
    """The utterances behind a SPEC, in order, and how they are joined."""

    name: str  # KIND:FILENAME?query#8 hex of the content
    utterances: tuple[Row, ...]
    join: tuple[int, int] | None = None
    seed: int = 0
    tell: collections.abc.Callable = tuple  # rows -> rows with the contexts that the SPEC asks for

    def rows(self) -> tuple[Row, ...]:
        """The recordings, before joining. A source of your own needs this method and no other."""
        return self.utterances


def open_source(text: str, data_folder) -> Source:
    """Opens a SPEC.

    Args:
        text: the SPEC.
        data_folder: where sources that make or convert audio keep it (synth, tfds).

    Raises:
        ConfigError: the SPEC is wrong. DataError: its data is, or the query leaves nothing of it.
    """
    parsed = spec.parse(text)
    rows, digest = _read(parsed, data_folder, text)
    rows = _select(rows, parsed, text)
    tell = tuple
    if parsed.context:
        named = ()
        if parsed.names:
            named, more = _read(dataclasses.replace(parsed, split=parsed.names), data_folder, text)
            digest = hashlib.sha256(f"{digest} {more}".encode()).hexdigest()
        others = contexts.Names(named or rows)
        tell = functools.partial(contexts.fixed, condition=parsed.context, text=text, names=others)
    name = spec.task_name(parsed, digest)
    return Source(name, tell(rows), parsed.join, parsed.seed, tell)


def open_named(name: str, data_folder) -> Source:
    """Opens a SPEC, or a registered task or mixture; a mixture's rows stand one task after another.

    Its name changes with the content and, of a mixture, with the rates.
    """
    if name.partition(":")[0] in spec.KINDS:
        return open_source(name, data_folder)
    from seedasr_jax.data_pipelines import tasks  # late: it brings TensorFlow

    found = [(source, rate) for source, _, rate in tasks.resolve(name, data_folder)]
    if len(found) == 1:
        return found[0][0]
    label = "+".join(f"{rate:.6g}*{source.name}" for source, rate in found)
    return Source(label, tuple(row for source, _ in found for row in source.rows()))


def texts(names, data_folder, normalizer: str) -> collections.abc.Iterator[str]:
    """Normalised transcripts of several SPECs, tasks or mixtures, to train a tokenizer on."""
    for name in names:
        for row in open_named(name, data_folder).rows():
            if row.text and not row.fault:
                yield normalize(normalizer, row.text)


def measured(row: Row) -> Row:
    """The row with its seconds, those of the file where the manifest does not say them.

    They stay 0 where the file cannot be read: such a row is bad when its turn comes.
    """
    if row.seconds or not row.audio:
        return row
    try:
        seconds = files.seconds(row.audio)
    except DataError:
        return row
    return dataclasses.replace(row, seconds=max(seconds - row.offset, 0.0))


def samples(row: Row) -> int:
    """Samples of one recording at 16 kHz, by its row."""
    return round(row.seconds * files.RATE)


def recording(row: Row, cache: files.WaveCache) -> np.ndarray:
    """[S] int16 of a row that is not joined.

    Raises:
        DataError: the audio is missing, damaged or shorter than the row says.
    """
    try:
        return cache.read(row.audio, row.offset, row.seconds or None)
    except DataError as error:
        if os.path.exists(row.audio):
            raise
        raise DataError(f"{error}; paths are relative to the manifest's folder") from error


def joined(waves, pauses) -> np.ndarray:
    """Waves [s] int16 with so many samples of silence between each two -> [S] int16."""
    if len(waves) == 1:
        return waves[0]
    out = np.zeros(sum(map(len, waves)) + sum(pauses), np.int16)
    start = 0
    for wave, pause in zip(waves, (*pauses, 0)):
        out[start : start + len(wave)] = wave
        start += len(wave) + pause
    return out


def hear(row: Row, cache: files.WaveCache) -> np.ndarray:
    """[S] int16 of any row; raises as `recording` does."""
    return joined([recording(part, cache) for part in row.parts or (row,)], row.pauses)


def usual_pause(rows) -> float:
    """Seconds, see `pauses.usual`, of utterances evenly taken from all that can be read."""
    found = []
    for row in rows[:: max(1, -(-len(rows) // _LISTENED))]:
        try:
            found.append(pauses.longest(hear(row, files.WaveCache(0))))
        except DataError:
            continue
    return pauses.usual(found)


def _manifest(parsed, data_folder):
    if "://" in parsed.where:
        raise ConfigError(f"manifest:{parsed.where}: expected a local file: fetch it first")
    if not parsed.where.endswith((".jsonl", ".json")):
        raise ConfigError(f"manifest:{parsed.where}: expected manifest:PATH.jsonl")
    return pathlib.Path(os.path.expanduser(parsed.where))  # no shell does behind manifest:


def _read(parsed, data_folder, text):
    """All rows of a split, and the hash of their manifest."""
    path = _OPENERS[parsed.kind](parsed, pathlib.Path(data_folder))
    rows = manifest.read(path)
    if parsed.kind == "manifest" and parsed.split:
        rows = _only(rows, "split", (parsed.split,), text)
    return rows, manifest.content_hash(path)


def synthesised(name: str, data_folder) -> dict[str, pathlib.Path]:
    """Makes the corpus `synth:NAME`, or finds it: split -> its manifest.

    Raises:
        ConfigError: there is none of this name, or the synthesiser is missing.
    """
    from seedasr_jax.data_pipelines.synth import commands, digits  # late: the synthesiser

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
    from seedasr_jax.data_pipelines import tfds  # late: it brings TensorFlow

    return tfds.materialise(parsed.where, parsed.split or "train", data_folder / "tfds")


_OPENERS = {"manifest": _manifest, "synth": _synth, "tfds": _tfds}


def _select(rows, parsed, text):
    """The rows of a split that a query asks for, in their order."""
    if parsed.speaker:
        rows = _only(rows, "speaker", parsed.speaker, text)
    if parsed.without:
        _only(rows, "speaker", parsed.without, text)
        rows = [row for row in rows if row.speaker not in parsed.without]
    if parsed.language:
        rows = _only(rows, "language", parsed.language, text)
    if parsed.part:
        rows = [row for row in rows if is_dev(row.id) == (parsed.part == "dev")]
    if parsed.minutes:
        rows = _drawn(rows, parsed.minutes, parsed.seed)
    rows = rows[: parsed.limit]
    if not rows:
        raise DataError(f"{text}: its query leaves no utterance; drop a key of it")
    return rows


def _drawn(rows, minutes, seed):
    """Up to so many minutes of the rows, in their order, drawn by a hash of seed and id.

    Speakers take turns, so that a few minutes are of as many voices as can be.
    """

    def drawn(number):
        return hashlib.sha256(f"{seed}:{rows[number].id}".encode()).digest()

    heard, turns = collections.Counter(), []
    for number in sorted(range(len(rows)), key=drawn):
        turns.append((heard[rows[number].speaker], len(turns), number))
        heard[rows[number].speaker] += 1
    chosen, left = set(), 60.0 * minutes
    for _, _, number in sorted(turns):
        left -= measured(rows[number]).seconds
        if left < 0:
            break
        chosen.add(number)
    return [row for number, row in enumerate(rows) if number in chosen]


def is_dev(utterance_id: str) -> bool:
    """True for the twentieth of all utterances that is held out by `part=dev`."""
    return int(hashlib.sha256(utterance_id.encode()).hexdigest(), 16) % _DEV_SHARE == 0


def _only(rows, field, names, text):
    held = {getattr(row, field) for row in rows}
    for name in names:
        if name not in held:
            raise DataError(
                f"{text}: no utterance has the {field} {name!r}; it holds"
                f" {', '.join(sorted(held)[:20]) or 'none'}.{nearest(name, held)}"
            )
    return [row for row in rows if getattr(row, field) in names]
