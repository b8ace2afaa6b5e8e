"""Left-out speakers on real digits: every speaker in turn, several seeds; resumes; hours.

    make study-digits SEEDASR_TEST_SPEECH=DIR      # DIR/fsdd/{train,test,manifest}.jsonl

Each run trains the recipe `digits` without one speaker, with the paper's form of the positions
(`frames`) beside the clocked ones, and scores both LLMs and the CTC head on new recordings of the
known speakers and on all recordings of the one left out. Raw results go to docs/results/digits/, a
file per run; the tables in docs/results.md are made from them.
"""

import argparse
import json
import pathlib
import re
import statistics
import subprocess
import sys
import time

from seedasr_jax.configs import common, digits
from seedasr_jax.launch import recipes

ROOT = pathlib.Path(__file__).resolve().parent.parent
RAW = ROOT / "docs/results/digits"
PAGE = ROOT / "docs/results.md"
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "yweweler")
SEEDS = (0, 1, 2)
JOIN = "join=3-6&seed=0"
BEGIN, END = "<!-- study-digits -->", "<!-- end of study-digits -->"


def get_config(manifest):
    """The recipe `digits` and, beside its lm and sft, the same with unclocked positions."""
    c = digits.get_config(manifest).unlock()
    for name in ("lm", "sft"):
        stage = c.stages[f"{name}_frames"] = common.copy(c.stages[name])
        stage.model = dict(small=dict(speech_positions="frames"))
    c.stages.sft_frames.init.decoder = "lm_frames"
    return c.lock()


def measure(speech: pathlib.Path, speaker: str, seed: int, work: pathlib.Path, overrides) -> dict:
    """Trains without a speaker and scores; returns the raw result."""
    seedasr = [sys.executable, "-m", "seedasr_jax.launch.cli"]
    folder = work / f"{speaker}-{seed}"
    manifest = speech / "fsdd"
    begun = time.monotonic()
    subprocess.run(
        [
            *seedasr,
            "train",
            f"--config={pathlib.Path(__file__)}:{manifest}/train.jsonl?without={speaker}",
            f"--workdir={folder}",
            f"--config.seed={seed}",
            f"--config.run.cache={work}/cache",
            *overrides,
        ],
        check=True,
    )
    seconds = time.monotonic() - begun
    tasks = {
        "known singles": f"manifest:{manifest}/test.jsonl?without={speaker}",
        "known strings": f"manifest:{manifest}/test.jsonl?without={speaker}&{JOIN}",
        "left-out singles": f"manifest:{manifest}/manifest.jsonl?speaker={speaker}",
        "left-out strings": f"manifest:{manifest}/manifest.jsonl?speaker={speaker}&{JOIN}",
    }
    rows = {}
    for stage in ("ctc", "sft", "sft_frames"):
        out = subprocess.run(
            [
                *seedasr,
                "eval",
                f"--checkpoint={folder / stage}",
                f"--tasks={','.join(tasks.values())}",
                "--json",
            ],
            check=True,
            stdout=subprocess.PIPE,
        )
        rows[stage] = dict(zip(tasks, json.loads(out.stdout), strict=True))
    steps = {n: s.steps for n, s in recipes.expand("digits", []).stages.items()}
    return {
        "speaker": speaker,
        "seed": seed,
        "train_seconds": round(seconds, 1),
        "steps": steps,
        "overrides": list(overrides),
        "rows": rows,
    }


def tables(results: list[dict]) -> str:
    """The Markdown of docs/results.md between the markers."""

    def rate(result, stage, task):
        return result["rows"][stage][task]["error_rate"]

    def cell(result, stage, task):
        row = result["rows"][stage][task]
        return f"{row['error_rate']:.1f} ({row['ci_low']:.1f} to {row['ci_high']:.1f})"

    def mean(stage, task):
        rates = [rate(result, stage, task) for result in results]
        half = 0.0
        if len(rates) > 1:  # over runs; the speakers are few, so this is a wide normal interval
            half = 1.96 * statistics.stdev(rates) / len(rates) ** 0.5
        return f"**{statistics.mean(rates):.1f}** ± {half:.1f}"

    stages = (("ctc", "CTC"), ("sft", "LLM, clocked"), ("sft_frames", "LLM, frames"))
    out = []
    for task in ("left-out strings", "left-out singles", "known strings", "known singles"):
        out += [
            f"### {task.capitalize()}",
            "",
            "| left out | seed | " + " | ".join(label for _, label in stages) + " |",
            "|---|---|" + "---|" * len(stages),
        ]
        for result in results:
            cells = " | ".join(cell(result, stage, task) for stage, _ in stages)
            out.append(f"| {result['speaker']} | {result['seed']} | {cells} |")
        cells = " | ".join(mean(stage, task) for stage, _ in stages)
        out += [f"| mean of {len(results)} runs | | {cells} |", ""]
    return "\n".join(out)


def write_page():
    """Puts the tables of all raw results between the markers of docs/results.md."""
    results = [json.loads(path.read_text()) for path in sorted(RAW.glob("*.json"))]
    text = PAGE.read_text()
    block = f"{BEGIN}\n{tables(results)}\n{END}"
    PAGE.write_text(re.sub(f"{BEGIN}.*{END}", lambda _: block, text, flags=re.DOTALL))


def main():
    """Runs what is missing, a raw result each, and renews the page after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--speech", type=pathlib.Path, required=True, help="folder with fsdd/")
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "runs/study-digits")
    parser.add_argument("--seeds", type=int, nargs="*", default=SEEDS)
    options, overrides = parser.parse_known_args()
    RAW.mkdir(parents=True, exist_ok=True)
    for seed in options.seeds:
        for speaker in SPEAKERS:
            path = RAW / f"{speaker}-{seed}.json"
            if path.exists():
                continue
            result = measure(options.speech.resolve(), speaker, seed, options.work, overrides)
            path.write_text(json.dumps(result, indent=1) + "\n")
            write_page()
    write_page()


if __name__ == "__main__":
    main()
