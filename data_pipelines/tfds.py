"""TensorFlow Datasets -> a manifest with FLAC files, written once. Dims: S samples."""

import hashlib
import pathlib

import numpy as np

from seedasr_jax import workdir as disk
from seedasr_jax.audio import files
from seedasr_jax.data_pipelines import manifest
from seedasr_jax.data_pipelines.tf import tensorflow_datasets
from seedasr_jax.errors import ConfigError, DataError, nearest

_PER_FOLDER = 1_000  # files
# What would bound a segment: an example's audio is whole, whatever it was cut from.
_TIMES = {name for field in ("offset", "seconds", "end") for name in manifest.ALIASES[field]}


def materialise(where: str, split: str, data_folder) -> pathlib.Path:
    """Writes a data set as manifest and audio, unless that was done before with the same files.

    Its audio feature becomes `audio`; other scalars keep their names, of which manifest.ALIASES are
    understood; a class label stands for the text where there is none.

    Args:
        where: NAME[@DATA_DIR], as `tfds.builder` takes both.
        split: of the data set.
        data_folder: holds a folder for each data set, version and split.

    Returns:
        The manifest's path.

    Raises:
        ConfigError: there is no such data set or split. DataError: it holds no audio or no text, or
            does not state its rate.
    """
    name, _, home = where.partition("@")
    try:
        builder = tensorflow_datasets.builder(name, data_dir=home or None)
    except tensorflow_datasets.core.registered.DatasetNotFoundError as error:
        names = tensorflow_datasets.list_builders(with_community_datasets=False)
        raise ConfigError(
            f"tfds:{where}: TensorFlow Datasets knows no {name!r}.{nearest(name, names)}"
        ) from error
    info = builder.info
    builder.download_and_prepare()
    label = f"{info.full_name.replace('/', '-')}-{_digest(builder)}"
    target = pathlib.Path(data_folder) / label / split
    if split not in info.splits:
        raise ConfigError(
            f"tfds:{where}: split: expected one of {', '.join(info.splits)}, found {split!r}."
            f"{nearest(split, info.splits)}"
        )
    disk.make_once(target, lambda partial: _write(builder, split, partial, f"tfds:{where}"))
    return target / "manifest.jsonl"


def _digest(builder) -> str:
    """8 hex of the files of a data set, the same of a copy elsewhere.

    One of the same name and version may hold other rows: names and sizes count and, of what
    describes the others (their shards' lengths and checksums, features, labels), the content.
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
    text = next((n for n in manifest.ALIASES["text"] if n in features), next(iter(labels), None))
    if text is None:
        raise DataError(f"{where}: expected a text or label feature, found {', '.join(features)}")
    rate = features[audio].sample_rate
    if fault := files.rate_fault(rate):
        raise DataError(f"{where}: {audio}: {fault}; state it: Audio(sample_rate=...)")
    rows = folder / "manifest.jsonl"
    done = len(disk.read_rows(rows)) // _PER_FOLDER * _PER_FOLDER  # by a process that was stopped
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
        # The number keeps ids apart where names repeat.
        name = row.get("id") or row.get("audio/filename") or split
        row |= {"id": f"{name}-{number:09}", "audio": path, "duration": len(wave) / rate}
        made.append(row | {"text": row[text]})
        if len(made) == _PER_FOLDER:
            disk.append(rows, made)
            made = []
    disk.append(rows, made)


def _int16(wave, where) -> np.ndarray:
    """[S] or [S C] as data sets have them -> [S] int16.

    Floats are in [-1, 1]; of integers nothing says the scale, so they must be values of int16.
    """
    wave = np.asarray(wave)
    if wave.ndim not in (1, 2) or not len(wave):
        raise DataError(f"{where}: expected audio [S] or [S C], found shape {wave.shape}")
    if wave.dtype.kind == "i":
        limits = np.iinfo(np.int16)
        if wave.min() < limits.min or wave.max() > limits.max:
            raise DataError(f"{where}: expected values of int16, found up to {np.abs(wave).max()}")
        wave = files.to_float(wave)
    elif wave.dtype.kind != "f":
        raise DataError(f"{where}: expected floats or signed integers, found {wave.dtype}")
    wave = files.checked(wave.astype(np.float32), where)
    return files.to_int16(files.resample(wave, files.RATE))  # channels alone: the rate stays


def _plain(value):
    """Bytes that are no UTF-8 become what makes a bad row of a manifest."""
    if isinstance(value, bytes):
        return value.decode(errors="surrogateescape")
    return np.asarray(value).item()
