"""Manifests: JSONL, one utterance per line -> `Row`.

Other tools' names of fields are known here alone.
"""

from collections.abc import Iterator
import dataclasses
import functools
import hashlib
import io
import os
import pathlib
import re
import reprlib

from seedasr_jax import workdir as disk
from seedasr_jax.data_pipelines import cells, json_line, lhotse
from seedasr_jax.errors import DataError, nearest

# Field of a line -> names that it goes by, ours first; the first that says something counts.
ALIASES = {
    "id": ("id", "utt_id", "utt", "uttid", "utterance_id", "key", "audio/filename"),
    "audio": (
        *("audio", "audio_filepath", "audio_path", "audio_filename", "audio_file"),
        *("wav", "wav_path", "wav_filename", "path", "file", "filepath", "file_name", "filename"),
    ),
    "offset": ("offset", "start", "start_time", "start_sec", "begin", "begin_time"),
    "seconds": ("seconds", "duration", "dur"),
    "end": ("end", "end_time", "end_sec", "stop"),  # another way to say `seconds`
    "text": ("text", "transcript", "transcription", "sentence", "txt"),
    "language": ("language", "lang", "locale"),
    "dialect": ("dialect",),
    "domain": ("domain",),
    "speaker": ("speaker", "speaker_id", "spk", "spk_id", "client_id"),
    "split": ("split",),
    "context": ("context",),
    "context_kind": ("context_kind",),
    "keywords": ("keywords", "hotwords"),
    "siblings": ("siblings",),
    "alignment": ("alignment",),
}
_PAIR = {"audio": "source", "text": "target"}  # FunASR; other tools mean other things by one alone
_AGREE_SECONDS = 0.02  # two ways to say a time may differ by this: they are rounded
_TEXTS = ("id", "audio", "text", "language", "dialect", "domain", "speaker", "split", "context")
_TEXTS += ("keywords", "siblings")  # what a row of any source may have
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One utterance; what its manifest does not say is "", 0, () or None.

    A joined utterance is a Row too: `parts` holds the recordings in order, `pauses` the samples of
    silence between them, and `audio` is empty.
    """

    id: str
    audio: str = ""  # absolute path; "" where there is only text
    offset: float = 0.0  # seconds into the file
    seconds: float = 0.0  # 0: not stated, the whole rest of the file
    text: str = ""
    silent: bool = False  # its text is stated and empty: nothing is said
    language: str = ""
    dialect: str = ""
    domain: str = ""
    speaker: str = ""
    split: str = ""
    context: str = ""
    context_kind: str = ""
    context_unread: str = ""  # its front, where a model that is scored takes only the rest
    keywords: tuple[str, ...] = ()  # names that the text holds
    siblings: tuple[str, ...] = ()  # other spellings of their sound
    alignment: cells.Alignment | None = None
    line: int = 0  # in its manifest, from 1
    fault: str = ""  # why nothing can be learned from it
    unread: tuple[str, ...] = dataclasses.field(default=(), compare=False)  # names on its line
    parts: tuple["Row", ...] = ()
    pauses: tuple[int, ...] = ()


def read(path) -> list[Row]:
    """Reads a manifest.

    Audio paths are relative to the manifest's folder and may not leave it. A row without text or
    audio is a row: whether that is bad depends on the stage.

    Raises:
        DataError: no such file, no rows, or a line that is no row; names file and line, what was
            expected and what was found.
    """
    return [row for row, _, _ in scan(path)]


def scan(path, content: bytes | None = None) -> Iterator[tuple[Row, int, bytes]]:
    """Yields each row of a manifest, the byte where its line begins, and the line.

    `content` is that of the file where it was read before.

    Raises:
        DataError: as `read`.
    """
    path = pathlib.Path(path)
    check_file(path)
    root, begin, empty = folder(path), 0, True
    with path.open("rb") if content is None else io.BytesIO(content) as file:
        for number, line in enumerate(file, 1):
            if not line.isspace():
                empty = False
                yield parse(line, root, path, number), begin, line
            begin += len(line)
    if empty:
        raise DataError(
            f"{path}: holds no rows; expected one JSON object per line, such as"
            ' {"id": "a1", "audio": "a1.flac", "duration": 1.2, "text": "hello"}'
        )


def check_file(path: pathlib.Path):
    """Raises a DataError where there is no file."""
    if path.is_dir():
        raise DataError(f"{path}: expected a manifest, found a folder; name a file in it")
    if not path.is_file() and path.exists():
        raise DataError(f"{path}: expected a manifest, found a pipe or a device; make it a file")
    if not path.is_file() and path.is_symlink():
        raise DataError(f"{path}: a link to {os.readlink(path)}, where no file is")
    if not path.is_file():
        beside = path.parent.glob("*.jsonl") if path.parent.is_dir() else ()
        near = nearest(path.name, [p.name for p in beside])
        moved = " If it has moved, name its new place (in train: with --config=RECIPE)"
        raise DataError(f"{path}: no such manifest.{near or moved}")


def folder(path) -> str:
    """The folder that a manifest's audio paths are relative to, absolute."""
    return os.path.abspath(pathlib.Path(path).parent).rstrip("/")


