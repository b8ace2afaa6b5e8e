"""Creation of synthesised corpora: clips of speech -> shards and manifests in one folder.

    made = corpus.make(folder, "digits", clips, version=1)   # {"train": ".../train.jsonl", ...}

The name of a corpus's folder contains a hash of everything that determines its content: equal
hashes mean equal bytes. The folder appears by a rename when it is complete; an interrupted creation
resumes from the shards that exist.

Dims: S samples.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil

import numpy as np

from seedasr_jax import errors, filesystem
from seedasr_jax import workdir as disk
from seedasr_jax.audio import files
from seedasr_jax.data_pipelines.synth import espeak

# Held-out variants, female and male, resemble none of the others; effects and robots are left out;
# all others are for training.
HELD_OUT = {
    "dev": ("Andrea", "f2", "shelby", "Hugo", "ian", "m5", "norbert", "paul"),
    "test": (
        *("Alicia", "belinda", "f4", "linda"),
        *("Denis", "Henrique", "Jacky", "benjamin", "m3", "m6", "quincy", "sandro"),
    ),
}
LEFT_OUT = ("Demonic", "UniRobot", "anikaRobot", "fast", "robosoft")
LEFT_OUT += tuple(f"robosoft{n}" for n in range(2, 9))

CLIPS_PER_SHARD = 250
_SHARDS = "shards"  # temporary folder with the manifest rows of each finished shard
GAP = files.RATE // 10  # samples of silence between the clips of a shard
TRIM_DB, TRIM_MARGIN = -35.0, files.RATE // 100  # threshold below the clip's peak; samples kept
LEVELS_DBFS = (-38.0, -17.0)  # RMS of a speaker
LEVEL_JITTER_DB = 2.0  # deviation of a clip from its speaker: all clips are in -40 to -15 dBFS
PEAK = 0.98  # of full scale; a clip with high peaks is scaled below its level instead of clipped
SHORTEST_SECONDS = 0.08  # a word at the highest rate takes 0.1 s: a shorter one is a fault


@dataclasses.dataclass(frozen=True)
class Clip:
    """Specification of one manifest row: utterance, level and the row's further fields."""

    id: str
    utterance: espeak.Utterance
    level: float  # dBFS
    fields: dict


def split_variants() -> dict[str, tuple[str, ...]]:
    """Variants by split; disjoint, and equal for every corpus and size."""
    others = {*LEFT_OUT, *(name for names in HELD_OUT.values() for name in names)}
    known = set(espeak.variants())
    if missing := others - known:
        raise errors.ConfigError(
            f"espeak-ng lacks the variants {sorted(missing)}: pip install espeakng-loader==0.2.4"
        )
    return {"train": tuple(sorted(known - others)), **HELD_OUT}


def voice(utterance: espeak.Utterance) -> dict:
    """The voice of an utterance as a row's field: all attributes except its text."""
    return {key: value for key, value in dataclasses.asdict(utterance).items() if key != "text"}


def make(folder, name: str, clips, *, version: int, workers: int = 0, describe=None, check=None):
    """Creates a corpus below `folder`, unless it exists there.

    Args:
        folder: a cache; created if necessary.
        name: of the corpus.
        clips: {split: its `Clip`s}, in the order of synthesis.
        version: part of the hash, to be raised when equal clips yield another corpus.
        workers: shards made in parallel; 0: one per CPU.
        describe: maps (clip, speech, seconds trimmed from its start, seconds left) to more fields.
        check: called with {split: manifest} before the folder appears; raises on a fault.

    Returns:
        {split: its manifest (JSONL)}; `audio` in a row is relative to the manifest.

    Raises:
        ConfigError: espeakng-loader is missing, or lacks a voice.
    """
    target = pathlib.Path(folder, f"{name}-{_hash(clips, version)}")
    filesystem.make_once(target, lambda made: _make(made, name, clips, workers, describe, check))
    return _manifests(target, clips)


