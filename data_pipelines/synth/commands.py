"""The corpus `synth:commands`: spoken commands in five languages, with names that are homophones.

    manifests = commands.prepare("/some/cache")    # SPLITS

Splits share neither sentences nor voices with training. 55 % of the sentences of `dev` and `test`
contain a pair of neighbouring units that is not in training, which contains every single unit.
Sentences with names are in training and in separate splits: `homophones` has names of which
training contains every spelling, `unseen_names` names of which it contains none, both with the
voices of `test`. `dev_homophones` and `dev_unseen_names`, with the voices of `dev`, serve model
selection: their sentences and unseen names are different ones. `keywords` of a row are its names,
`siblings` their other spellings, which are pronounced equally in every dialect here.
"""

import collections
import dataclasses
import functools
import itertools
import math
import pathlib

import numpy as np

from seedasr_jax import errors
from seedasr_jax.data_pipelines.synth import corpus, espeak, facts, timing
from seedasr_jax.data_pipelines.synth.spoken import SPOKEN
from seedasr_jax.data_pipelines.synth.spoken.language import NAME
from seedasr_jax.text import languages

NAMED = ("homophones", "unseen_names")
SPLITS = ("train", "dev", "test", *NAMED, *(f"dev_{split}" for split in NAMED))


@dataclasses.dataclass(frozen=True)
class Size:
    """Numbers of sentences of a language."""

    plain: int  # training, without a name
    homophones: int  # training, with a name of several spellings
    rare: int  # training, with a made-up name
    dev: int
    test: int
    homophones_test: int  # split `homophones`, and `dev_homophones`
    unseen_names: int  # split `unseen_names`, and `dev_unseen_names`


SIZES = {
    "en": Size(1_450, 450, 800, 60, 140, 90, 64),
    "es": Size(1_180, 170, 330, 60, 140, 28, 24),
    "pt": Size(1_180, 170, 330, 60, 140, 28, 24),
    "zh": Size(1_300, 250, 380, 60, 140, 50, 32),
    "yue": Size(1_350, 220, 330, 60, 140, 32, 20),
}
UNSEEN_PAIR_SHARE = 0.55  # fraction of dev and test sentences with an unseen pair
_POOL = 2.5  # plain sentences drawn per sentence used
_WITHHELD_SHARE = 0.15  # fraction of the pool's sentences with a pair that training lacks
_WITHHELD_MOST = 0.02  # maximum fraction of the pool's sentences with any one such pair
_UNIT_COUNT = 12  # minimum number of training sentences with a unit, if the pool has as many
_UNIT_KEPT = 0.7  # minimum fraction of a unit's sentences that remain available for training
UTTERANCES_PER_SPEAKER = 5
PITCH, RANGE, RATE = (20, 79), (10, 60), (140, 210)  # of a speaker, bounds included
# The tones of Chinese crash espeak-ng's process at a low pitch with a wide range: with this variant
# even at medium values, with others at pitch 5 and range 89 (not at 5 and 65).
CRASHES = "rob"

SEED = 2407_04675
FORMAT = 1  # raise it when the same clips yield other rows or other audio

# Required difficulty of the corpus: (minimum, maximum) of figures of `facts`.
HOURS = 5.0
REQUIRED = {
    "train_sentences": (600, math.inf),
    "train_voices": (8, math.inf),
    "test_voices": (4, math.inf),
    "test_share_with_unseen_pair": (0.5, 0.6),
}
DISTINCT_UNITS = {"word": 150, "char": 120}


@dataclasses.dataclass(frozen=True)
class Sentence:
    """A sentence, the names that it contains, and their other spellings."""

    text: str
    names: tuple[str, ...] = ()
    siblings: tuple[str, ...] = ()


