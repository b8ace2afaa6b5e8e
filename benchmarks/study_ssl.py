"""Study of self-supervision before ten labelled minutes: its benefit; three seeds; resumable.

Takes hours.

    make study-ssl

A run trains the recipe ten_minutes.py with one seed, scores its three `ctc` stages on held-out
voices and sentences, and measures the phone information of frozen layers (phones.py). Raw results
go to docs/results/ssl/, a file per seed, from which the tables in docs/results.md are made. The
same command resumes: runs with a result are skipped, stages continue from their last checkpoint.
`--scale=0.05` is a trial whose results stay out of docs/.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys

import numpy as np
import pages
import phones
import ten_minutes

from seedasr_jax import checkpoint as checkpoints
from seedasr_jax.data_pipelines import loader
from seedasr_jax.decode import recogniser
from seedasr_jax.tables import markdown
from seedasr_jax.text import score
from seedasr_jax.text.vocab import open_vocabulary
from seedasr_jax.train import build
from seedasr_jax.workdir import read_rows as read

ROOT = pathlib.Path(__file__).resolve().parent.parent
RAW = ROOT / "docs/results/ssl"
PAGE = ROOT / "docs/results.md"
RECIPE = pathlib.Path(ten_minutes.__file__).resolve()
SEEDS = (0, 1, 2)
ARMS = {"ctc_scratch": "scratch", "ctc_ssl1": "after ssl1", "ctc_ssl2": "after ssl2"}
FIGURES = ("loss", "entropy", "accuracy", "majority", "perplexity")
LAST = 20  # logged steps over which figures are averaged
OVERFIT = 400  # steps on one batch


def measure(seed: int, work: pathlib.Path, scale: float) -> dict:
    """Trains and scores with one seed; returns the raw result."""
    folder = work / f"seed-{seed}"
    changes = {"seed": seed, "scale_steps": scale, "run.cache": work / "cache"}
    _seedasr(
        "train",
        f"--config={RECIPE}",
        f"--workdir={folder}",
        *(f"--config.{key}={value}" for key, value in changes.items()),
    )
    records = {
        path.parent.name: json.loads(path.read_text()) for path in folder.glob("*/stage.json")
    }
    return {
        "seed": seed,
        "steps": {name: record["step"] for name, record in records.items()},
        "cpu_seconds": {n: round(r["spent"]["cpu_seconds"]) for n, r in records.items()},
        "test": {arm: _score(folder / arm) for arm in ARMS},
        "probe": _probe(folder),
        "pretraining": {name: _figures(folder, name) for name in ("ssl1", "ssl2")},
        **_phones(folder, work / "cache"),
        "overfit": _overfit(folder, work / "cache", max(2, round(scale * OVERFIT))),
    }


def _seedasr(*arguments, **options):
    command = [sys.executable, "-m", "seedasr_jax.launch.cli", *map(str, arguments)]
    return subprocess.run(command, check=True, **options)


def _score(stage) -> dict:
    """The row of results.jsonl on the test split."""
    options = (f"--checkpoint={stage}", f"--tasks={ten_minutes.TEST}", "--json")
    return json.loads(_seedasr("eval", *options, stdout=subprocess.PIPE).stdout)[0]


def _probe(folder) -> dict:
    """Error rates of all layers on the development split, and the best layer."""
    row = read(folder / "probe/metrics.jsonl")[-1]
    layers = {key: rate for key, rate in row.items() if re.fullmatch(r"eval/.*/layers/\d+", key)}
    return {"layers": [layers[key] for key in sorted(layers)], "best": row["best_layer"]}


def _figures(folder, name) -> dict:
    """Figures of a stage's labels, averaged over its last logged steps."""
    rows = [row for row in read(folder / name / "metrics.jsonl") if "loss" in row][-LAST:]
    return {key: statistics.mean(row[key] for row in rows) for key in FIGURES}


def _phones(folder, cache) -> dict:
    """Frame accuracy of a linear classifier on every frozen layer, and figures of the labels."""
    vocab = open_vocabulary(folder / "vocab")
    opened = {name: checkpoints.open_checkpoint(folder / name) for name in ("ssl1", "ssl2")}
    stage = opened["ssl1"].stage
    fit, test = (
        phones.align(source, vocab, stage, cache)
        for source in (ten_minutes.LABELLED, ten_minutes.TEST)
    )

    def accuracy(features):
        return phones.accuracy(features(fit), fit.phones, features(test), test.phones)

    def curve(model):
        found = phones.layers(model, fit), phones.layers(model, test)
        return [phones.accuracy(a, fit.phones, b, test.phones) for a, b in zip(*found)]

    labels = {name: phones.labels(folder, name, vocab, fit) for name in opened}
    return {
        "phones": {
            "frames": len(test.phones),
            "majority": phones.majority(fit.phones, test.phones),
            "log-mel": accuracy(lambda aligned: phones.inputs(stage, aligned)),
            "untrained": curve(phones.untrained(stage, vocab)),
            **{name: curve(phones.trained(one, vocab)) for name, one in opened.items()},
        },
        "labels": {
            name: {
                "used_share": len(np.unique(codes)) / stage.model.quantizer.codes,
                "phone_information": phones.information(codes, fit.phones),
            }
            for name, codes in labels.items()
        },
    }


