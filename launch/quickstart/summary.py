"""summary.json of the quickstart, from the files of its stages and evaluations.

Rates and recalls are in percent. Entries that a shorter graph lacks are omitted.
"""

from collections.abc import Mapping
import dataclasses
import pathlib

from seedasr_jax import config
from seedasr_jax import workdir as disk
from seedasr_jax.evaluate import matcher, score
from seedasr_jax.text import languages, prompts
from seedasr_jax.text import score as rates
from seedasr_jax.text.conventions import Conventions

MATCHER_COST = 2.0  # limit: percent of development utterances with an inserted unspoken name


@dataclasses.dataclass(frozen=True)
class Result:
    """A test of a stage: its row of results.jsonl and rows of transcripts.jsonl."""

    row: dict
    utterances: list[dict]


def stages(out: pathlib.Path, graph: Mapping[str, config.Stage], found) -> dict:
    """The key `stages` of summary.json; `found`: stage -> test -> Result."""
    made = {}
    for name, stage in graph.items():
        own = found[name]
        made[name] = training(out / name, stage.steps)
        if own:
            made[name] |= error_rates(own["test"].row)
        if "none" in own:
            made[name]["context"] = contexts(own)
    if "probe" in made:
        made["probe"] |= probe(out / "probe")
    if "context_sft" in made:
        context = made["context_sft"]["context"]
        context["matcher"] = matched(found["ctc"], _conventions(graph["ctc"]))
        if "rl" in made:
            made["rl"] |= {
                "expected_errors": expected_errors(out / "rl"),
                "keyword_recall_before": context["right_3"]["recall"],
                "keyword_recall_after": made["rl"]["context"]["right_3"]["recall"],
                "paired": paired(found["context_sft"], found["rl"], _conventions(graph["rl"])),
            }
    return made


def read(folder: pathlib.Path, tests) -> dict[str, Result]:
    """Output of `seedasr eval`: test -> result; `tests` names its tasks in their order."""
    by_task = {}
    for utterance in disk.read_rows(folder / disk.TRANSCRIPTS):
        by_task.setdefault(utterance["task"], []).append(utterance)
    rows = disk.read_rows(folder / disk.RESULTS)
    return {test: Result(row, by_task[row["task"]]) for test, row in zip(tests, rows, strict=True)}


def training(folder: pathlib.Path, steps: int) -> dict:
    """Facts about a stage's training, from its folder."""
    record = disk.read_stage(folder)
    logged = [row["loss"] for row in disk.read_rows(folder / disk.METRICS) if "loss" in row]
    return {
        "steps": steps,
        "seconds": round(record["spent"]["seconds"], 1),
        "cpu_seconds": round(record["spent"]["cpu_seconds"], 1),
        "loss_first": logged[0],
        "loss_last": logged[-1],
        "parent": {part: origin["checkpoint"] for part, origin in record["parents"].items()},
    } | ({"labels": "clock"} if record["recipe"]["kind"] == "clocked_ctc" else {})


def probe(folder: pathlib.Path) -> dict:
    """Error rate by layer, counted from 1, mean over tasks, and the best layer."""
    rows = [row for row in disk.read_rows(folder / disk.METRICS) if "best_layer" in row]
    if not rows:
        return {}
    by_layer = {}
    for key, value in rows[-1].items():
        task, _, layer = key.partition("/layers/")
        if task.startswith("eval/") and layer:
            by_layer.setdefault(int(layer), []).append(value)
    layers = {str(layer): sum(own) / len(own) for layer, own in sorted(by_layer.items())}
    return {"layers": layers, "best_layer": int(rows[-1]["best_layer"])}


def expected_errors(folder: pathlib.Path) -> list[list[float]]:
    """[step, expected risk: errors per unit of the reference], as logged in training."""
    rows = disk.read_rows(folder / disk.METRICS)
    return [[row["step"], row["risk"]] for row in rows if "risk" in row]


def error_rates(row: dict) -> dict:
    """`error_rate`, `error_rate_ci` and `utterances`, overall and by language and dialect."""
    by = {key: row[key] for key in ("by_language", "by_dialect") if key in row}

    def each(value):
        return {"all": value(row)} | {
            key: {tag: value(own) for tag, own in tags.items()} for key, tags in by.items()
        }

    return {
        "error_rate": each(lambda own: own["error_rate"]),
        "error_rate_ci": each(lambda own: [own["ci_low"], own["ci_high"]]),
        "utterances": each(lambda own: own["utterances"]),
    }


def figures(row: dict) -> dict:
    """The figures of a test with names and lists, overall and by language.

    `recall` of names spelled exactly, `error_rate`, and percent of utterances with
    `false_insertions` (a listed, unspoken name) or `siblings` (another spelling of a spoken name).
    """
    found = _figures(row)
    return found | {
        "utterances": row["utterances"],
        "by_language": {tag: _figures(own) for tag, own in row.get("by_language", {}).items()},
    }


