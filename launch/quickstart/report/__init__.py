"""report.html: a self-contained page of results, sound included, generated from a job's files.

write(pathlib.Path("runs/quickstart"))     # summary.json, STAGE/metrics.jsonl, samples.jsonl
"""

import pathlib

from seedasr_jax import workdir as disk
from seedasr_jax.launch.quickstart.report import chart, listen, lists
from seedasr_jax.launch.quickstart.report.page import note, number, page, section, table, text
from seedasr_jax.text import languages

TESTS = {  # titles of the tests of plans.py
    "test": "test, no list",
    "test_distractors_3": "test, three other names",
    "none": "homophones, no list",
    "right_3": "homophones, the name and three others",
    "wrong_3": "homophones, its other spelling and three others",
    "distractors_3": "homophones, three other names",
    "unseen_none": "unseen names, no list",
    "unseen_right_3": "unseen names, the name and three others",
    "unseen_distractors_3": "unseen names, three other names",
    "pruning_on": "the same, beam search, pruned",
    "pruning_off": "the same, beam search, not pruned",
}


def write(out: pathlib.Path) -> pathlib.Path:
    """Writes OUT/report.html from summary.json (summary.py) in OUT; returns its path.

    Shows metrics.jsonl of each stage and samples.jsonl (`audio`, a WAV file relative to OUT,
    `language`, `unit`, `reference`, and `hypotheses`, label -> text) if they exist.
    """
    summary = disk.read_json(out / disk.SUMMARY)
    stages = summary["stages"]
    parts = [
        _title(summary),
        section("Error rates", _rates(stages), RATES + _clock(stages)),
        section("Names and lists", lists.tables(stages), lists.NOTE),
        section("Effect of reinforcement learning", _rl(stages), RL),
        section("Error rate by encoder layer", _probe(stages), PROBE),
        section("Losses", _losses(out, stages), LOSSES),
        section("Training data", _data(summary.get("data")), DATA),
        section("Stages", _stages(stages), STAGES),
        section("Listen", listen.samples(out, disk.read_rows(out / disk.SAMPLES)), listen.NOTE),
        section("Versions", _versions(summary.get("versions")), ""),
    ]
    path = out / disk.REPORT
    disk.write_text(path, page("Results of seedasr", "".join(parts)))
    return path


RATES = (
    "Percent of words (Chinese: characters) on unseen voices and sentences, with 95 % bootstrap"
    " intervals over speakers or, if few are known, over recordings or utterances. All speech is"
    " synthetic: real speech is harder."
)
CLOCK = " `{}` was trained with the synthesiser's clock, which recordings lack."
RL = (
    "Paired bootstrap: the stage `rl` against its parent `context_sft`, in points of error rate;"
    " below 0 is better."
)
PROBE = "Error rate of a CTC head on each layer of the frozen encoder, on the development set."
LOSSES = "As logged in training. Scales differ between charts."
DATA = "Computed from the manifests of the corpus, which remain on disk."
STAGES = (
    "Not in Seed-ASR: the stage `ctc`, labels by a synthesiser's clock, and the features of"
    " `model.variant`, such as positions by CTC onsets."
)


def _title(summary) -> str:
    totals, stages = summary["totals"], summary["stages"]
    tiles = [(f"{totals['seconds'] / 60:.1f} min", _cost(totals))]
    scored = [(name, stage) for name, stage in stages.items() if "error_rate" in stage]
    if scored:
        name, stage = scored[-1]
        count = stage.get("utterances", {}).get("all")
        of = f", {count} utterances" if count else ""
        tiles.append((f"{stage['error_rate']['all']:.1f} %", f"error rate of {name}{of}"))
    informed = [stage["context"] for stage in stages.values() if "context" in stage]
    if informed:
        kinds = (
            ("right_3", "recall of homophones, with the name and three others in the list"),
            ("unseen_names", "recall of unseen names, with such a list"),
        )
        tiles += [(f"{informed[-1][kind]['recall']:.0f} %", label) for kind, label in kinds]
    shown = "".join(f"<div><dt>{text(what)}</dt><dd>{text(v)}</dd></div>" for v, what in tiles)
    transcript = ""
    if found := summary.get("transcript"):
        transcript = (
            f"<p>One file, transcribed by the exported bundle: “{text(found['hypothesis'])}”"
            f" (reference: “{text(found['reference'])}”).</p>"
        )
    return f'<h1>Results of seedasr</h1><dl class="tiles">{shown}</dl>{transcript}'


def _cost(totals):
    more = totals.get("install_seconds")
    install = f" after {more / 60:.1f} min of installation" if more else ""
    cores = f"{totals['cpu_seconds'] / 60:.1f} CPU min, {totals['peak_rss_gib']:.1f} GiB"
    return f"in total{install}; {cores}"


