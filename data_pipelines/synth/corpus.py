"""What the corpora made on the spot share: clips of speech -> shards, manifests, one whole folder.

    made = corpus.make(folder, "digits", clips, version=1)   # {"train": ".../train.jsonl", ...}

A corpus is a folder whose name carries a hash of everything that shapes it; it appears by a rename
when it is whole. Equal hashes hold equal bytes. Whoever makes it anew goes on from the shards that
are there.

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

from seedasr_jax import errors
from seedasr_jax import workdir as disk
from seedasr_jax.audio import files
from seedasr_jax.data_pipelines.synth import espeak

# Variants without a near sibling among the others are held out, women and men; effects and machines
# are left out; all the rest train.
HELD_OUT = {
    "dev": ("Andrea", "f2", "shelby", "Hugo", "ian", "m5", "norbert", "paul"),
    "test": (
        *("Alicia", "belinda", "f4", "linda"),
        *("Denis", "Henrique", "Jacky", "benjamin", "m3", "m6", "quincy", "sandro"),
    ),
}
LEFT_OUT = (
    *("Demonic", "UniRobot", "anikaRobot", "fast", "robosoft"),
    *(f"robosoft{n}" for n in range(2, 9)),
)

CLIPS_PER_SHARD = 250
_SHARDS = "shards"  # folder, while a corpus is made: what its manifests will say of each shard
GAP = files.RATE // 10  # samples of silence between the clips of a shard
TRIM_DB, TRIM_MARGIN = -35.0, files.RATE // 100  # below the clip's peak; samples kept beside it
LEVELS_DBFS = (-38.0, -17.0)  # RMS of a speaker
LEVEL_JITTER_DB = 2.0  # of a clip about its speaker: all clips lie in -40 to -15 dBFS
PEAK = 0.98  # of full scale: a peaky clip stays below its level rather than clip
SHORTEST_SECONDS = 0.08  # a word at the highest rate takes 0.1 s: less is a fault


@dataclasses.dataclass(frozen=True)
class Clip:
    """What one row of a manifest will be: who says what, how loud, and what else the row says."""

    id: str
    utterance: espeak.Utterance
    level: float  # dBFS
    fields: dict


def split_variants() -> dict[str, tuple[str, ...]]:
    """Variants by split: disjoint, and the same for every corpus and size."""
    held = {name for names in HELD_OUT.values() for name in names}
    known = set(espeak.variants())
    if missing := (held | set(LEFT_OUT)) - known:
        raise errors.ConfigError(
            f"espeak-ng lacks the variants {sorted(missing)}: pip install espeakng-loader==0.2.4"
        )
    return {"train": tuple(sorted(known - held - set(LEFT_OUT))), **HELD_OUT}


def voice(utterance: espeak.Utterance) -> dict:
    """How it is said, as a row says it."""
    return {key: value for key, value in dataclasses.asdict(utterance).items() if key != "text"}


def make(folder, name: str, clips, *, version: int, workers: int = 0, describe=None, check=None):
    """Makes a corpus below `folder`, or finds it there.

    Args:
        folder: a cache; made if it is not there.
        name: of the corpus.
        clips: split -> its `Clip`s, in the order in which they are said.
        version: another one makes another corpus of the same clips.
        workers: shards made at once; 0 for one per CPU.
        describe: (clip, speech, seconds trimmed from its start, seconds left) -> more fields.
        check: {split: manifest} -> raises if they are not what they should be, before they appear.

    Returns:
        split -> its manifest (JSONL); `audio` in a row is relative to it.

    Raises:
        ConfigError: espeakng-loader is missing, or lacks a voice.
    """
    target = pathlib.Path(folder, f"{name}-{_hash(clips, version)}")
    disk.make_once(target, lambda part: _make(part, name, clips, workers, describe, check))
    return _manifests(target, clips)


def _hash(clips, version):
    recipe = dict(
        version=version,
        espeak=espeak.version(),
        shaping=[CLIPS_PER_SHARD, GAP, TRIM_DB, TRIM_MARGIN, PEAK, files.RATE],
        clips={split: list(map(vars, own)) for split, own in clips.items()},
    )
    text = json.dumps(recipe, sort_keys=True, default=vars)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _manifests(folder, clips):
    return {split: folder / f"{split}.jsonl" for split in clips}


def _make(folder, name, clips, workers, describe, check):
    for subfolder in (_SHARDS, *clips):
        (folder / subfolder).mkdir(exist_ok=True)
    shards = [
        (folder, split, start // CLIPS_PER_SHARD, own[start : start + CLIPS_PER_SHARD], describe)
        for split, own in clips.items()
        for start in range(0, len(own), CLIPS_PER_SHARD)
    ]
    rows, heard = {split: [] for split in clips}, {}
    making = espeak.each_shard(_make_shard, shards, label=f"synth:{name}", workers=workers)
    with contextlib.closing(making) as results:  # Ctrl-C waits for the shards in the making
        for (_, split, *_), (shard_rows, digests) in zip(shards, results, strict=True):
            rows[split] += shard_rows
            for digest in digests:
                assert heard.setdefault(digest, split) == split, (
                    "two splits hold the same waveform, though none shares voice and text"
                )
    manifests = _manifests(folder, clips)
    for split, path in manifests.items():
        disk.write_rows(path, rows[split])
    if check:
        check(manifests)
    shutil.rmtree(folder / _SHARDS)


def _make_shard(shard):
    """One audio file, unless it is made: its manifest rows, and digests of the waves as spoken."""
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
    """Speech as synthesised -> a clip: resampled, trimmed, brought to its level.

    Args:
        wave: [S] int16 at espeak.RATE.
        level: RMS wanted, dBFS.

    Returns:
        [S'] int16 at files.RATE, and how many samples at that rate were trimmed from its start.
    """
    wave = files.resample(files.to_float(wave), espeak.RATE)
    size = np.abs(wave)
    (loud,) = np.nonzero(size >= size.max() * 10 ** (TRIM_DB / 20))
    start = max(loud[0] - TRIM_MARGIN, 0)
    wave = wave[start : loud[-1] + 1 + TRIM_MARGIN]
    if len(wave) < SHORTEST_SECONDS * files.RATE or not size.max():
        raise errors.UserError(f"espeak-ng gave {len(wave) / files.RATE:.3f} s for a whole word")
    gain = 10 ** (level / 20) / np.sqrt(np.mean(np.square(wave)))
    return files.to_int16(wave * min(gain, PEAK / np.abs(wave).max())), int(start)