_FIGURES = {  # figure -> (group of a row, key)
    "recall": ("keywords", "recall"),
    "false_insertions": ("context", "leaking"),
    "siblings": ("siblings", "leaking"),
}


def _figures(row):
    more = {name: row[group][key] for name, (group, key) in _FIGURES.items() if row.get(group)}
    return {"error_rate": row["error_rate"]} | more


def contexts(found: Mapping[str, Result]) -> dict:
    """The key `context` of a stage, from its results by test."""
    of = {test: figures(result.row) for test, result in found.items()}
    wrong, unseen = of["wrong_3"], of["unseen_right_3"]
    return {
        "none": of["none"],
        "right_3": of["right_3"],
        "distractors_3": distractors(of),
        "wrong": wrong | {"follow": wrong["siblings"]},
        "unseen_names": {
            **unseen,
            "none": of["unseen_none"],
            "false_insertions": of["unseen_distractors_3"]["false_insertions"],
        },
        "pruning": {switch: of[f"pruning_{switch}"] for switch in ("on", "off")},
    }


def distractors(of: Mapping[str, dict]) -> dict:
    """Effect of a list of unspoken names: figures by test -> `context.distractors_3`.

    `recall` is measured on unlisted names in `homophones`; `error_rate`, `false_insertions` and
    `cost` (increase of the error rate by the list) on `test`. `homophones` has its own figures.
    """
    listed, without, homophones = of["test_distractors_3"], of["test"], of["distractors_3"]

    def one(listed, without, homophones):
        return {
            "recall": homophones["recall"],
            "error_rate": listed["error_rate"],
            "cost": round(listed["error_rate"] - without["error_rate"], 4),
            "false_insertions": listed.get("false_insertions"),
        }

    return one(listed, without, homophones) | {
        "utterances": listed["utterances"],
        "by_language": {
            tag: one(own, without["by_language"][tag], homophones["by_language"][tag])
            for tag, own in listed["by_language"].items()
        },
        "homophones": homophones,
    }


def paired(
    before: Mapping[str, Result], after: Mapping[str, Result], conventions: Conventions
) -> dict:
    """Change of the error rate on each common test: `difference` in points, and its `ci`."""
    changes = {}
    for test in [test for test in before if test in after]:
        then, now = before[test].utterances, after[test].utterances
        assert [u["id"] for u in then] == [u["id"] for u in now], test
        old, new = score.compare(then, conventions), score.compare(now, conventions)
        found = rates.difference(*old.texts, new.texts[1], unit=old.units, clusters=old.clusters)
        changes[test] = {
            "difference": round(found.difference, 4),
            "ci": [score.rounded(found.ci_low), score.rounded(found.ci_high)],
        }
    return changes


def matched(found: Mapping[str, Result], conventions: Conventions) -> dict:
    """`context.matcher`: tests with lists, by the string matcher on CTC output, at MATCHER_COST."""
    development = _with_lists(found["dev_distractors_3"])
    thresholds = matcher.thresholds(development, conventions, most=MATCHER_COST)

    def figured(test):
        own = matcher.matched(_with_lists(found[test]), conventions, thresholds)
        by = {
            tag: score.measure(each, conventions)
            for tag, each in score.grouped(own, "language").items()
        }
        return figures(score.measure(own, conventions) | {"by_language": by})

    tests = ("right_3", "distractors_3", "test_distractors_3", "unseen_right_3")
    of = {test: figured(test) for test in (*tests, "unseen_distractors_3")}
    of["test"] = figures(found["test"].row)
    return {
        "threshold": thresholds,
        "right_3": of["right_3"],
        "distractors_3": distractors(of),
        "unseen_names": of["unseen_right_3"]
        | {"false_insertions": of["unseen_distractors_3"]["false_insertions"]},
    }


def _with_lists(result):
    """Utterances with all their context, of which CTC reads none."""
    return [
        u | {"context": prompts.SEPARATOR.join(filter(None, (u["context_unread"], u["context"])))}
        for u in result.utterances
    ]


def samples(results: Mapping[str, Result], count: int) -> list[dict]:
    """The first `count` utterances of each language: rows of samples.jsonl, without their audio.

    `results`: label -> result of one test, the same for all.
    """
    hypotheses = {
        label: {u["id"]: u["hypothesis"] for u in result.utterances}
        for label, result in results.items()
    }
    first = next(iter(results.values())).utterances
    return [
        {
            "id": u["id"],
            "language": u["dialect"] or tag,
            "unit": languages.lookup(tag).unit,
            "reference": u["reference"],
            "hypotheses": {label: texts[u["id"]] for label, texts in hypotheses.items()},
        }
        for tag, own in score.grouped(first, "language").items()
        for u in own[:count]
    ]


def _conventions(stage: config.Stage):
    return score.setting(stage.eval).conventions
