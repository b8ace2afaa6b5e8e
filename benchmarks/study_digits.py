"""Study of left-out speakers on real digits: each speaker, several seeds; resumable; hours.

    make study-digits SEEDASR_TEST_SPEECH=DIR      # DIR/fsdd/{train,test,manifest}.jsonl

Each run trains the recipe `digits` without one speaker, with clocked positions and with the paper's
(`frames`), and scores both LLMs and the CTC head on new recordings of the known speakers and on all
recordings of the left-out one. Unclocked positions are trained with the first seed only. Raw
results go to docs/results/digits/, a file per run, from which the tables in docs/results.md are
made. `--jobs=2` makes two runs in parallel, each on half of the cores.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import queue
import statistics
import subprocess
import sys

import pages

from seedasr_jax.launch import recipes
from seedasr_jax.tables import markdown
from seedasr_jax.text import score

ROOT = pathlib.Path(__file__).resolve().parent.parent
RAW = ROOT / "docs/results/digits"
PAGE = ROOT / "docs/results.md"
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "yweweler")
SEEDS = (0, 1, 2)
JOIN = "join=3-6&seed=0"
FRAMES = pathlib.Path(__file__).resolve().parent / "digits_frames.py"


def measure(speech: pathlib.Path, speaker: str, seed: int, work: pathlib.Path, cores) -> dict:
    """Trains without a speaker and scores; returns the raw result. `cores`: cores of the run."""

    def seedasr(*arguments, **options):
        command = [sys.executable, "-m", "seedasr_jax.launch.cli", *map(str, arguments)]
        command = ["taskset", "--cpu-list", ",".join(map(str, cores)), *command]
        return subprocess.run(command, check=True, **options)

    folder, manifest = work / f"{speaker}-{seed}", speech / "fsdd"
    both = seed == SEEDS[0]
    recipe = FRAMES if both else "digits"
    seedasr(
        "train",
        f"--config={recipe}:{manifest}/train.jsonl?without={speaker}",
        f"--workdir={folder}",
        f"--config.seed={seed}",
        f"--config.run.cache={work}/cache",
    )
    tasks = {
        "known singles": f"manifest:{manifest}/test.jsonl?without={speaker}",
        "known strings": f"manifest:{manifest}/test.jsonl?without={speaker}&{JOIN}",
        "left-out singles": f"manifest:{manifest}/manifest.jsonl?speaker={speaker}",
        "left-out strings": f"manifest:{manifest}/manifest.jsonl?speaker={speaker}&{JOIN}",
    }
    rows = {}
    for stage in ("ctc", "sft", "sft_frames") if both else ("ctc", "sft"):
        out = seedasr(
            "eval",
            f"--checkpoint={folder / stage}",
            f"--tasks={','.join(tasks.values())}",
            "--json",
            stdout=subprocess.PIPE,
        )
        rows[stage] = dict(zip(tasks, json.loads(out.stdout), strict=True))
    return {
        "speaker": speaker,
        "seed": seed,
        "steps": {n: s.steps for n, s in recipes.expand("digits", []).stages.items()},
        "rows": rows,
    }


def tables(results: list[dict]) -> str:
    """The Markdown of docs/results.md between the markers."""

    def rate(result, stage, task):
        return result["rows"][stage][task]["error_rate"]

    def cell(result, stage, task):
        if stage not in result["rows"]:
            return ""
        row = result["rows"][stage][task]
        return f"{row['error_rate']:.1f} ({score.interval(row, 1)})"

    def mean(stage, task):
        rates = [rate(result, stage, task) for result in results if stage in result["rows"]]
        half = 0.0
        if len(rates) > 1:  # normal interval over runs; wide, since there are few speakers
            half = 1.96 * statistics.stdev(rates) / len(rates) ** 0.5
        return f"**{statistics.mean(rates):.1f}** ± {half:.1f} ({len(rates)} runs)" if rates else ""

    stages = (("ctc", "CTC"), ("sft", "LLM, clocked"), ("sft_frames", "LLM, frames"))
    head, out = ("left out", "seed", *(label for _, label in stages)), []
    for task in ("left-out strings", "left-out singles", "known strings", "known singles"):
        rows = [
            (result["speaker"], result["seed"], *(cell(result, stage, task) for stage, _ in stages))
            for result in results
        ]
        rows.append(("mean", "", *(mean(stage, task) for stage, _ in stages)))
        out.append(f"### {task.capitalize()}\n\n{markdown(head, rows)}")
    return "\n".join(out)


def write_page():
    """Writes the tables of all raw results between the marks of docs/results.md."""
    results = [json.loads(path.read_text()) for path in sorted(RAW.glob("*.json"))]
    pages.fill(PAGE, "study-digits", tables(results))


def main():
    """Makes all missing runs; writes a raw result and updates the page after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--speech", type=pathlib.Path, required=True, help="folder with fsdd/")
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "runs/study-digits")
    parser.add_argument("--seeds", type=int, nargs="*", default=SEEDS)
    parser.add_argument("--jobs", type=int, default=1, help="runs in parallel")
    options = parser.parse_args()
    RAW.mkdir(parents=True, exist_ok=True)
    cores = sorted(os.sched_getaffinity(0))
    shares = queue.SimpleQueue()
    for job in range(options.jobs):
        shares.put(cores[job :: options.jobs])

    def run(seed, speaker):
        share = shares.get()
        try:
            result = measure(options.speech.resolve(), speaker, seed, options.work, share)
        finally:
            shares.put(share)
        (RAW / f"{speaker}-{seed}.json").write_text(json.dumps(result, indent=1) + "\n")

    wanted = [(seed, speaker) for seed in options.seeds for speaker in SPEAKERS]
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        runs = [
            pool.submit(run, seed, speaker)
            for seed, speaker in wanted
            if not (RAW / f"{speaker}-{seed}.json").exists()
        ]
        for done in concurrent.futures.as_completed(runs):
            done.result()
            write_page()
    write_page()


if __name__ == "__main__":
    main()
