"""Manifests: JSONL, one utterance per line, parsed to `Row`; fields.py has the names of fields."""

from collections.abc import Iterator
import dataclasses
import hashlib
import io
import os
import pathlib
import re
import reprlib

from seedasr_jax import filesystem
from seedasr_jax.data_pipelines import cells, json_line, lhotse
from seedasr_jax.data_pipelines import fields as naming
from seedasr_jax.errors import DataError, nearest

_TEXTS = ("id", "audio", "text", "language", "dialect", "domain", "speaker", "split", "context")
_TEXTS += ("keywords", "siblings")  # fields of a Row that are text
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One utterance; what its manifest does not state is "", 0, () or None.

    A joined utterance is also a Row: `segments` are its recordings in order, `pauses` the samples
    of silence between them, and `audio` is empty.
    """

    id: str
    audio: str = ""  # absolute path; "": text only
    offset: float = 0.0  # seconds into the file
    seconds: float = 0.0  # 0: not stated, to the end of the file
    text: str = ""
    silent: bool = False  # the text is stated and empty: no speech
    language: str = ""
    dialect: str = ""
    domain: str = ""
    speaker: str = ""
    split: str = ""
    context: str = ""
    context_kind: str = ""
    context_unread: str = ""  # the front of a context that exceeds the model's limit, cut off
    keywords: tuple[str, ...] = ()  # names in the text
    siblings: tuple[str, ...] = ()  # other spellings of the keywords, with the same sound
    alignment: cells.Alignment | None = None
    line: int = 0  # in its manifest, from 1
    fault: str = ""  # why it cannot be used
    ignored: tuple[str, ...] = dataclasses.field(default=(), compare=False)  # unused field names
    segments: tuple["Row", ...] = ()
    pauses: tuple[int, ...] = ()


def read(path) -> list[Row]:
    """Reads a manifest; audio paths are relative to its folder and may not leave it.

    Raises:
        DataError: no such file, no rows, or an invalid line. Rows without text or audio are valid.
    """
    return [row for row, _, _ in scan(path)]


def scan(path, content: bytes | None = None) -> Iterator[tuple[Row, int, bytes]]:
    """Yields (row, offset of its line in bytes, the line) of a manifest; raises as `read`.

    `content`: of the file, if it was read before.
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
            f"{path}: contains no rows; expected one JSON object per line, such as"
            ' {"id": "a1", "audio": "a1.flac", "duration": 1.2, "text": "hello"}'
        )


def check_file(path: pathlib.Path):
    """Raises a DataError if the path is not a file."""
    if path.is_dir():
        raise DataError(f"{path}: expected a manifest, found a folder; name a file in it")
    if not path.is_file() and path.exists():
        raise DataError(f"{path}: expected a manifest, found a pipe or a device; copy it to a file")
    if not path.is_file() and path.is_symlink():
        found = f"a link to {os.readlink(path)}, which does not exist"
        raise DataError(f"{path}: expected a manifest, found {found}; name the file itself")
    if not path.is_file():
        siblings = path.parent.glob("*.jsonl") if path.parent.is_dir() else ()
        near = nearest(path.name, [p.name for p in siblings])
        moved = " If it was moved, name its new path (in train: with --config=RECIPE)"
        raise DataError(f"{path}: no such manifest.{near or moved}")


def folder(path) -> str:
    """The absolute path of the folder that a manifest's audio paths are relative to."""
    return os.path.abspath(pathlib.Path(path).parent).rstrip("/")


def content_hash(path) -> str:
    """SHA-256 (hex) of a manifest's bytes, which identifies it in recipes and results."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def parse(line: bytes, root: str, path, number: int) -> Row:
    """Parses a line; `root` is the folder of its audio, `path` and `number` identify the line."""
    try:
        fields, surrogates = json_line.fields(line)
    except ValueError as error:
        raise DataError(
            f"{path}:{number}: expected one JSON object in UTF-8, found {error}"
        ) from error
    if lhotse.is_cut(fields):
        try:
            fields = lhotse.fields(fields)
        except ValueError as error:
            raise DataError(f"{path}:{number}: {error}") from error
    values, ignored = {}, ()  # names of a field that has another name on the line
    layout, unknown = naming.layout(tuple(fields))
    for field, aliases, convert in layout:
        name = aliases[0]
        try:
            if len(aliases) > 1:
                name, others = naming.choose(fields, field, aliases, convert)
                ignored += others
            if fields[name] is not None:
                values[field] = convert(fields[name])
        except cells.Expected as error:
            expected, near = error.args
            wrong = f"expected {expected}, found {reprlib.repr(fields[name])}{near}"
            raise DataError(f"{path}:{number}: {name}: {wrong}") from error
    values["ignored"] = unknown + ignored
    values["silent"] = values.get("text") == ""
    if (end := values.pop("end", None)) is not None:
        values["seconds"] = _until(end, values, f"{path}:{number}")
    audio = values.setdefault("audio", "")
    if not values.get("id"):
        values["id"] = _name(audio, values.get("offset"), number)
    if audio:
        values["audio"] = _inside(audio, root, path, number)
    if surrogates:
        _clean(values)
    return Row(line=number, **values)


def _until(end, values, where) -> float:
    """Seconds of a segment that ends at `end`."""
    start, stated = values.get("offset", 0.0), values.get("seconds")
    if not end > start:
        raise DataError(f"{where}: expected an end after the start, found {start:g} to {end:g} s")
    if stated and abs(end - start - stated) > naming.TOLERANCE_SECONDS:
        raise DataError(
            f"{where}: expected one length, found {start:g} to {end:g} s and {stated:g} s; remove"
            " one of them"
        )
    return stated or end - start


def _clean(values):
    """Replaces unpaired surrogates, which cannot be encoded, and marks the row as bad."""
    for field in values.keys() - {"ignored"}:
        found, values[field] = values[field], _encodable(values[field])
        if values[field] != found:
            values["fault"] = "text that is not Unicode"


def _encodable(value):
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, cells.Alignment):
        return value._replace(phones=_encodable(value.phones))
    return tuple(map(_encodable, value)) if isinstance(value, tuple) else value


def cleaned(row: Row) -> Row:
    """A row of a user-defined source, marked as bad if a line with the same texts would be."""
    values = {name: getattr(row, name) for name in _TEXTS}
    _clean(values)
    return dataclasses.replace(row, **values) if "fault" in values else row


def _name(audio, offset, number) -> str:
    """The id of a row that states none: from its recording, else from its line."""
    if not audio:
        return f"line-{number}"
    return f"{audio}@{offset:g}" if offset else audio


def _inside(audio, root, path, number) -> str:
    """The absolute path of `audio`, which may not leave `root`; symbolic links are followed."""
    if ":/" in audio and filesystem.is_url(audio):
        raise DataError(
            f"{path}:{number}: audio: expected a local file, found {audio!r}: download it first"
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