def _overfit(folder, cache, steps) -> dict:
    """Overfits ssl1 to a single batch: the loss must fall far below the entropy of its labels."""
    stage = checkpoints.open_checkpoint(folder / "ssl1").stage
    optim = dataclasses.replace(stage.optim, decay="constant")
    stage = dataclasses.replace(stage, optim=optim)
    vocab = open_vocabulary(folder / "vocab")
    built = build.build(stage, recogniser.special_tokens(vocab, stage.model.prompt), vocab.size)
    options = dict(seed=stage.seed, start=0, data_folder=cache, template=None)
    with loader.training(stage.data, vocab, **options) as stream:
        batch, _ = next(stream)
    step, state, rows = built.train_step(), built.fresh(), []
    for _ in range(steps):
        state, terms = step(state, batch)
        rows.append(built.objective.summary({k: terms[k] for k in ("loss", "accuracy", "codes")}))
    return {key: statistics.mean(float(row[key]) for row in rows[-LAST:]) for key in FIGURES} | {
        "steps": steps,
        "loss_first": float(rows[0]["loss"]),
    }


def tables(results: list[dict]) -> str:
    """The Markdown of docs/results.md between the markers."""

    def table(title, head, rows):
        return [f"### {title}\n\n{markdown(head, rows)}"]

    def percent(share):
        return f"{100 * share:.1f}"

    def rate(row):
        return f"{row['error_rate']:.1f} ({score.interval(row, 1)})"

    def mean(arm):
        rates = [result["test"][arm]["error_rate"] for result in results]
        spread = f" ± {statistics.stdev(rates):.1f}" if len(rates) > 1 else ""
        return f"**{statistics.mean(rates):.1f}**{spread}"

    def curve(values):
        best = max(values)
        return " / ".join(f"**{percent(v)}**" if v == best else percent(v) for v in values)

    out = table(
        "Word error rate on the test split (95 % interval; mean ± standard deviation over seeds)",
        ("seed", *ARMS.values()),
        [(r["seed"], *(rate(r["test"][arm]) for arm in ARMS)) for r in results]
        + [("mean", *map(mean, ARMS))],
    )
    out += table(
        "Figures of the stages of self-supervision",
        (
            *("seed", "stage", "loss", "entropy", "masked accuracy", "majority", "codes used"),
            *("phone information", "CPU s"),
        ),
        [
            (
                result["seed"],
                name,
                f"{row['loss']:.2f}",
                f"{row['entropy']:.2f}",
                percent(row["accuracy"]),
                percent(row["majority"]),
                percent(result["labels"][name]["used_share"]),
                percent(result["labels"][name]["phone_information"]),
                result["cpu_seconds"][name],
            )
            for result in results
            for name, row in result["pretraining"].items()
        ],
    )
    out += table(
        "The probe: word error rate on the development split by layer of `ssl1`",
        ("seed", "layers, the lowest first", "best"),
        [
            (r["seed"], " / ".join(f"{x:.1f}" for x in r["probe"]["layers"]), r["probe"]["best"])
            for r in results
        ],
    )
    out += table(
        "Phones of the frames of the test split by a linear classifier, the lowest layer first",
        ("seed", "majority", "log-mel", "untrained", "ssl1", "ssl2"),
        [
            (
                result["seed"],
                *(percent(result["phones"][key]) for key in ("majority", "log-mel")),
                *(curve(result["phones"][key]) for key in ("untrained", "ssl1", "ssl2")),
            )
            for result in results
        ],
    )
    out += table(
        "One batch alone (`ssl1`)",
        ("seed", "steps", "first loss", "last loss", "entropy", "masked accuracy", "majority"),
        [
            (
                *(result["seed"], row["steps"]),
                *(f"{row[key]:.2f}" for key in ("loss_first", "loss", "entropy")),
                *(percent(row[key]) for key in ("accuracy", "majority")),
            )
            for result in results
            for row in (result["overfit"],)
        ],
    )
    return "\n".join(out)


def write_page(raw: pathlib.Path, page: pathlib.Path):
    """Writes the tables of all raw results between the marks of the page."""
    results = [json.loads(path.read_text()) for path in sorted(raw.glob("*.json"))]
    pages.fill(page, "study-ssl", tables(results))


def main():
    """Makes all missing runs; writes a raw result and updates the page after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "runs/study-ssl")
    parser.add_argument("--seeds", type=int, nargs="*", default=SEEDS)
    parser.add_argument(
        "--scale", type=float, default=1.0, help="factor on all steps; below 1: a trial"
    )
    options = parser.parse_args()
    raw, page = RAW, PAGE
    if options.scale != 1:  # a trial's figures are not results: they stay out of docs/
        raw, page = options.work / "results", options.work / "results.md"
        raw.mkdir(parents=True, exist_ok=True)
        page.write_text("\n".join(pages.marks("study-ssl")))
    raw.mkdir(parents=True, exist_ok=True)
    for seed in options.seeds:
        path = raw / f"{seed}.json"
        if not path.exists():
            result = measure(seed, options.work, options.scale)
            partial = path.with_suffix(".tmp")
            partial.write_text(json.dumps(result, indent=1) + "\n")
            os.replace(partial, path)
        write_page(raw, page)


if __name__ == "__main__":
    main()
