"""The corpus `synth:digits`: ten English digits by voices and accents that espeak-ng can imitate.

    manifests = digits.prepare("/some/cache")     # {"train": ".../train.jsonl", "dev": ..., ...}

A *setting* is one speaker: an accent, a variant, a pitch, its range, a rate and a level; it says
every digit once. 55 % of the settings have an English accent; in 45 % a voice of another language
reads the digits respelled in its own letters, and so speaks them with its accent. Variants are held
out: no variant is heard in two splits.

Dims: S samples.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import uuid

import numpy as np

from seedasr_jax import errors
from seedasr_jax.audio import files
from seedasr_jax.data_pipelines.synth import espeak

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

# Accent -> voice of espeak-ng. All read the plain words.
ENGLISH = {
    "en-US": "gmw/en-US",
    "en-US-nyc": "gmw/en-US-nyc",
    "en-GB": "gmw/en",
    "en-GB-x-rp": "gmw/en-GB-x-rp",
    "en-GB-x-gbclan": "gmw/en-GB-x-gbclan",
    "en-GB-x-gbcwmd": "gmw/en-GB-x-gbcwmd",
    "en-GB-scotland": "gmw/en-GB-scotland",
    "en-029": "gmw/en-029",
}

# Accent -> voice, and the English digits as that language would write what its speakers say. Each
# was read through espeak_TextToPhonemes; a spelling without a vowel is said letter by letter.
FOREIGN = {
    "de": ("gmw/de", "siero wann tuh sri fohr faif ßix ßäwen ejt nain"),
    "fr": ("roa/fr", "zirô ouanne tou srî fôre faïve sixe sévène éite naïne"),
    "el": ("grk/el", "ζίροου ουάν του θρι φορ φάιβ σιξ σέβεν έιτ νάιν"),
    "es": ("roa/es", "sirou uan tu tri for faiv six seven eit nain"),
    "it": ("roa/it", "zirou uan tu tri for faiv sics seven eit nain"),
    "nl": ("gmw/nl", "ziro wan toe srie foor faaif siks sèven eejt nain"),
    "pl": ("zlw/pl", "zirou łan tu fri for fajw syks sewen ejt najn"),
    "ru": ("zle/ru", "зироу ван туу срии фор файв сикс сэвэн эйт найн"),
    "pt-BR": ("roa/pt-BR", "zírou uân tu trí fór fáiv siks séven êit náin"),
    "sv": ("gmq/sv", "sirå wann to tri får fajv siks sevven ejt najn"),
    "cs": ("zlw/cs", "zírou uan tú srí fór fajv siks seven ejt najn"),
    "hi": ("inc/hi", "ज़ीरो वन टू थ्री फ़ोर फ़ाइव सिक्स सेवन एट नाइन"),
    "tr": ("trk/tr", "ziro van tu tri for fayv siks sevın eyt nayn"),
    "hu": ("urj/hu", "zíró van tú szrí fór fájv sziksz szeven éjt nájn"),
    "fi": ("urj/fi", "siirou uan tuu srii foor faiv siks seven eit nain"),
    "ro": ("roa/ro", "zirou uan tu fri for faiv six seven eit nain"),
}
ENGLISH_SHARE = 0.55

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

SEED = 2407_04675
FORMAT = 1  # raise it when the code below makes other sound of the same settings
CLIPS_PER_SHARD = 250
GAP = files.RATE // 10  # samples of silence between the clips of a shard
TRIM_DB, TRIM_MARGIN = -35.0, files.RATE // 100  # below the clip's peak; samples kept beside it
LEVELS_DBFS = (-38.0, -17.0)  # RMS of a speaker
LEVEL_JITTER_DB = 2.0  # of a clip about its speaker: all clips lie in -40 to -15 dBFS
PEAK = 0.98  # of full scale: a peaky clip stays below its level rather than clip
SHORTEST_SECONDS = 0.08  # a word at the highest rate takes 0.1 s: less is a fault


@dataclasses.dataclass(frozen=True)
class Setting:
    """One speaker; `levels` are dBFS, one per digit, and `words` what the voice reads."""

    name: str
    accent: str
    voice: str
    variant: str
    pitch: int
    range: int
    rate: int
    levels: tuple[float, ...]
    words: tuple[str, ...]


def split_variants() -> dict[str, tuple[str, ...]]:
    """Variants by split: disjoint, and the same for every size."""
    held = {name for names in HELD_OUT.values() for name in names}
    known = set(espeak.variants())
    if missing := (held | set(LEFT_OUT)) - known:
        raise errors.ConfigError(
            f"espeak-ng lacks the variants {sorted(missing)}: pip install espeakng-loader==0.2.4"
        )
    return {"train": tuple(sorted(known - held - set(LEFT_OUT))), **HELD_OUT}


def draw(split: str, count: int) -> list[Setting]:
    """Draws `count` speakers of a split, from (SEED, split) alone; accents in equal numbers."""
    variants = split_variants()[split]
    stream = list(split_variants()).index(split)
    rng = np.random.Generator(np.random.Philox(key=np.array([SEED, stream], np.uint64)))
    english = round(ENGLISH_SHARE * count)
    accents = [list(ENGLISH)[i % len(ENGLISH)] for i in range(english)]
    accents += [list(FOREIGN)[i % len(FOREIGN)] for i in range(count - english)]
    settings = []
    for number, accent in enumerate(rng.permutation(accents).tolist()):
        variant = variants[rng.integers(len(variants))]
        pitch, pitch_range, rate = rng.integers([5, 10, 110], [80, 90, 220]).tolist()
        level = rng.uniform(*LEVELS_DBFS)
        levels = level + rng.uniform(-LEVEL_JITTER_DB, LEVEL_JITTER_DB, len(DIGITS))
        if accent in ENGLISH:
            voice, words = ENGLISH[accent], DIGITS
        else:
            voice, words = FOREIGN[accent][0], tuple(FOREIGN[accent][1].split())
        who = variant.lower().replace(" ", "-")
        settings.append(
            Setting(
                name=f"{split}{number:04}-{accent.lower()}-{who}-p{pitch // 10 * 10:02}",
                accent=accent,
                voice=voice,
                variant=variant,
                pitch=pitch,
                range=pitch_range,
                rate=rate,
                levels=tuple(levels.round(2).tolist()),
                words=words,
            )
        )
    return settings


def prepare(
    folder, *, train: int = 1_200, dev: int = 60, test: int = 100, workers: int = 0
) -> dict[str, pathlib.Path]:
    """Makes the corpus below `folder`, or finds it there.

    The corpus is one folder whose name carries a hash of everything that shapes it; it appears by a
    rename when it is whole. Equal hashes hold equal bytes.

    Args:
        folder: a cache; made if it is not there.
        train: speakers of the split, of ten clips each; `dev` and `test` likewise.
        workers: shards made at once; 0 for one per CPU.

    Returns:
        split -> its manifest (JSONL); `audio` in a row is relative to it.

    Raises:
        ConfigError: espeakng-loader is missing or lacks a voice, or a size is not positive.
    """
    sizes = {"train": train, "dev": dev, "test": test}
    for split, size in sizes.items():
        if size < 1:
            raise errors.ConfigError(f"{split} must be at least 1 speaker, found {size}")
    plan = {split: draw(split, size) for split, size in sizes.items()}
    target = pathlib.Path(folder, f"digits-{_hash(plan)}")
    if not target.is_dir():
        _make_whole(target, plan, workers)
    return {split: target / f"{split}.jsonl" for split in plan}


def _hash(plan):
    recipe = dict(
        format=FORMAT,
        espeak=espeak.version(),
        shaping=[CLIPS_PER_SHARD, GAP, TRIM_DB, TRIM_MARGIN, PEAK, files.RATE],
        plan={split: list(map(dataclasses.asdict, settings)) for split, settings in plan.items()},
    )
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:12]


def _make_whole(target, plan, workers):
    scratch = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        for split in plan:
            (scratch / split).mkdir(parents=True)
        _make(scratch, plan, workers)
        try:
            scratch.rename(target)
        except OSError:
            if not target.is_dir():  # else another process was faster, and made the same
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _make(folder, plan, workers):
    size = CLIPS_PER_SHARD // len(DIGITS)
    shards = [
        (folder, split, start // size, settings[start : start + size])
        for split, settings in plan.items()
        for start in range(0, len(settings), size)
    ]
    rows, heard = {split: [] for split in plan}, {split: set() for split in plan}
    making = espeak.each_shard(_make_shard, shards, label="synth:digits", workers=workers)
    with contextlib.closing(making) as results:  # Ctrl-C waits for the shards in the making
        for (_, split, _, _), (shard_rows, digests) in zip(shards, results, strict=True):
            rows[split] += shard_rows
            heard[split] |= digests
    shared = (heard["train"] & heard["dev"]) | ((heard["train"] | heard["dev"]) & heard["test"])
    assert not shared, "two splits hold the same waveform, though no variant is in both"
    for split in plan:
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows[split])
        (folder / f"{split}.jsonl").write_text("".join(lines))


def _make_shard(shard):
    """Makes one audio file; returns its manifest rows, and digests of the waves as spoken."""
    folder, split, number, settings = shard
    keys = ("voice", "variant", "pitch", "range", "rate")
    voices = [{key: getattr(setting, key) for key in keys} for setting in settings]
    spoken = espeak.speak(
        [
            espeak.Utterance(text=word, **voice)
            for setting, voice in zip(settings, voices, strict=True)
            for word in setting.words
        ]
    )
    name = os.path.join(split, f"{number:03}.flac")
    rows, waves, start, digests = [], [], 0, set()
    for index, speech in enumerate(spoken):
        speaker, digit = divmod(index, len(DIGITS))
        setting = settings[speaker]
        wave = shape(speech.wave, setting.levels[digit])
        digests.add(hashlib.sha256(speech.wave).digest())
        rows.append(
            dict(
                id=f"{setting.name}-{DIGITS[digit]}",
                audio=name,
                offset=start / files.RATE,
                duration=len(wave) / files.RATE,
                text=DIGITS[digit],
                speaker=setting.name,
                lang="en",
                accent=setting.accent,
                domain="digits",
                voice=voices[speaker],
            )
        )
        waves += [wave, np.zeros(GAP, np.int16)]
        start += len(wave) + GAP
    files.write(folder / name, np.concatenate(waves), files.RATE)
    return rows, digests


def shape(wave: np.ndarray, level: float) -> np.ndarray:
    """Speech as synthesised -> a clip: resampled, trimmed, brought to its level.

    Args:
        wave: [S] int16 at espeak.RATE.
        level: RMS wanted, dBFS.

    Returns:
        [S'] int16 at files.RATE.
    """
    wave = files.resample(files.to_float(wave), espeak.RATE)
    size = np.abs(wave)
    (loud,) = np.nonzero(size >= size.max() * 10 ** (TRIM_DB / 20))
    wave = wave[max(loud[0] - TRIM_MARGIN, 0) : loud[-1] + 1 + TRIM_MARGIN]
    if len(wave) < SHORTEST_SECONDS * files.RATE or not size.max():
        raise errors.UserError(f"espeak-ng gave {len(wave) / files.RATE:.3f} s for a whole word")
    gain = 10 ** (level / 20) / np.sqrt(np.mean(np.square(wave)))
    return files.to_int16(wave * min(gain, PEAK / np.abs(wave).max()))
