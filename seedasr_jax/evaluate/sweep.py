"""Scoring: a recogniser x a task x a decode setting -> a row of results.jsonl."""

from collections.abc import Iterable
import dataclasses
import json
import os
import pathlib

from seedasr_jax.batch import Batch
from seedasr_jax.decode.recogniser import Recogniser
from seedasr_jax.text import normalize, score

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
        The row of results.jsonl, and one dict per utterance: id, reference, hypothesis, and what
        the example said about itself.
    """
    utterances = []
    for batch, examples in batches:
        hypotheses = recogniser.decode(batch, setting.decode, setting.tokens)
        for example, hypothesis in zip(examples, hypotheses, strict=True):
            if example is not None:
                about = {k: getattr(example, k) for k in ("id", "speaker", "language", "dialect")}
                utterances.append(
                    about | {"reference": example.text, "hypothesis": hypothesis.text}
                )
    clean = [
        [normalize.normalize(setting.normalizer, utterance[key]) for utterance in utterances]
        for key in ("reference", "hypothesis")
    ]
    result = score.score(*clean, unit=setting.unit)
    row = {
        "checkpoint": checkpoint,
        "task": task,
        "decode": setting.decode,
        "normalizer": setting.normalizer,
        "utterances": result.utterances,
        "ref_len": result.ref_len,
        "sub": result.substitutions,
        "del": result.deletions,
        "ins": result.insertions,
        "error_rate": round(result.error_rate, 4),
        "ci_low": round(result.ci_low, 4),
        "ci_high": round(result.ci_high, 4),
    }
    return row, utterances


def write(folder: pathlib.Path, rows: list[dict], utterances: dict[str, list[dict]]):
    """Writes results.jsonl and transcripts.jsonl, each at once."""
    folder.mkdir(parents=True, exist_ok=True)
    said = [{"task": task} | u for task, listed in utterances.items() for u in listed]
    for name, lines in (("results.jsonl", rows), ("transcripts.jsonl", said)):
        temporary = folder / (name + ".tmp")
        with open(temporary, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        os.replace(temporary, folder / name)


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
