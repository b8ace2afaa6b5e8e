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

# Attributes of an example that are copied to its transcript.
ABOUT = (
    *("id", "seconds", "language", "dialect", "domain", "speaker"),
    *("context", "context_unread", "context_kind", "keywords", "siblings"),
)
# Keys of a row that identify its cell of a sweep.
CELL = ("checkpoint", "task", "decode", "normalizer", "unit")


@dataclasses.dataclass(frozen=True)
class Setting:
    """Settings of decoding and scoring."""

    decode: str  # a name of decode/methods.py
    conventions: Conventions  # normaliser and unit, by language


def setting(how: config.Eval, decode="", normalizer="", unit="", language="row") -> Setting:
    """The setting that scores a stage: by language, with `how` as default if none is stated.

    `decode`: method instead of the stage's; `normalizer`, `unit`: for utterances of any language;
    `language`: of all utterances, "row": as each states it. An unknown name is a ConfigError.
    """
    unstated, language = Convention(how.normalizer, how.unit), "" if language == "row" else language
    by = Conventions(unstated, normalizer or BY_LANGUAGE, unit or BY_LANGUAGE, language)
    return Setting(decode or how.decode, by)


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
        recogniser, checkpoint: recogniser and label of a checkpoint.
        task: name of the task.
        batches: Batches, whose room in `ids` is the maximum number of decoded tokens; each with its
            examples: None for a padding row, CONTINUED for one that continues the previous example.
        setting: settings of decoding and scoring.
        order: the examples in the order of the result; empty: as decoded. Batches are by length, so
            without it files and bootstrap draws would depend on shapes.
        unknown: number of utterances whose reference the tokenizer cannot represent.

    Returns:
        The row of results.jsonl, and one dict per utterance: attributes of the example, reference
        and hypothesis. The row has the figures of `measure`, also for each language, dialect and
        kind of context if the examples differ in it.
    """
    decoded: list[tuple] = []  # (example, hypotheses of its segments)
    for batch, examples in batches:
        hypotheses = recogniser.decode(batch, setting.decode)
        for example, hypothesis in zip(examples, hypotheses, strict=True):
            if example is CONTINUED:
                decoded[-1][1].append(hypothesis)
            elif example is not None:
                decoded.append((example, [hypothesis]))
    if order:
        ranks = {id(example): rank for rank, example in enumerate(order)}
        decoded.sort(key=lambda pair: ranks[id(pair[0])])
    uses = collections.Counter(example.audio for example, _ in decoded)
    utterances, recordings = [], {}
    for example, hypotheses in decoded:
        about = {key: getattr(example, key) for key in ABOUT}
        if example.audio and uses[example.audio] > 1:  # a segment, named by the first of its file
            about["recording"] = recordings.setdefault(example.audio, example.id)
        about["parts"] = [[segment.id, segment.text] for segment in example.segments]
        found = joined(hypotheses)
        texts = {"reference": example.text, "hypothesis": found.text, "cut": found.cut}
        utterances.append(about | texts)
    languages = [utterance["language"] for utterance in utterances]
    used = setting.conventions.used(languages)
    cell = dict(zip(CELL, (checkpoint, task, setting.decode, *used), strict=True))
    row = cell | measure(utterances, setting.conventions)
    if BY_LANGUAGE in used and (undecided := setting.conventions.undecided(languages)):
        convention = dataclasses.asdict(setting.conventions.of(""))
        row["unstated"] = {"utterances": len(undecided)} | convention
    for key in ("language", "dialect", "context_kind"):
        groups = grouped(utterances, key)
        groups.pop("", None)
        if len(groups) > 1:
            figures = {tag: measure(group, setting.conventions) for tag, group in groups.items()}
            row[f"by_{key}"] = figures
    if unknown:
        row["unknown"] = unknown
    return row, utterances


def grouped(utterances: Iterable[dict], key: str) -> dict[str, list[dict]]:
    """Groups utterances (as `evaluate` returns them) by the value of a key, sorted by it."""
    found: dict[str, list[dict]] = {}
    for utterance in utterances:
        found.setdefault(utterance[key], []).append(utterance)
    return dict(sorted(found.items()))


def measure(utterances: list[dict], conventions: Conventions) -> dict:
    """The figures of utterances as `evaluate` returns them: counts and error rate.

    If the model reached its limits, `cut` counts transcripts that stopped at the maximum number of
    tokens, `contexts_cut` and `contexts_unused` utterances whose context was read in part and not
    at all; keys with a count of 0 are left out. With `keywords`, their recall; with `context` or
    `siblings`, how often a name of it was transcribed that was not spoken.
    """
    compared = compare(utterances, conventions)
    return _count(compared) | _limits(utterances) | _names(utterances, compared, conventions)


@dataclasses.dataclass(frozen=True)
class Compared:
    """Arguments of `rates.score` for N normalised utterances."""

    texts: tuple[list[str], list[str]]  # references and hypotheses
    units: list[str]
    clusters: list[list[tuple]]
    cluster: str  # kind of cluster: speaker, recording or utterance


def compare(utterances: list[dict], conventions: Conventions) -> Compared:
    """Normalises each utterance by the convention of its language and assigns clusters.

    Clusters are speakers if enough are known (an utterance without one is its own cluster), else
    recordings if utterances are joined from several or are segments of one, else utterances.
    """
    conventions = [conventions.of(utterance["language"]) for utterance in utterances]
    references, hypotheses = (
        [by.clean(utterance[key]) for by, utterance in zip(conventions, utterances)]
        for key in ("reference", "hypothesis")
    )
    if len({u["speaker"] for u in utterances} - {""}) >= rates.FEWEST:
        cluster = "speaker"
    else:
        shared = any(u["parts"] or u.get("recording") for u in utterances)
        cluster = "recording" if shared else "utterance"
    clusters = [
        _clusters(utterance, by, len(rates.units(reference, by.unit)), cluster == "speaker")
        for utterance, by, reference in zip(utterances, conventions, references)
    ]
    units = [by.unit for by in conventions]
    return Compared((references, hypotheses), units, clusters, cluster)


def _clusters(utterance, convention, length, by_speaker):
    """(cluster, number of reference units) for an utterance's speaker or each of its recordings."""
    if by_speaker and utterance["speaker"]:
        return [(("speaker", utterance["speaker"]), length)]
    segments = utterance["parts"] or [[utterance.get("recording", utterance["id"]), ""]]
    texts = [text for _, text in segments]
    ends = [len(convention.units(" ".join(texts[:n]))) for n in range(len(texts))] + [length]
    return [(("id", name), end - start) for (name, _), start, end in zip(segments, ends, ends[1:])]


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
    """A row of results as log lines: its error rate and, if any, the limits that it reached."""
    names = {
        "cut": "transcripts stop at the maximum number of tokens (eval.tokens; eval: --buckets)",
        "contexts_cut": "contexts are longer than any in training: cut from the left",
        "contexts_unused": "contexts are not used: the decoding or the model reads none",
        "unknown": "references have words that are not in the tokenizer's vocabulary",
    }
    limits = "; ".join(f"{row[key]} {text}" for key, text in names.items() if key in row)
    line = f"{row['task']}  {row['decode']}  {row['error_rate']:.2f} %"
    return [line, f"{row['task']}: {limits}"] if limits else [line]


def rounded(bound: float | None) -> float | None:
    """A bound of an interval, rounded as in results; None if there is none."""
    return None if bound is None else round(bound, 4)


def _names(utterances, compared, conventions) -> dict:
    """Figures of keywords, contexts and siblings, for tasks that have them."""

    def phrases(lists):
        by_row = (conventions.of(utterance["language"]) for utterance in utterances)
        return [[by.clean(phrase) for phrase in listed] for by, listed in zip(by_row, lists)]

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