def _hash(clips, version):
    recipe = dict(
        version=version,
        espeak=espeak.version(),
        shaping=[CLIPS_PER_SHARD, GAP, TRIM_DB, TRIM_MARGIN, PEAK, files.RATE],
        clips={split: list(map(vars, each)) for split, each in clips.items()},
    )
    text = json.dumps(recipe, sort_keys=True, default=vars)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _manifests(folder, clips):
    return {split: folder / f"{split}.jsonl" for split in clips}


def _make(folder, name, clips, workers, describe, check):
    for subfolder in (_SHARDS, *clips):
        (folder / subfolder).mkdir(exist_ok=True)
    shards = [
        (folder, split, start // CLIPS_PER_SHARD, each[start : start + CLIPS_PER_SHARD], describe)
        for split, each in clips.items()
        for start in range(0, len(each), CLIPS_PER_SHARD)
    ]
    rows, split_of = {split: [] for split in clips}, {}
    making = espeak.each_shard(_make_shard, shards, label=f"synth:{name}", workers=workers)
    with contextlib.closing(making) as results:  # Ctrl-C waits for the shards in progress
        for (_, split, *_), (shard_rows, digests) in zip(shards, results, strict=True):
            rows[split] += shard_rows
            for digest in digests:
                assert split_of.setdefault(digest, split) == split, (
                    "two splits contain the same waveform, though no two share voice and text"
                )
    manifests = _manifests(folder, clips)
    for split, path in manifests.items():
        disk.write_rows(path, rows[split])
    if check:
        check(manifests)
    shutil.rmtree(folder / _SHARDS)


def _make_shard(shard):
    """Makes an audio file, unless it exists; returns manifest rows and digests of its raw waves."""
    folder, split, number, clips, describe = shard
    record = folder / _SHARDS / f"{split}-{number:03}.json"
    if record.exists():
        return disk.read_json(record).values()
    spoken = espeak.speak([clip.utterance for clip in clips])
    name = os.path.join(split, f"{number:03}.flac")
    rows, waves, start, digests = [], [], 0, set()
    for clip, speech in zip(clips, spoken, strict=True):
        wave, trimmed = shape(speech.wave, clip.level)
        digests.add(hashlib.sha256(speech.wave).hexdigest())
        seconds = len(wave) / files.RATE
        row = dict(id=clip.id, audio=name, offset=start / files.RATE, duration=seconds)
        row |= clip.fields
        if describe:
            row |= describe(clip, speech, trimmed / files.RATE, seconds)
        rows.append(row)
        waves += [wave, np.zeros(GAP, np.int16)]
        start += len(wave) + GAP
    with disk.replacing(folder / name) as partial:
        files.write(partial, np.concatenate(waves), files.RATE)
    disk.write_json(record, {"rows": rows, "digests": sorted(digests)})
    return rows, digests


def shape(wave: np.ndarray, level: float) -> tuple[np.ndarray, int]:
    """Resamples, trims and scales [S] int16 at espeak.RATE to an RMS of `level` dBFS.

    Returns [S'] int16 at files.RATE, and the samples at that rate trimmed from its start.
    """
    wave = files.resample(files.to_float(wave), espeak.RATE)
    size = np.abs(wave)
    (loud,) = np.nonzero(size >= size.max() * 10 ** (TRIM_DB / 20))
    start = max(loud[0] - TRIM_MARGIN, 0)
    wave = wave[start : loud[-1] + 1 + TRIM_MARGIN]
    if len(wave) < SHORTEST_SECONDS * files.RATE or not size.max():
        raise errors.UserError(
            f"espeak-ng: expected at least {SHORTEST_SECONDS} s for a word, found"
            f" {len(wave) / files.RATE:.3f} s; choose another voice"
        )
    gain = 10 ** (level / 20) / np.sqrt(np.mean(np.square(wave)))
    return files.to_int16(wave * min(gain, PEAK / np.abs(wave).max())), int(start)
