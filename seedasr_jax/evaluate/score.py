"""Scores one checkpoint on one task: decodes it and computes its row of results.jsonl."""

import collections
from collections.abc import Iterable, Sequence
import dataclasses

from seedasr_jax import config
from seedasr_jax.batch import CONTINUED, Batch
from seedasr_jax.decode.recogniser import Recogniser, joined
from seedasr_jax.text import prompts, weighted
from seedasr_jax.text import score as rates
from seedasr_jax.text.conventions import BY_LANGUAGE, Convention, Conventions

# What an example says about itself, and stays with its transcript.
ABOUT = (
    *("id", "seconds", "language", "dialect", "domain", "speaker"),
    *("context", "context_unread", "context_kind", "keywords", "siblings"),
)
# Keys of a row that say what it measures: its cell of a sweep.
CELL = ("checkpoint", "task", "decode", "normalizer", "unit")


@dataclasses.dataclass(frozen=True)
class Setting:
    """How to decode and to score."""

    decode: str  # a name of decode/methods.py
    conventions: Conventions  # what is counted, by language


def setting(how: config.Eval, decode="", normalizer="", unit="", language="row") -> Setting:
    """How a stage is scored: by language, and as `how` says where none is stated.

    Args:
        how: of the stage.
        decode: instead of its own.
        normalizer, unit: for all utterances, whatever their language.
        language: of all utterances; "row": as each states it.

    Raises:
        ConfigError: an unknown normaliser, unit or language.
    """
    conventions = Conventions(
        Convention(how.normalizer, how.unit),
        normalizer or BY_LANGUAGE,
        unit or BY_LANGUAGE,
        "" if language == "row" else language,
    )
    return Setting(decode or how.decode, conventions)


def evaluate(
    recogniser: Recogniser,
    checkpoint: str,
    task: str,
    batches: Iterable[tuple[Batch, list]],
    setting: Setting,
    order: Sequence = (),
    unknown: int = 0,
) -> tuple[dict, list[dict]]:
    """Decodes and scores a task.

    Args:
        recogniser: what is scored.
        checkpoint: its label, STAGE@STEP#hash.
        task: its name.
        batches: Batches, with room in `ids` for as many tokens as are decoded at most; each with
            its examples, None in a row that is only filled up, CONTINUED in one that holds more of
            the example before.
        setting: see Setting.
        order: the examples as they are returned; empty: as they are decoded. Batches go by length:
            without it files and bootstrap draws would differ between shapes.
        unknown: utterances whose reference the tokenizer cannot write.

    Returns:
        The row of results.jsonl, and one dict per utterance: what the example said about itself,
        reference and hypothesis. Beside the figures of `measure` the row has those of each
        language, dialect and kind of context, where the examples differ in it.
    """
    heard: list[tuple] = []  # (example, hypotheses of its pieces)
    for batch, examples in batches:
        hypotheses = recogniser.decode(batch, setting.decode)
        for example, hypothesis in zip(examples, hypotheses, strict=True):
            if example is CONTINUED:
                heard[-1][1].append(hypothesis)
            elif example is not None:
                heard.append((example, [hypothesis]))
    if order:
        places = {id(example): place for place, example in enumerate(order)}
        heard.sort(key=lambda pair: places[id(pair[0])])
    uses = collections.Counter(example.audio for example, _ in heard)
    utterances, recordings = [], {}
    for example, hypotheses in heard:
        about = {key: getattr(example, key) for key in ABOUT}
        if example.audio and uses[example.audio] > 1:  # a segment, named by the first of its file
            about["recording"] = recordings.setdefault(example.audio, example.id)
        parts = [[one.id, one.text] for one in example.segments]
        whole = joined(hypotheses)
        said = {"reference": example.text, "hypothesis": whole.text, "cut": whole.cut}
        utterances.append(about | {"parts": parts} | said)
    languages = [utterance["language"] for utterance in utterances]
    used = setting.conventions.used(languages)
    cell = dict(zip(CELL, (checkpoint, task, setting.decode, *used), strict=True))
    row = cell | measure(utterances, setting.conventions)
    if BY_LANGUAGE in used and (undecided := setting.conventions.undecided(languages)):
        taken = dataclasses.asdict(setting.conventions.of(""))
        row["unstated"] = {"utterances": len(undecided)} | taken
    for key in ("language", "dialect", "context_kind"):
        tags = sorted({utterance[key] for utterance in utterances} - {""})
        if len(tags) > 1:
            row[f"by_{key}"] = {
                tag: measure([u for u in utterances if u[key] == tag], setting.conventions)
                for tag in tags
            }
    if unknown:
        row["unknown"] = unknown
    return row, utterances


def by_language(utterances: Iterable[dict]) -> dict[str, list[dict]]:
    """Utterances as `evaluate` returns them by language, the tags in order."""
    found: dict[str, list[dict]] = {}
    for utterance in utterances:
        found.setdefault(utterance["language"], []).append(utterance)
    return dict(sorted(found.items()))


def measure(utterances: list[dict], conventions: Conventions) -> dict:
    """The figures of utterances as `evaluate` returns them.

    Counts and error rate. Where a limit of the model was met, `cut` counts transcripts that stopped
    at the most tokens, `contexts_cut` and `contexts_unused` those whose context was read in part
    and not at all; keys whose count is 0 are left out. Where they have `keywords`, the recall of
    these; where they have a `context`, how often a name of it was written that was not said; where
    they have `siblings`, how often one of those was written that was not said.
    """
    compared = compare(utterances, conventions)
    return _count(compared) | _limits(utterances) | _names(utterances, compared, conventions)