@functools.cache
def sentences(tag: str) -> dict[str, tuple[Sentence, ...]]:
    """Draws the sentences of a language by split, from (SEED, tag) alone."""
    language, size = SPOKEN[tag], SIZES[tag]
    rng = _rng(0, list(SPOKEN).index(tag))
    wanted = round(_POOL * (size.plain + size.dev + size.test))
    pool = list(itertools.islice(_distinct(lambda: language.sentence(rng)), wanted))
    withheld = _withheld_pairs(tag, pool, rng)
    fit = [text for text in pool if not facts.pairs(tag, text) & withheld]
    plain = _with_each_unit(tag, fit)[: size.plain]
    used = set()

    def named(groups, count, avoid=frozenset()):
        """`count` sentences with each spelling in turn; no sentence is used with two spellings."""
        spellings = [(group, name) for group in groups for name in group]
        made = []
        while len(made) < count:
            group, name = spellings[len(made) % len(spellings)]
            carrier = language.sentence(rng, NAME)
            text = carrier.replace(NAME, name)
            if (carrier, group) not in used and not facts.pairs(tag, text) & avoid:
                used.add((carrier, group))
                made.append(Sentence(text, (name,), tuple(n for n in group if n != name)))
        return made

    train = [
        *map(Sentence, plain),
        *named(language.homophones, size.homophones, withheld),
        *named(language.rare, size.rare, withheld),
    ]
    trained = {sentence.text for sentence in train}
    pairs = set().union(*(facts.pairs(tag, text) for text in trained))
    units = {unit for text in trained for unit in facts.units(tag, text)}
    rest = [text for text in pool if text not in trained and units >= {*facts.units(tag, text)}]
    fresh = [text for text in rest if not facts.pairs(tag, text) <= pairs]
    known = [text for text in rest if facts.pairs(tag, text) <= pairs]
    splits = {"train": train}
    for split, count in (("dev", size.dev), ("test", size.test)):
        unseen = round(UNSEEN_PAIR_SHARE * count)
        texts = fresh[:unseen] + known[: count - unseen]
        assert len(texts) == count, f"{tag}: {len(fresh)} and {len(known)} sentences for {split}"
        fresh, known = fresh[unseen:], known[count - unseen :]
        splits[split] = list(map(Sentence, texts))
    made = {}
    for prefix, unseen in (("dev_", language.unseen_dev), ("", language.unseen)):
        splits[f"{prefix}homophones"] = named(language.homophones, size.homophones_test)
        splits[f"{prefix}unseen_names"] = named(unseen, size.unseen_names)
        for split in [split for split in splits if split not in made]:
            ordered = splits[split]
            made[split] = tuple(ordered[place] for place in rng.permutation(len(ordered)))
    return made


def _distinct(draw):
    """Yields results of `draw` without duplicates."""
    known = set()
    while True:
        text = draw()
        if text not in known:
            known.add(text)
            yield text


def _with_each_unit(tag, texts):
    """The texts, reordered: first those that each unit needs to reach `_UNIT_COUNT` sentences."""
    counts, first, rest = collections.Counter(), [], []
    for text in texts:
        units = set(facts.units(tag, text))
        wanted = any(counts[unit] < _UNIT_COUNT for unit in units)
        (first if wanted else rest).append(text)
        counts.update(units if wanted else ())
    return first + rest


def _withheld_pairs(tag, pool, rng):
    """Draws pairs of units to be withheld from training, which still has each unit often."""
    with_pair, left = collections.defaultdict(set), collections.Counter()
    for number, text in enumerate(pool):
        left.update(set(facts.units(tag, text)))
        for pair in facts.pairs(tag, text):
            with_pair[pair].add(number)
    least = {unit: _UNIT_KEPT * count for unit, count in left.items()}
    pairs, out = set(), set()
    candidates = sorted(with_pair)
    for place in rng.permutation(len(candidates)):
        pair = candidates[place]
        more = with_pair[pair] - out
        lost = collections.Counter(u for n in more for u in set(facts.units(tag, pool[n])))
        rare = len(with_pair[pair]) <= _WITHHELD_MOST * len(pool)
        if rare and all(left[unit] - count >= least[unit] for unit, count in lost.items()):
            pairs.add(pair)
            out |= more
            left -= lost
        if len(out) >= _WITHHELD_SHARE * len(pool):
            break
    return pairs


