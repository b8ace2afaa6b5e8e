"""`seedasr quickstart`: every stage on speech made on the spot; scored, exported, used, shown.

The evaluations are listed in PLANS. Test sets are read here alone, after training.
"""

import importlib.metadata
import pathlib
import platform

from seedasr_jax import config
from seedasr_jax import workdir as disk
from seedasr_jax.audio import files
from seedasr_jax.data_pipelines import sources
from seedasr_jax.data_pipelines.synth import facts
from seedasr_jax.errors import DONE
from seedasr_jax.evaluate import cells, score, transcribe
from seedasr_jax.launch import evaluate, export, meter, recipes, report, run, summary
from seedasr_jax.launch.progress import say

RECIPE = "commands"
SHAPES = evaluate.SHAPES[1:]  # few are shorter: a program less to compile
SAMPLES = 2  # of each language on the page
PACKAGES = (
    *("seedasr_jax", "jax", "flax", "optax", "orbax-checkpoint", "numpy"),
    *("tensorflow", "seqio", "espeakng-loader"),
)

_READ = ("sft", "context_sft", "rl")  # lists; `sft` too: its `lm` trained on lists
_ALL = ("ctc", *_READ)
_FEW = "split=unseen_names&context=distractors_3&limit=80"
_BEAM = "beam4,alpha=6"  # and how `commands` reads lists, but there nothing is cut
PLANS = {  # by recipe
    # name, query behind synth:RECIPE?, stages, decoding ("": the stage's own)
    "digits": (
        ("test", "split=test", _ALL, ""),
        ("strings", "split=test&join=3-6&seed=0", _ALL, ""),
    ),
    "commands": (
        ("test", "split=test", _ALL, ""),
        ("test_distractors_3", "split=test&context=distractors_3&names=homophones", _ALL, ""),
        ("none", "split=homophones&context=none", _READ, ""),
        ("right_3", "split=homophones&context=right_3", _ALL, ""),
        ("wrong_3", "split=homophones&context=wrong_3", _READ, ""),
        ("distractors_3", "split=homophones&context=distractors_3", _ALL, ""),
        ("unseen_none", "split=unseen_names&context=none", _READ, ""),
        ("unseen_right_3", "split=unseen_names&context=right_3", _ALL, ""),
        ("unseen_distractors_3", "split=unseen_names&context=distractors_3", _ALL, ""),
        ("pruning_on", _FEW, _READ, _BEAM),
        ("pruning_off", _FEW, _READ, f"{_BEAM},prune=off"),
        ("dev_distractors_3", "split=dev&context=distractors_3&names=train", ("ctc",), ""),
    ),
}
_SHOWN = ("test", "strings")


def run_all(out: pathlib.Path, *, recipe=RECIPE, overrides=(), limit=0, install_seconds=0.0) -> int:
    """Trains, scores on voices never heard, exports, transcribes one file with the export.

    Args:
        out: where everything goes; the same folder again resumes.
        recipe: of the same name as its corpus.
        overrides: of the recipe, (key, text) as on a command line.
        limit: utterances of each test, for trying things out; 0: all.
        install_seconds: what installing took before this, for the summary.

    Returns:
        The exit code.
    """
    disk.try_place(out, "--out")
    out.mkdir(parents=True, exist_ok=True)
    with meter.Meter(out / disk.SPENT, install_seconds) as spent:
        graph = recipes.expand(recipe, list(overrides))
        if code := run.train(graph, out):
            return code
        found = {stage: {} for stage in graph.stages}
        for (stage, decode), tests in plan(recipe, graph.stages, limit).items():
            folder = out / stage / disk.EVAL / (decode or "own")
            options = dict(decode=decode, out=folder, cache=out / disk.CACHE)
            options["buckets"] = evaluate.of_shapes(graph.stages[stage], SHAPES)
            evaluate.run(out / stage, list(tests.values()), kept=True, **options)
            found[stage] |= summary.read(folder, tests)
        say(export.bundle(out, out / "bundle"))
        first = _write_samples(out, recipe, found)
        heard = transcribe.load(out / "bundle").transcribe_files([out / first["audio"]])[0].text
        said = {"audio": str(out / first["audio"]), "reference": first["reference"]}
        made = {
            "stages": _stages(out, graph.stages, found),
            "data": facts.of(sources.synthesised(recipe, out / disk.CACHE)),
            "totals": spent.totals(),
            "transcript": said | {"hypothesis": heard},
            "versions": {"python": platform.python_version()}
            | {name: importlib.metadata.version(name) for name in PACKAGES},
        }
    disk.write_json(out / disk.SUMMARY, made)
    page, totals = report.write(out), made["totals"]
    print(cells.table([own[name].row for own in found.values() for name in _SHOWN if name in own]))
    print(f"{said['audio']}: {heard} (said: {said['reference']})")
    print(f"{totals['seconds']:.0f} s, {totals['cpu_seconds']:.0f} CPU s; {page}")
    return DONE


def plan(recipe: str, stages, limit: int = 0) -> dict[tuple[str, str], dict[str, str]]:
    """(stage, decoding) -> {test: SPEC}, of the stages that there are.

    Lists of names are tried where the graph trains with them.
    """
    found = {}
    for name, query, scored, decode in PLANS[recipe]:
        if "context" in query and "context_sft" not in stages:
            continue
        if limit:
            query = f"{query.partition('&limit=')[0]}&limit={limit}"
        for stage in scored:
            if stage in stages:
                found.setdefault((stage, decode), {})[name] = f"synth:{recipe}?{query}"
    return found


def _stages(out, stages, found) -> dict:
    """What summary.json says of each stage."""
    made = {}
    for name, stage in stages.items():
        own = found[name]
        made[name] = summary.training(out / name, stage.steps)
        if own:
            made[name] |= summary.error_rates(own["test"].row)
        if "none" in own:
            made[name]["context"] = summary.contexts(own)
    if "probe" in made:
        made["probe"] |= summary.probe(out / "probe")
    if "context_sft" in made:
        context = made["context_sft"]["context"]
        context["matcher"] = summary.matched(found["ctc"], _conventions(stages["ctc"]))
        if "rl" in made:
            made["rl"] |= {
                "expected_errors": summary.expected_errors(out / "rl"),
                "keyword_recall_before": context["right_3"]["recall"],
                "keyword_recall_after": made["rl"]["context"]["right_3"]["recall"],
                "paired": summary.paired(
                    found["context_sft"], found["rl"], _conventions(stages["rl"])
                ),
            }
    return made


def _conventions(stage: config.Stage):
    return score.setting(stage.eval).conventions


def _write_samples(out, recipe, found) -> dict:
    """Writes samples.jsonl and its WAV files; returns the first row."""
    scored = [name for name, own in found.items() if own]
    heard = {name: found[name]["test"] for name in dict.fromkeys((scored[0], scored[-1]))}
    spoken = sources.open_source(f"synth:{recipe}?split=test", out / disk.CACHE).rows()
    by_id = {row.id: row for row in spoken}
    rows = summary.samples(heard, SAMPLES)
    (out / "samples").mkdir(exist_ok=True)
    for sample in rows:
        row = by_id[sample["id"]]
        sample["audio"] = f"samples/{row.id}.wav"
        wave = files.read(row.audio, offset=row.offset, duration=row.seconds)
        files.write(out / sample["audio"], wave, files.RATE)
    disk.write_rows(out / disk.SAMPLES, rows)
    return rows[0]
