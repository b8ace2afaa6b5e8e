"""`seedasr quickstart`: the digits recipe on speech made on the spot, up to a transcript."""

import importlib.metadata
import json
import os
import pathlib
import platform
import time

import numpy as np

from seedasr_jax import config
from seedasr_jax.audio import files
from seedasr_jax.data_pipelines import sources
from seedasr_jax.evaluate import sweep, transcribe
from seedasr_jax.launch import evaluate, export, recipes, report, run
from seedasr_jax.launch.progress import say
from seedasr_jax.train.metrics import peak_memory_gib, read

RECIPE = "digits"
TESTS = ("synth:digits?split=test", "synth:digits?split=test&join=3-6&seed=0")
PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint", "numpy", "tensorflow", "seqio")


def run_all(out: pathlib.Path) -> int:
    """Trains, scores on voices never heard, exports, and transcribes one file with the export.

    Args:
        out: where everything goes; the same folder again resumes.

    Returns:
        The exit code.
    """
    begun, cpu = time.monotonic(), _cpu()
    graph = recipes.expand(RECIPE, [])
    code = run.train(graph, out)
    if code:
        return code
    rows = []
    for stage in graph.stages:
        if graph.stages[stage].kind in ("ctc", "sft"):
            found, _ = evaluate.run(out / stage, TESTS, cache=out / "cache")
            rows += found
    bundle = out / "bundle"
    if not bundle.exists():
        say(export.bundle(out, bundle))
    transcript = _transcribe(bundle, out)
    summary = {
        "stages": {name: _stage(out, name, graph.stages[name], rows) for name in graph.stages},
        "totals": {
            "seconds": round(time.monotonic() - begun, 1),
            "cpu_seconds": round(_cpu() - cpu, 1),
            "peak_rss_gib": round(peak_memory_gib(), 2),
        },
        "transcript": transcript,
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in PACKAGES},
    }
    (out / "summary.json").write_text(json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
    page, totals = report.write(out), summary["totals"]
    print(sweep.table(rows))
    print(f"{transcript['audio']}: {transcript['hypothesis']} (said: {transcript['reference']})")
    print(f"{totals['seconds']:.0f} s, {totals['cpu_seconds']:.0f} CPU s; {page}")
    return 0


def _cpu() -> float:
    """CPU seconds of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _transcribe(bundle, out) -> dict:
    """Writes one joined test utterance as a file and reads it back with the exported bundle."""
    source = sources.open_source(TESTS[0] + "&limit=4", out / "cache")
    spoken = source.rows()
    gap = [0] * (files.RATE // 20)
    wave = [s for row in spoken for s in (*_wave(row), *gap)]
    path = out / "sample.wav"
    files.write(path, np.asarray(wave, np.int16), files.RATE)
    result = transcribe.load(bundle).transcribe_files([path])[0]
    reference = " ".join(row.text for row in spoken)
    sample = {"audio": path.name, "language": "en", "unit": "word", "reference": reference}
    sample["hypotheses"] = {"bundle": result.text}
    (out / "samples.jsonl").write_text(json.dumps(sample) + "\n")
    return {"audio": str(path), "reference": reference, "hypothesis": result.text}


def _wave(row):
    return files.read(row.audio, offset=row.offset, duration=row.seconds).tolist()


def _stage(out, name, stage: config.Stage, rows) -> dict:
    record = json.loads((out / name / "stage.json").read_text())
    logged = [row for row in read(out / name / "metrics.jsonl") if "loss" in row]
    found = {
        "steps": stage.steps,
        "seconds": round(record["spent"]["seconds"], 1),
        "cpu_seconds": round(record["spent"]["cpu_seconds"], 1),
        "loss_first": logged[0]["loss"],
        "loss_last": logged[-1]["loss"],
        "parent": {part: origin["checkpoint"] for part, origin in record["parents"].items()},
    }
    mine = [row for row in rows if row["checkpoint"].startswith(f"{name}@")]
    if mine:
        strings = mine[-1]
        found |= {
            "error_rate": {"all": strings["error_rate"]},
            "error_rate_ci": {"all": [strings["ci_low"], strings["ci_high"]]},
            "utterances": {"all": strings["utterances"]},
        }
    return found
