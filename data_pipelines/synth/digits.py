"""The corpus `synth:digits`: ten English digits in espeak-ng's voices and accents.

    manifests = digits.prepare("/some/cache")     # {"train": ".../train.jsonl", "dev": ..., ...}

A *setting* is one speaker: an accent, a variant, a pitch, its range, a rate and a level, with one
utterance of each digit. 55 % of the settings have an English accent; for 45 % a voice of another
language reads the digits in that language's spelling, which gives its accent. No two splits share
a variant.
"""

import dataclasses
import pathlib

import numpy as np

from seedasr_jax import errors
from seedasr_jax.data_pipelines.synth import corpus, espeak

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

# Accent -> voice of espeak-ng; these read DIGITS.
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

# Accent -> voice, and the English digits as its speakers pronounce them, in their own spelling.
# Each was checked with espeak_TextToPhonemes; a spelling without a vowel is read letter by letter.
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

SEED = 2407_04675
FORMAT = 1  # raise it when the same settings yield other audio


@dataclasses.dataclass(frozen=True)
class Setting:
    """One speaker; `levels` in dBFS and `words`, the text to be read, one per digit."""

    name: str
    accent: str
    voice: str
    variant: str
    pitch: int
    range: int
    rate: int
    levels: tuple[float, ...]
    words: tuple[str, ...]

    def utterances(self) -> list[espeak.Utterance]:
        """The ten digits as utterances."""
        keys = ("voice", "variant", "pitch", "range", "rate")
        attributes = {key: getattr(self, key) for key in keys}
        return [espeak.Utterance(text=word, **attributes) for word in self.words]


def draw(split: str, count: int) -> list[Setting]:
    """Draws `count` speakers of a split, from (SEED, split) alone; accents in equal numbers."""
    variants = corpus.split_variants()[split]
    stream = list(corpus.split_variants()).index(split)
    rng = np.random.Generator(np.random.Philox(key=np.array([SEED, stream], np.uint64)))
    english = round(ENGLISH_SHARE * count)
    accents = [list(ENGLISH)[i % len(ENGLISH)] for i in range(english)]
    accents += [list(FOREIGN)[i % len(FOREIGN)] for i in range(count - english)]
    settings = []
    for number, accent in enumerate(rng.permutation(accents).tolist()):
        variant = variants[rng.integers(len(variants))]
        pitch, pitch_range, rate = rng.integers([5, 10, 110], [80, 90, 220]).tolist()
        level = rng.uniform(*corpus.LEVELS_DBFS)
        jitter = corpus.LEVEL_JITTER_DB
        levels = level + rng.uniform(-jitter, jitter, len(DIGITS))
        if accent in ENGLISH:
            voice, words = ENGLISH[accent], DIGITS
        else:
            voice, words = FOREIGN[accent][0], tuple(FOREIGN[accent][1].split())
        name = variant.lower().replace(" ", "-")
        settings.append(
            Setting(
                name=f"{split}{number:04}-{accent.lower()}-{name}-p{pitch // 10 * 10:02}",
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
    """Creates the corpus below `folder`; arguments and result as for `corpus.make`.

    `train`, `dev` and `test` are speakers of each split, of ten clips each.

    Raises:
        ConfigError: espeakng-loader is missing or lacks a voice, or a size is not positive.
    """
    sizes = {"train": train, "dev": dev, "test": test}
    for split, size in sizes.items():
        if size < 1:
            raise errors.ConfigError(f"{split}: expected at least 1 speaker, found {size}")
    clips = {split: _clips(draw(split, size)) for split, size in sizes.items()}
    return corpus.make(folder, "digits", clips, version=FORMAT, workers=workers)


def _clips(settings):
    return [
        corpus.Clip(
            id=f"{setting.name}-{text}",
            utterance=utterance,
            level=level,
            fields=dict(
                text=text,
                speaker=setting.name,
                lang="en",
                accent=setting.accent,
                domain="digits",
                voice=corpus.voice(utterance),
            ),
        )
        for setting in settings
        for text, utterance, level in zip(DIGITS, setting.utterances(), setting.levels, strict=True)
    ]