@dataclasses.dataclass(frozen=True)
class Compared:
    """N utterances as they are compared: normalised, and what `rates.score` wants to know."""

    references: list[str]
    hypotheses: list[str]
    units: list[str]
    clusters: list[list[tuple]]
    cluster: str  # what one is: speaker, recording or utterance

    @property
    def texts(self):
        """What all counts begin with."""
        return self.references, self.hypotheses


def compare(utterances: list[dict], conventions: Conventions) -> Compared:
    """Each utterance by the convention of its language.

    Clusters are speakers where enough are known, and an utterance of none is one by itself; else
    recordings where utterances are joined of them, or are segments of them; else utterances.
    """
    own = [conventions.of(utterance["language"]) for utterance in utterances]
    references, hypotheses = (
        [by.clean(utterance[key]) for by, utterance in zip(own, utterances)]
        for key in ("reference", "hypothesis")
    )
    if len({u["speaker"] for u in utterances} - {""}) >= rates.FEWEST:
        cluster = "speaker"
    else:
        shared = any(u["parts"] or u.get("recording") for u in utterances)
        cluster = "recording" if shared else "utterance"
    clusters = [
        _stretches(utterance, by, len(rates.units(reference, by.unit)), cluster == "speaker")
        for utterance, by, reference in zip(utterances, own, references)
    ]
    return Compared(references, hypotheses, [by.unit for by in own], clusters, cluster)


def _stretches(utterance, convention, length, by_speaker):
    """(cluster, reference units) of an utterance: of each of its recordings, or of its speaker."""
    if by_speaker and utterance["speaker"]:
        return [(("speaker", utterance["speaker"]), length)]
    parts = utterance["parts"] or [[utterance.get("recording", utterance["id"]), ""]]
    texts = [text for _, text in parts]
    ends = [len(convention.units(" ".join(texts[:n]))) for n in range(len(parts))] + [length]
    return [(("id", part), end - start) for (part, _), start, end in zip(parts, ends, ends[1:])]


def _count(compared: Compared) -> dict:
    found = rates.score(*compared.texts, unit=compared.units, clusters=compared.clusters)
    figures = {
        "utterances": found.utterances,
        "ref_len": found.ref_len,
        "sub": found.substitutions,
        "del": found.deletions,
        "ins": found.insertions,
        "error_rate": round(found.error_rate, 4),
        "ci_low": rounded(found.ci_low),
        "ci_high": rounded(found.ci_high),
        "ci_unit": compared.cluster,
    }
    if found.ci_low is None:
        number = f"{found.clusters} {compared.cluster}{'s' * (found.clusters > 1)}"
        figures["ci_reason"] = f"{number}: an interval needs {rates.FEWEST}"
    return figures


def _limits(utterances) -> dict:
    unread = [u for u in utterances if u.get("context_unread")]
    used = sum(bool(u["context"]) for u in unread)
    counts = {"cut": sum(u.get("cut", False) for u in utterances)}
    counts |= {"contexts_cut": used, "contexts_unused": len(unread) - used}
    return {key: count for key, count in counts.items() if count}


def describe(row: dict) -> list[str]:
    """A row of results as lines of a log: its error rate and, where it met any, its limits."""
    line, limits = f"{row['task']}  {row['decode']}  {row['error_rate']:.2f} %", _met(row)
    return [line, f"{row['task']}: {limits}"] if limits else [line]


def _met(row: dict) -> str:
    """The limits that a row reached, as text; "" where it reached none."""
    names = {
        "cut": "transcripts stop at the most tokens (eval.tokens; eval: --buckets)",
        "contexts_cut": "contexts are longer than any in training: cut from the left",
        "contexts_unused": "contexts are not used: the decoding or the model reads none",
        "unknown": "references have words that the tokenizer does not know and cannot write",
    }
    return "; ".join(f"{row[key]} {text}" for key, text in names.items() if key in row)


def rounded(bound: float | None) -> float | None:
    """A bound of an interval as results have it; None where there is none."""
    return None if bound is None else round(bound, 4)


def _names(utterances, compared, conventions) -> dict:
    """What only some tasks have."""

    def phrases(lists):
        own = (conventions.of(utterance["language"]) for utterance in utterances)
        return [[by.clean(phrase) for phrase in listed] for by, listed in zip(own, lists)]

    def written(lists):
        found = weighted.leaks(*compared.texts, phrases(lists), unit=compared.units)
        return {"insertions": found.insertions, "leaking": round(found.rate, 4)}

    more = {}
    if any(utterance["keywords"] for utterance in utterances):
        named = phrases(utterance["keywords"] for utterance in utterances)
        found = weighted.keywords(*compared.texts, named, unit=compared.units)
        names = ("recall", "loose_recall", "precision", "f1")
        more["keywords"] = {name: round(getattr(found, name), 4) for name in names}
    if any(utterance["context"] for utterance in utterances):
        more["context"] = written(prompts.split(utterance["context"]) for utterance in utterances)
    if any(utterance["siblings"] for utterance in utterances):
        more["siblings"] = written(utterance["siblings"] for utterance in utterances)
    return more
