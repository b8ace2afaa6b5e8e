"""Scoring: a recogniser x a task x a decode setting -> a row of results.jsonl."""

from collections.abc import Iterable
import dataclasses
import pathlib

from seedasr_jax import workdir as disk
from seedasr_jax.batch import Batch
from seedasr_jax.decode.recogniser import Recogniser
from seedasr_jax.text import normalize, prompts, score, weighted

# What an example says about itself, and stays with its transcript.
ABOUT = (
    *("id", "seconds", "language", "dialect", "domain", "speaker"),
    *("context", "context_kind", "keywords", "siblings"),
)
CELL = ("checkpoint", "task", "decode", "normalizer")  # keys of a row that say what it measures


@dataclasses.dataclass(frozen=True)
class Setting:
    """How to decode and to score."""

    decode: str  # a name of decode/methods.py
    normalizer: str
    unit: str  # word, char or mixed
    tokens: int  # at most


def check(recogniser: Recogniser, setting: Setting):
    """Fails early where `evaluate` would fail late.

    Raises:
        ConfigError: a decoding that the model cannot do, or an unknown normaliser or unit.
    """
    recogniser.check(setting.decode)
    normalize.normalize(setting.normalizer, "")
    score.units("", setting.unit)


def evaluate(
    recogniser: Recogniser,
    checkpoint: str,
    task: str,
    batches: Iterable[tuple[Batch, list]],
    setting: Setting,
) -> tuple[dict, list[dict]]:
    """Decodes and scores a task.

    Args:
        recogniser: what is scored.
        checkpoint: its label, STAGE@STEP#hash.
        task: its name.
        batches: Batches, each with its examples, None in a row that is only filled up.
        setting: see Setting.

    Returns:
        The row of results.jsonl, and one dict per utterance: what the example said about itself,
        reference and hypothesis. Beside the figures of `measure` the row has those of each language
        and dialect, where the examples differ in it.
    """
    utterances = []
    for batch, examples in batches:
        hypotheses = recogniser.decode(batch, setting.decode, setting.tokens)
        for example, hypothesis in zip(examples, hypotheses, strict=True):
            if example is not None:
                about = {key: getattr(example, key) for key in ABOUT}
                said = {"reference": example.text, "hypothesis": hypothesis.text}
                utterances.append(about | said)
    cell = dict(zip(CELL, (checkpoint, task, setting.decode, setting.normalizer)))
    row = cell | measure(utterances, setting)
    for key in ("language", "dialect"):
        tags = sorted({utterance[key] for utterance in utterances} - {""})
        if len(tags) > 1:
            row[f"by_{key}"] = {
                tag: measure([u for u in utterances if u[key] == tag], setting) for tag in tags
            }
    return row, utterances


def measure(utterances: list[dict], setting: Setting) -> dict:
    """The figures of utterances as `evaluate` returns them.

    Counts and error rate. Where they name `keywords`, how those came through; where they have a
    `context`, how often a name was written that was told but not said; where they have `siblings`,
    how often one of those was written that was not said.
    """
    return _count(utterances, setting) | _names(utterances, setting)


def _clean(utterances, setting):
    """References and hypotheses, normalised."""
    return [
        [normalize.normalize(setting.normalizer, utterance[key]) for utterance in utterances]
        for key in ("reference", "hypothesis")
    ]


def _count(utterances, setting) -> dict:
    result = score.score(*_clean(utterances, setting), unit=setting.unit)
    return {
        "utterances": result.utterances,
        "ref_len": result.ref_len,
        "sub": result.substitutions,
        "del": result.deletions,
        "ins": result.insertions,
        "error_rate": round(result.error_rate, 4),
        "ci_low": round(result.ci_low, 4),
        "ci_high": round(result.ci_high, 4),
    }


def _names(utterances, setting) -> dict:
    """What only some tasks have."""

    def phrases(listed):
        clean = (normalize.normalize(setting.normalizer, phrase) for phrase in listed)
        return [phrase for phrase in clean if phrase]

    def written(lists):
        found = weighted.leaks(*texts, [phrases(listed) for listed in lists], unit=setting.unit)
        return {"insertions": found.insertions, "leaking": round(found.rate, 4)}

    more, texts = {}, _clean(utterances, setting)
    if any(utterance["keywords"] for utterance in utterances):
        named = [phrases(utterance["keywords"]) for utterance in utterances]
        found = weighted.keywords(*texts, named, unit=setting.unit)
        names = ("recall", "loose_recall", "precision", "f1")
        more["keywords"] = {name: round(getattr(found, name), 4) for name in names}
    if any(utterance["context"] for utterance in utterances):
        told = (utterance["context"] for utterance in utterances)
        more["context"] = written(text.split(prompts.SEPARATOR.strip()) for text in told)
    if any(utterance["siblings"] for utterance in utterances):
        more["siblings"] = written(utterance["siblings"] for utterance in utterances)
    return more


def write(folder: pathlib.Path, rows: list[dict], utterances: dict[str, list[dict]]):
    """Writes transcripts.jsonl, then results.jsonl, each at once."""
    folder.mkdir(parents=True, exist_ok=True)
    said = [{"task": task} | u for task, listed in utterances.items() for u in listed]
    disk.write_rows(folder / disk.TRANSCRIPTS, said)
    disk.write_rows(folder / disk.RESULTS, rows)


def table(rows: list[dict]) -> str:
    """The rows for a person: checkpoint, task, decoding, utterances, error rate and interval."""
    head = ("checkpoint", "task", "decode", "utterances", "error rate %", "95 % interval")
    lines = [head] + [
        (
            row["checkpoint"],
            row["task"],
            row["decode"],
            str(row["utterances"]),
            f"{row['error_rate']:.2f}",
            f"{row['ci_low']:.2f} to {row['ci_high']:.2f}",
        )
        for row in rows
    ]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths)).rstrip() for line in lines)
