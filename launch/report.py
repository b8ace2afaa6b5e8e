"""report.html: one page that shows what a job learned, drawn from its files alone.

    write(pathlib.Path("runs/quickstart"))     # summary.json, STAGE/metrics.jsonl, samples.jsonl

The page holds everything that it shows, sound included, and asks nothing of any network.
"""

import base64
import difflib
import html
import json
import math
import pathlib

from seedasr_jax.train.metrics import read

WIDTH, HEIGHT, LEFT, BOTTOM = 320, 170, 44, 22  # of a chart, px
_UNIT = {"char": "", "word": " "}  # between the units of a text

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #667; --line: #d7dbe0; --accent: #2458b3;
  --good: #1b7f4b; --bad: #b3261e; --paper: #fff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --soft: #9aa3ad; --line: #3a4048;
  --accent: #7fb0ff; --good: #66d19e; --bad: #ff8a80; --paper: #15181c; } }
body { margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: var(--ink);
  background: var(--paper); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
p.note { color: var(--soft); max-width: 50rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child { text-align: left; } th { font-weight: 600; }
td small { color: var(--soft); }
.wide { overflow-x: auto; }
.charts { display: flex; flex-wrap: wrap; gap: 1rem 1.5rem; }
figure { margin: 0; } figcaption { font-size: .85rem; color: var(--soft); }
svg text { font-size: 10px; fill: var(--soft); }
svg path { fill: none; stroke: var(--accent); stroke-width: 1.5; }
svg line { stroke: var(--line); } svg circle { fill: var(--accent); }
.sample { margin: 1rem 0; border-left: 3px solid var(--line); padding-left: .8rem; }
.sample audio { height: 2rem; vertical-align: middle; }
del { color: var(--bad); } ins { color: var(--good); text-decoration: none; font-weight: 600; }
"""


def write(out: pathlib.Path) -> pathlib.Path:
    """Writes OUT/report.html from the files below OUT; returns its path.

    Needs summary.json (the product's keys); metrics.jsonl of each stage and samples.jsonl (`audio`,
    a WAV file relative to OUT, `language`, `unit`, `reference`, and `hypotheses`, label -> text)
    are drawn where they are.
    """
    summary = json.loads((out / "summary.json").read_text())
    stages = summary["stages"]
    parts = [
        _title(summary),
        _section("Error rates", _rates(stages), RATES),
        _section("Losses", _losses(out, stages), LOSSES),
        _section("Probe", _probe(stages), PROBE),
        _section("Contexts", _contexts(stages), CONTEXTS),
        _section("What it was trained on", _data(summary.get("data")), DATA),
        _section("Listen", "".join(_sample(out, row) for row in read(out / "samples.jsonl")), ""),
    ]
    page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>What seedasr learned</title>
<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">
<style>{STYLE}</style></head><body>
{"".join(parts)}
</body></html>
"""
    path = out / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


RATES = (
    "Percent of words (of characters for Chinese) on voices and sentences never heard, with 95 %"
    " bootstrap intervals over utterances."
)
LOSSES = "As logged while training, over steps. Scales differ from chart to chart."
PROBE = "Error of a CTC head on each frozen layer of the encoder: which layer knows most of speech."
CONTEXTS = (
    "Names found exactly as written, in percent, by what the model was told before it heard them."
    " `wrong` plants another spelling of the same sound; `follow` says how often it was taken."
)
DATA = (
    "Computed from the manifests. Pairs: test sentences with two neighbours never seen in training."
)


def _text(value) -> str:
    return html.escape(str(value))


def _section(title, body, note) -> str:
    if not body:
        return ""
    said = f'<p class="note">{_text(note)}</p>' if note else ""
    return f"<h2>{_text(title)}</h2>{said}{body}"


def _table(head, rows) -> str:
    """Cells are HTML already."""
    lines = ["".join(f"<th>{cell}</th>" for cell in head)]
    lines += ["".join(f"<td>{cell}</td>" for cell in row) for row in rows]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="wide"><table>{body}</table></div>'


def _number(value, digits=1) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _title(summary) -> str:
    totals = summary["totals"]
    stages = ", ".join(map(_text, summary["stages"]))
    said = summary.get("transcript")
    heard = ""
    if said:
        heard = f" One file, read back by the exported bundle: “{_text(said['hypothesis'])}”."
    return (
        f"<h1>What seedasr learned</h1><p>Stages: {stages}. {totals['seconds'] / 60:.1f} minutes,"
        f" {totals['cpu_seconds']:.0f} CPU seconds, {totals['peak_rss_gib']:.1f} GiB.{heard}</p>"
    )


def _rates(stages) -> str:
    scored = {name: stage for name, stage in stages.items() if "error_rate" in stage}
    if not scored:
        return ""
    languages = list(
        dict.fromkeys(
            tag for stage in scored.values() for tag in stage["error_rate"].get("by_language", ())
        )
    )

    def cell(stage, *path):
        rate, interval = stage["error_rate"], stage.get("error_rate_ci", {})
        for key in path:
            rate, interval = rate.get(key), (interval or {}).get(key)
            if rate is None:
                return ""
        if not interval:
            return _number(rate)
        return f"{_number(rate)} <small>{_number(interval[0])} to {_number(interval[1])}</small>"

    rows = [
        [
            _text(name),
            cell(stage, "all"),
            *(cell(stage, "by_language", tag) for tag in languages),
            _number(stage.get("seconds"), 0),
        ]
        for name, stage in scored.items()
    ]
    return _table(["stage", "all", *map(_text, languages), "seconds"], rows)


def _losses(out, stages) -> str:
    charts = []
    for name in stages:
        rows = [row for row in read(out / name / "metrics.jsonl") if "loss" in row]
        points = [(row["step"], row["loss"]) for row in rows]
        if len(points) > 1:
            charts.append(_chart(name, points, "step"))
    return f'<div class="charts">{"".join(charts)}</div>' if charts else ""


def _probe(stages) -> str:
    layers = [stage["layers"] for stage in stages.values() if "layers" in stage]
    if not layers:
        return ""
    rates = layers[0].items() if isinstance(layers[0], dict) else enumerate(layers[0], 1)
    return _chart("error rate, %", [(int(layer), rate) for layer, rate in rates], "layer", True)


def _contexts(stages) -> str:
    told = ("none", "right_3", "distractors_3", "wrong")
    rows = []
    for name, stage in stages.items():
        context = stage.get("context")
        if context:
            recalls = [_number(context.get(kind, {}).get("recall")) for kind in told]
            follow = _number(context.get("wrong", {}).get("follow"))
            unseen = _number(context.get("unseen_names", {}).get("recall"))
            rows.append([_text(name), *recalls, follow, unseen])
    head = ["stage", *(kind.replace("_", " ") for kind in told), "follow", "unseen names, right 3"]
    return _table(head, rows) if rows else ""


def _data(data) -> str:
    if not data:
        return ""
    languages = data["languages"]
    head = ["language", *next(iter(languages.values()))]
    rows = [
        [_text(tag), *(_text(f"{v:.2f}" if isinstance(v, float) else v) for v in values.values())]
        for tag, values in languages.items()
    ]
    said = f"<p>{data['hours']:.2f} hours; {data['overlap_sentences']} sentences in both parts.</p>"
    return said + _table([_text(cell.replace("_", " ")) for cell in head], rows)


def _chart(title, points, across, dots=False) -> str:
    """A line through (x, y) as SVG; the y axis begins at 0 where nothing is below it."""
    xs, ys = [x for x, _ in points], [y for _, y in points if math.isfinite(y)]
    low, high = min(0.0, *ys), max(ys)
    across_of = _scale(min(xs), max(xs), LEFT, WIDTH - 6)
    up_of = _scale(low, high, HEIGHT - BOTTOM, 8)
    places = [(across_of(x), up_of(y)) for x, y in points if math.isfinite(y)]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    marks = [
        f'<line x1="{LEFT}" x2="{WIDTH - 6}" y1="{up_of(y):.1f}" y2="{up_of(y):.1f}"/>'
        f'<text x="{LEFT - 4}" y="{up_of(y) + 3:.1f}" text-anchor="end">{y:.3g}</text>'
        for y in (low, (low + high) / 2, high)
    ]
    marks += [
        f'<text x="{across_of(x):.1f}" y="{HEIGHT - 6}" text-anchor="{anchor}">{x:g}</text>'
        for x, anchor in ((min(xs), "start"), (max(xs), "end"))
    ]
    if dots:
        marks += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"><title>{a:g}: {b:.2f}</title></circle>'
            for (x, y), (a, b) in zip(places, points)
        ]
    label = f"{_text(title)} by {_text(across)}"
    return (
        f'<figure><svg role="img" aria-label="{label}" width="{WIDTH}" height="{HEIGHT}"'
        f' viewBox="0 0 {WIDTH} {HEIGHT}">{"".join(marks)}<path d="{path}"/></svg>'
        f"<figcaption>{_text(title)}, last {points[-1][1]:.3g}</figcaption></figure>"
    )


def _scale(low, high, start, stop):
    span = (high - low) or 1.0
    return lambda value: start + (value - low) / span * (stop - start)


def _sample(out, row) -> str:
    sound = base64.b64encode((out / row["audio"]).read_bytes()).decode()
    lines = [
        f"<div>{_text(label)}: {_diff(row['reference'], text, _UNIT[row['unit']])}</div>"
        for label, text in row["hypotheses"].items()
    ]
    return (
        f'<div class="sample"><div><audio controls preload="metadata"'
        f' src="data:audio/wav;base64,{sound}"></audio> <small>{_text(row["language"])}</small>'
        f"</div><div>said: {_text(row['reference'])}</div>{''.join(lines)}</div>"
    )


def _diff(reference, hypothesis, between) -> str:
    """The hypothesis with what is missing struck out and what is wrong marked."""
    said = reference.split() if between else list(reference)
    heard = hypothesis.split() if between else list(hypothesis)
    out = []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, said, heard, False).get_opcodes():
        if kind == "equal":
            out.append(_text(between.join(heard[c:d])))
            continue
        if b > a:
            out.append(f"<del>{_text(between.join(said[a:b]))}</del>")
        if d > c:
            out.append(f"<ins>{_text(between.join(heard[c:d]))}</ins>")
    return between.join(out)
