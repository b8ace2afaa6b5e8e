"""Converts a data set of TensorFlow Datasets to a manifest with FLAC files. Dims: S samples."""

import hashlib
import pathlib

import numpy as np

from seedasr_jax import filesystem
from seedasr_jax import workdir as disk
from seedasr_jax.audio import files
from seedasr_jax.data_pipelines.fields import ALIASES
from seedasr_jax.data_pipelines.tf import tensorflow_datasets
from seedasr_jax.errors import ConfigError, DataError, nearest, unknown

_PER_FOLDER = 1_000  # files
# Fields that would bound a segment: an example's audio is the segment already.
_TIMES = {name for field in ("offset", "seconds", "end") for name in ALIASES[field]}


def materialise(where: str, split: str, data_folder) -> pathlib.Path:
    """Writes a data set as manifest and audio, unless the same files were converted before.

    The audio feature becomes `audio`; other scalars keep their names, of which those in
    fields.ALIASES are used; without a text feature, a class label becomes the text. `where` is
    NAME[@DATA_DIR], the arguments of `tfds.builder`. Returns the manifest's path.

    Raises:
        ConfigError: there is no such data set or split. DataError: the data set has no audio or no
            text, or does not state its sample rate.
    """
    name, _, home = where.partition("@")
    try:
        builder = tensorflow_datasets.builder(name, data_dir=home or None)
    except tensorflow_datasets.core.registered.DatasetNotFoundError as error:
        names = tensorflow_datasets.list_builders(with_community_datasets=False)
        raise ConfigError(
            f"tfds:{where}: TensorFlow Datasets has no {name!r}.{nearest(name, names)}"
        ) from error
    info = builder.info
    builder.download_and_prepare()
    label = f"{info.full_name.replace('/', '-')}-{_digest(builder)}"
    target = pathlib.Path(data_folder) / label / split
    if split not in info.splits:
        raise unknown(f"tfds:{where}: split", split, info.splits)
    filesystem.make_once(target, lambda partial: _write(builder, split, partial, f"tfds:{where}"))
    return target / "manifest.jsonl"


def _digest(builder) -> str:
    """A hash (8 hex digits) of a data set's files, independent of their folder.

    Data sets of the same name and version may differ. The hash covers names and sizes of all files,
    and the content of those with metadata (lengths and checksums of shards, features, labels).
    """
    found = []
    for path in sorted(pathlib.Path(builder.data_path).iterdir()):
        described = path.suffix in (".json", ".txt") and path.is_file()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if described else ""
        found.append((path.name, path.stat().st_size, content))
    return hashlib.sha256(repr(found).encode()).hexdigest()[:8]


def _write(builder, split, folder, where):
    features = dict(builder.info.features)
    kinds = tensorflow_datasets.features
    audio = next((n for n, kind in features.items() if isinstance(kind, kinds.Audio)), None)
    if audio is None:
        raise DataError(f"{where}: expected an audio feature, found {', '.join(features)}")
    labels = {n: k for n, k in features.items() if isinstance(k, kinds.ClassLabel)}
    text = next((n for n in ALIASES["text"] if n in features), next(iter(labels), None))
    if text is None:
        raise DataError(f"{where}: expected a text or label feature, found {', '.join(features)}")
    rate = features[audio].sample_rate
    if fault := files.rate_fault(rate):
        raise DataError(f"{where}: {audio}: {fault}; state it: Audio(sample_rate=...)")
    rows = folder / "manifest.jsonl"
    done = len(disk.read_rows(rows)) // _PER_FOLDER * _PER_FOLDER  # by an interrupted process
    disk.write_rows(rows, disk.read_rows(rows)[:done])
    dataset = builder.as_dataset(split=split, shuffle_files=False).skip(done)
    made = []
    for number, example in enumerate(tensorflow_datasets.as_numpy(dataset), done):
        path = f"audio/{number // _PER_FOLDER:05}/{number:09}.flac"
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        wave = _int16(example[audio], f"{where}: example {number}")
        files.write(folder / path, wave, rate)
        fields = {n: labels[n].int2str(v) if n in labels else v for n, v in example.items()}
        fields = {n: v for n, v in fields.items() if n not in (audio, *_TIMES)}
        row = {n: _plain(v) for n, v in fields.items() if np.ndim(v) == 0}
        # The number makes ids unique if names repeat.
        name = row.get("id") or row.get("audio/filename") or split
        row |= {"id": f"{name}-{number:09}", "audio": path, "duration": len(wave) / rate}
        made.append(row | {"text": row[text]})
        if len(made) == _PER_FOLDER:
            disk.append(rows, made)
            made = []
    disk.append(rows, made)


def _int16(wave, where) -> np.ndarray:
    """Audio [S] or [S C], floats in [-1, 1] or integers in the range of int16 -> [S] int16."""
    wave = np.asarray(wave)
    if wave.ndim not in (1, 2) or not len(wave):
        raise DataError(f"{where}: expected audio [S] or [S C], found shape {wave.shape}")
    if wave.dtype.kind == "i":
        limits = np.iinfo(np.int16)
        if wave.min() < limits.min or wave.max() > limits.max:
            raise DataError(
                f"{where}: expected values in the range of int16, found up to {np.abs(wave).max()}"
            )
        wave = files.to_float(wave)
    elif wave.dtype.kind != "f":
        raise DataError(f"{where}: expected floats or signed integers, found {wave.dtype}")
    wave = files.checked(wave.astype(np.float32), where)
    return files.to_int16(files.resample(wave, files.RATE))  # mixes channels; keeps the rate


def _plain(value):
    """A JSON value; bytes that are not UTF-8 become surrogates, which make a bad row."""
    if isinstance(value, bytes):
        return value.decode(errors="surrogateescape")
    return np.asarray(value).item()
