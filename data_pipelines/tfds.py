"""TensorFlow Datasets -> a manifest with FLAC files, written once. Dims: S samples."""

import json
import os
import pathlib
import shutil
import uuid

import numpy as np

from seedasr_jax.audio import files
from seedasr_jax.data_pipelines import manifest
from seedasr_jax.data_pipelines.tf import tensorflow_datasets
from seedasr_jax.errors import ConfigError, DataError, nearest

_PER_FOLDER = 1_000  # files


def materialise(where: str, split: str, data_folder) -> pathlib.Path:
    """Writes a data set as manifest and audio, unless that was done before.

    Its audio feature becomes `audio`; other scalars keep their names, of which manifest.ALIASES are
    understood; a class label stands for the text where there is none.

    Args:
        where: NAME[@DATA_DIR], as `tfds.builder` takes both.
        split: of the data set.
        data_folder: holds a folder for each data set, version and split.

    Returns:
        The manifest's path.

    Raises:
        ConfigError: there is no such data set or split. DataError: it holds no audio or no text.
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
    target = pathlib.Path(data_folder) / info.full_name.replace("/", "-") / split
    if target.exists():
        return target / "manifest.jsonl"
    builder.download_and_prepare()
    if split not in info.splits:
        raise ConfigError(
            f"tfds:{where}: split: expected one of {', '.join(info.splits)}, found {split!r}."
            f"{nearest(split, info.splits)}"
        )
    partial = target.with_name(f"{split}.{uuid.uuid4().hex}.partial")
    try:
        _write(builder, split, partial, f"tfds:{where}")
        try:
            os.rename(partial, target)
        except OSError:
            if not target.exists():  # else another process was faster with the same content
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target / "manifest.jsonl"


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
    rate = features[audio].sample_rate or files.RATE
    dataset = tensorflow_datasets.as_numpy(builder.as_dataset(split=split, shuffle_files=False))
    folder.mkdir(parents=True)
    with open(folder / "manifest.jsonl", "w", encoding="utf-8") as out:
        for number, example in enumerate(dataset):
            path = f"audio/{number // _PER_FOLDER:05}/{number:09}.flac"
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            wave = _int16(example[audio], f"{where}: example {number}")
            files.write(folder / path, wave, rate)
            fields = {n: labels[n].int2str(v) if n in labels else v for n, v in example.items()}
            row = {n: _plain(v) for n, v in fields.items() if n != audio and np.ndim(v) == 0}
            # The number keeps ids apart where names repeat.
            name = row.get("id") or row.get("audio/filename") or split
            row |= {"id": f"{name}-{number:09}", "audio": path, "duration": len(wave) / rate}
            row["text"] = row[text]
            out.write(json.dumps(row, ensure_ascii=False) + "\n")


def _int16(wave, where) -> np.ndarray:
    """[S] or [S 1] integers or floats in [-1, 1], as data sets have them -> [S] int16."""
    wave = np.asarray(wave)
    if wave.ndim == 2:
        wave = wave[:, 0] if wave.shape[1] == 1 else wave.mean(1).astype(wave.dtype)
    if wave.ndim != 1 or not len(wave):
        raise DataError(f"{where}: expected audio [S], found shape {wave.shape}")
    if np.issubdtype(wave.dtype, np.floating):
        return files.to_int16(wave)
    return np.clip(wave, -(1 << 15), (1 << 15) - 1).astype(np.int16)


def _plain(value):
    return value.decode(errors="replace") if isinstance(value, bytes) else np.asarray(value).item()