@functools.cache
def plan(scale: float = 1.0) -> dict[str, tuple[corpus.Clip, ...]]:
    """Clips by split, languages interleaved; the first `scale` (a fraction) of each language."""
    made = {}
    for split in SPLITS:
        turns = []
        for tag in SPOKEN:
            count = math.ceil(scale * len(sentences(tag)[split]))
            clips = _clips(split, tag)[:count]
            turns += [
                (start / count, clips[start : start + UTTERANCES_PER_SPEAKER])
                for start in range(0, count, UTTERANCES_PER_SPEAKER)
            ]
        turns.sort(key=lambda turn: turn[0])  # stable: speakers of all languages, evenly spread
        made[split] = tuple(clip for _, clips in turns for clip in clips)
    return made


def _clips(split, tag):
    """Clips of a split: its sentences, assigned to speakers."""
    rng = _rng(1 + SPLITS.index(split), list(SPOKEN).index(tag))
    voices = {"train": "train", "dev": "dev"}.get(split.split("_")[0], "test")
    variants = [v for v in corpus.split_variants()[voices] if v != CRASHES]
    dialects = list(SPOKEN[tag].voices)
    clips, order = [], []
    for number, sentence in enumerate(sentences(tag)[split]):
        speaker, turn = divmod(number, UTTERANCES_PER_SPEAKER)
        if not turn:
            order = order or [variants[i] for i in rng.permutation(len(variants))]
            variant, dialect = order.pop(), dialects[speaker % len(dialects)]
            limits = np.array([PITCH, RANGE, RATE])
            pitch, pitch_range, rate = rng.integers(limits[:, 0], limits[:, 1] + 1).tolist()
            level = rng.uniform(*corpus.LEVELS_DBFS)
            name = variant.lower().replace(" ", "-")
        utterance = espeak.Utterance(
            sentence.text, SPOKEN[tag].voices[dialect], variant, pitch, pitch_range, rate
        )
        jitter = rng.uniform(-corpus.LEVEL_JITTER_DB, corpus.LEVEL_JITTER_DB)
        clips.append(
            corpus.Clip(
                id=f"{split}-{tag}-{number:04}",
                utterance=utterance,
                level=round(level + jitter, 2),
                fields=dict(
                    text=sentence.text,
                    speaker=f"{split}-{dialect.lower()}-{speaker:03}-{name}",
                    lang=tag,
                    dialect=dialect,
                    domain="commands",
                    keywords=list(sentence.names),
                    siblings=list(sentence.siblings),
                    voice=corpus.voice(utterance),
                ),
            )
        )
    return clips


def prepare(folder, *, scale: float = 1.0, workers: int = 0) -> dict[str, pathlib.Path]:
    """Creates the corpus below `folder`; arguments and result as for `corpus.make`.

    `scale` is a fraction of the sentences of every split and language. Below 1 the corpus is for
    experiments: training may lack units, pairs and names that it has otherwise.

    Raises:
        ConfigError: espeakng-loader is missing or lacks a voice, or the scale is not in (0, 1].
    """
    if not 0 < scale <= 1:
        raise errors.ConfigError(f"scale: expected more than 0 and at most 1, found {scale}")
    clips = plan(float(scale))
    check = _check if scale == 1 else None
    return corpus.make(
        folder, "commands", clips, version=FORMAT, workers=workers, describe=_align, check=check
    )


def _check(manifests):
    found = facts.of(manifests)
    assert found["hours"] >= HOURS, found["hours"]
    require(found)


def require(found: dict) -> None:
    """Raises AssertionError if figures of `facts` are outside the required range."""
    assert found["overlap_sentences"] == 0
    assert list(found["languages"]) == list(SPOKEN)
    for tag, figures in found["languages"].items():
        distinct = DISTINCT_UNITS[languages.lookup(tag).unit]
        for key, (least, most) in (REQUIRED | {"distinct_words": (distinct, math.inf)}).items():
            assert least <= figures[key] <= most, f"{tag}: {key} is {figures[key]}"


def _align(clip, speech, trimmed, seconds):
    unit = languages.lookup(clip.fields["lang"]).unit
    return {"alignment": timing.alignment(clip.utterance.text, unit, speech, trimmed, seconds)}


def _rng(purpose, language):
    key = np.array([SEED, purpose * 2**16 + language], np.uint64)
    return np.random.Generator(np.random.Philox(key=key))