def _rates(stages) -> str:
    scored = {name: stage for name, stage in stages.items() if "error_rate" in stage}
    if not scored:
        return ""
    last = list(scored.values())[-1]
    counts = last.get("utterances", {})

    def cell(stage, *path):
        rate, interval = stage["error_rate"], stage.get("error_rate_ci", {})
        for key in path:
            rate, interval = rate.get(key), (interval or {}).get(key)
            if rate is None:
                return ""
        if not interval or None in interval:
            return number(rate)
        return f"{number(rate)}<small>{number(interval[0])} to {number(interval[1])}</small>"

    def head(label, title, count):
        n = f"<small>n = {count}</small>" if count else ""
        return f'<span title="{text(title)}">{text(label)}</span>{n}'

    tags = list(last["error_rate"].get("by_language", ()))
    by = counts.get("by_language", {})
    heads = [head("all", "all languages", counts.get("all"))]
    heads += [head(tag, languages.lookup(tag).name, by.get(tag)) for tag in tags]
    rows = [
        [text(name), cell(stage, "all"), *(cell(stage, "by_language", tag) for tag in tags)]
        for name, stage in scored.items()
    ]
    tables = table(["stage", *heads], rows)
    dialects = list(last["error_rate"].get("by_dialect", ()))
    if dialects:
        by = counts.get("by_dialect", {})
        rows = [
            [
                f"{text(tag)} <small>{text(languages.lookup(tag).name)}</small>",
                text(by.get(tag, "")),
                *(cell(stage, "by_dialect", tag) for stage in scored.values()),
            ]
            for tag in dialects
        ]
        tables += note("By dialect.") + table(["dialect", "n", *map(text, scored)], rows)
    return tables


def _clock(stages) -> str:
    clocked = [name for name, stage in stages.items() if stage.get("labels") == "clock"]
    return "".join(map(CLOCK.format, clocked))


def _rl(stages) -> str:
    out = ""
    for name, stage in stages.items():
        rows = [
            [text(TESTS.get(test, test)), f"{found['difference']:+.2f}", *_interval(found["ci"])]
            for test, found in stage.get("paired", {}).items()
        ]
        if rows:
            out += table(["test", "points", "95 % interval", ""], rows)
        if "keyword_recall_before" in stage:
            before, after = stage["keyword_recall_before"], stage["keyword_recall_after"]
            both = f"{before:.1f} % before, {after:.1f} % after"
            out += note(f"Recall of homophones with the name and three others in the list: {both}.")
        points = stage.get("expected_errors", ())
        if len(points) > 1:
            out += chart.line(f"{name}: expected risk", points, "step", "errors per unit")
    return out


def _interval(ci):
    low, high = ci
    if low is None:
        return "none", "too few for one"
    verdict = "fewer errors" if high < 0 else "more errors" if low > 0 else "no difference shown"
    return f"{low:+.2f} to {high:+.2f}", verdict


def _probe(stages) -> str:
    for stage in stages.values():
        if "layers" in stage:
            points = [(int(layer), rate) for layer, rate in stage["layers"].items()]
            best = f"best: layer {stage['best_layer']}"
            return chart.line(best, points, "layer", "error rate, %", dots=True)
    return ""


def _losses(out, stages) -> str:
    charts = []
    for name in stages:
        rows = [row for row in disk.read_rows(out / name / disk.METRICS) if "loss" in row]
        points = [(row["step"], row["loss"]) for row in rows]
        if len(points) > 1:
            charts.append(chart.line(name, points, "step", "loss"))
    return f'<div class="charts">{"".join(charts)}</div>' if charts else ""


def _data(data) -> str:
    if not data:
        return ""
    tags = data["languages"]
    heads = [
        text(key.removeprefix("test_share_").replace("_", " ")) for key in next(iter(tags.values()))
    ]
    rows = [
        [
            f"{text(tag)} <small>{text(languages.lookup(tag).name)}</small>",
            *(text(f"{100 * v:.0f} %" if isinstance(v, float) else v) for v in values.values()),
        ]
        for tag, values in tags.items()
    ]
    facts = (
        f"{data['hours']:.2f} hours of speech in total; {data['overlap_sentences']} test sentences"
        " are in the training set. Distinct words are characters for Chinese. With unseen pair:"
        " test sentences with two adjacent words that are never adjacent in training."
    )
    return note(facts) + table(["language", *heads], rows)


def _stages(stages) -> str:
    rows = [
        [
            text(name),
            text(stage["steps"]),
            number(stage["seconds"], 0),
            number(stage["cpu_seconds"], 0),
            f"{stage['loss_first']:.3g} → {stage['loss_last']:.3g}",
            ", ".join(dict.fromkeys(text(p.partition("@")[0]) for p in stage["parent"].values())),
        ]
        for name, stage in stages.items()
        if "loss_first" in stage
    ]
    heads = ["stage", "steps", "seconds", "CPU seconds", "loss, first → last", "from"]
    return table(heads, rows) if rows else ""


def _versions(versions) -> str:
    listed = ", ".join(f"{name} {version}" for name, version in (versions or {}).items())
    return f"<p>{text(listed)}</p>" if listed else ""