def content_hash(path) -> str:
    """SHA-256 (hex) of a manifest's bytes: what a recipe and a result know it by, not its path."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def parse(line: bytes, root: str, path, number: int) -> Row:
    """The row of a line; `root` is the folder of its audio, `path` and `number` name the line."""
    try:
        fields, halves = json_line.fields(line)
    except ValueError as error:
        raise DataError(
            f"{path}:{number}: expected one JSON object in UTF-8, found {error}"
        ) from error
    if lhotse.is_cut(fields):
        try:
            fields = lhotse.fields(fields)
        except ValueError as error:
            raise DataError(f"{path}:{number}: {error}") from error
    values, passed = {}, ()  # passed over, for another name of the same field
    layout, unknown = _layout(tuple(fields))
    for field, aliases, convert in layout:
        name = aliases[0]
        try:
            if len(aliases) > 1:
                name, more = _first(fields, field, aliases, convert)
                passed += more
            if fields[name] is not None:
                values[field] = convert(fields[name])
        except cells.Expected as error:
            expected, near = error.args
            raise DataError(
                f"{path}:{number}: {name}: expected {expected}, found"
                f" {reprlib.repr(fields[name])}{near}"
            ) from error
    values["unread"] = unknown + passed
    values["silent"] = values.get("text") == ""
    if (end := values.pop("end", None)) is not None:
        values["seconds"] = _until(end, values, f"{path}:{number}")
    audio = values.setdefault("audio", "")
    if not values.get("id"):
        values["id"] = _name(audio, values.get("offset"), number)
    if audio:
        values["audio"] = _inside(audio, root, path, number)
    if halves:
        _clean(values)
    return Row(line=number, **values)


def _until(end, values, where) -> float:
    """Seconds of a segment that ends at `end`."""
    start, stated = values.get("offset", 0.0), values.get("seconds")
    if not end > start:
        raise DataError(f"{where}: expected an end after the start, found {start:g} to {end:g} s")
    if stated and abs(end - start - stated) > _AGREE_SECONDS:
        raise DataError(
            f"{where}: expected one length, found {start:g} to {end:g} s and {stated:g} s; leave"
            " one of them out"
        )
    return stated or end - start


def _clean(values):
    """Replaces halves of surrogate pairs, which no encoding has: a row with one is bad."""
    for field in values.keys() - {"unread"}:
        found, values[field] = values[field], _encodable(values[field])
        if values[field] != found:
            values["fault"] = "text that is no Unicode"


def _encodable(value):
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, cells.Alignment):
        return value._replace(phones=_encodable(value.phones))
    return tuple(map(_encodable, value)) if isinstance(value, tuple) else value


def cleaned(row: Row) -> Row:
    """A row of another source, bad where a line with its texts would be."""
    values = {name: getattr(row, name) for name in _TEXTS}
    _clean(values)
    return dataclasses.replace(row, **values) if "fault" in values else row


def hint(row: Row, field: str) -> str:
    """What a field that a row lacks is called, and the names on its line that are not known."""
    ignored = f"; not read: {', '.join(map(repr, row.unread))}" if row.unread else ""
    return f"expected one of {', '.join(ALIASES[field])}{ignored}"


_TIMES = ("offset", "seconds", "end")


@functools.lru_cache(maxsize=256)
def _layout(names) -> tuple[tuple, tuple[str, ...]]:
    """[(field, its names, parser)] of a line with these names, and the names that are no field's.

    Cached, for most lines of a manifest have the same names.
    """
    found, unknown = [], dict.fromkeys(names)
    paired = set(_PAIR.values()) <= set(names)
    for field, aliases in ALIASES.items():
        if paired and field in _PAIR:
            aliases = (*aliases, _PAIR[field])
        there = tuple(alias for alias in aliases if alias in names)
        if there:
            found.append((field, there, cells.PARSERS.get(field, cells.text)))
            for name in there:
                del unknown[name]
    return tuple(found), tuple(unknown)


def _first(fields, field, aliases, convert) -> tuple[str, tuple[str, ...]]:
    """The first name that says something, and those that it passes over; times must agree."""
    given = [name for name in aliases if fields[name] is not None]
    if field in _TIMES:
        times = [convert(fields[name]) for name in given]
        if given and max(times) - min(times) > _AGREE_SECONDS:
            raise cells.Expected(f"one time by all its names: {', '.join(given)}")
        return (given or aliases)[0], ()
    given = [name for name in given if str(fields[name]).strip()] or given
    return (given or aliases)[0], tuple(given[1:])


def _name(audio, offset, number) -> str:
    """Names a row that has no id: by its recording, else by its line."""
    if not audio:
        return f"line-{number}"
    return f"{audio}@{offset:g}" if offset else audio


def _inside(audio, root, path, number) -> str:
    """The absolute path of `audio`, which may not leave `root`; links are the owner's."""
    if ":/" in audio and disk.is_url(audio):
        raise DataError(
            f"{path}:{number}: audio: expected a local file, found {audio!r}: fetch it first"
        )
    if "\0" in audio:
        raise DataError(f"{path}:{number}: audio: expected a path, found {audio!r}, with a NUL")
    if audio[0] != "/" and ".." not in audio:
        return f"{root}/{audio}"
    inside = os.path.normpath(os.path.join(root, audio))
    if not inside.startswith(root + "/"):
        raise DataError(
            f"{path}:{number}: audio: expected a path inside the manifest's folder {root}, found"
            f" {audio!r}; put the manifest above its audio"
        )
    return inside
