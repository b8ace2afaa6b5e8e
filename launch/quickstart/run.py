"""`seedasr quickstart`: trains on synthetic speech, scores, exports, transcribes, reports.

The evaluations are listed in plans.py. Test sets are read only here, after training.
"""

import importlib.metadata
import pathlib
import platform

from seedasr_jax import filesystem
from seedasr_jax import workdir as disk
from seedasr_jax.audio import files
from seedasr_jax.data_pipelines import sources
from seedasr_jax.data_pipelines.synth import facts
from seedasr_jax.errors import DONE
from seedasr_jax.evaluate import cells, transcribe
from seedasr_jax.launch import evaluate, export, recipes
from seedasr_jax.launch import run as training
from seedasr_jax.launch.progress import say
from seedasr_jax.launch.quickstart import meter, plans, report, summary

RECIPE = "commands"
SHAPES = evaluate.SHAPES[1:]  # few utterances are shorter: one program less to compile
SAMPLES = 2  # utterances per language on the page
PACKAGES = (
    *("seedasr_jax", "jax", "flax", "optax", "orbax-checkpoint", "numpy"),
    *("tensorflow", "seqio", "espeakng-loader"),
)

_SHOWN = ("test", "strings")


def run_all(out: pathlib.Path, *, recipe=RECIPE, overrides=(), limit=0, install_seconds=0.0) -> int:
    """Trains, scores on unseen voices, exports, transcribes with the bundle; returns the exit code.

    Args:
        out: folder for all output; a run in the same folder resumes.
        recipe: name of the recipe, also of its corpus.
        overrides: (key, text) of the recipe, as on a command line.
        limit: utterances of each test, for trial runs; 0: all.
        install_seconds: duration of the installation, for the summary.
    """
    filesystem.check_writable(out, "--out")
    out.mkdir(parents=True, exist_ok=True)
    with meter.Meter(out / disk.SPENT, install_seconds) as spent:
        graph = recipes.expand(recipe, list(overrides))
        if code := training.train(graph, out):
            return code
        found = {stage: {} for stage in graph.stages}
        for (stage, decode), tests in plans.plan(recipe, graph.stages, limit).items():
            folder = out / stage / disk.EVAL / (decode or "own")
            options = dict(decode=decode, out=folder, cache=out / disk.CACHE)
            options["buckets"] = evaluate.of_shapes(graph.stages[stage], SHAPES)
            evaluate.run(out / stage, list(tests.values()), kept=True, **options)
            found[stage] |= summary.read(folder, tests)
        say(export.bundle(out, out / disk.BUNDLE))
        first = _write_samples(out, recipe, found)
        audio, reference = out / first["audio"], first["reference"]
        (transcript,) = transcribe.load(out / disk.BUNDLE).transcribe_files([audio])
        hypothesis = transcript.text
        made = {
            "stages": summary.stages(out, graph.stages, found),
            "data": facts.of(sources.synthesised(recipe, out / disk.CACHE)),
            "totals": spent.totals(),
            "transcript": {
                "audio": str(audio),
                "reference": reference,
                "hypothesis": hypothesis,
            },
            "versions": {"python": platform.python_version()}
            | {name: importlib.metadata.version(name) for name in PACKAGES},
        }
    disk.write_json(out / disk.SUMMARY, made)
    page, totals = report.write(out), made["totals"]
    print(cells.table([own[name].row for own in found.values() for name in _SHOWN if name in own]))
    print(f"{audio}: {hypothesis} (reference: {reference})")
    print(f"{totals['seconds']:.0f} s, {totals['cpu_seconds']:.0f} CPU s; {page}")
    return DONE


def _write_samples(out, recipe, found) -> dict:
    """Writes samples.jsonl and its WAV files; returns the first row."""
    scored = [name for name, own in found.items() if own]
    results = {name: found[name]["test"] for name in dict.fromkeys((scored[0], scored[-1]))}
    source = sources.open_source(f"synth:{recipe}?split=test", out / disk.CACHE)
    by_id = {row.id: row for row in source.rows()}
    rows = summary.samples(results, SAMPLES)
    (out / disk.SOUNDS).mkdir(exist_ok=True)
    for sample in rows:
        row = by_id[sample["id"]]
        sample["audio"] = f"{disk.SOUNDS}/{row.id}.wav"
        wave = files.read(row.audio, offset=row.offset, duration=row.seconds)
        files.write(out / sample["audio"], wave, files.RATE)
    disk.write_rows(out / disk.SAMPLES, rows)
    return rows[0]
