"""Draws the stage graph of the recipe `commands` as docs/stages.svg.

    python docs/stages.py

One box per stage with the parts that it trains; one arrow per pair of stages with the parts that
the first hands to the second. Colours follow the reader's light or dark scheme.
"""

import itertools
import pathlib
from xml.sax.saxutils import escape

from seedasr_jax import config
from seedasr_jax.launch import recipes
from seedasr_jax.train import graph

OUT = pathlib.Path(__file__).with_name("stages.svg")
RECIPE = "commands"
WIDTH, HEIGHT = 172, 50  # of a box, in px
GAP, ROW = 92, 84  # between columns; from one row to the next
LINE, MARGIN, ARC = 12, 14, 34  # of a label; around all; height of an arrow over one more column

STYLE = """
  text { font: 11px sans-serif; fill: #57606a; text-anchor: middle }
  .name { font: bold 14px sans-serif; fill: #1f2328 }
  rect { fill: #f6f8fa; stroke: #8c959f }
  path { fill: none; stroke: #0969da; stroke-width: 1.5 }
  .label { fill: #0969da; stroke: #ffffff; stroke-width: 4; paint-order: stroke }
  marker path { fill: #0969da; stroke: none }
  @media (prefers-color-scheme: dark) {
    text { fill: #9198a1 }
    .name { fill: #f0f6fc }
    rect { fill: #151b23; stroke: #656c76 }
    path { stroke: #4493f8 }
    .label { fill: #4493f8; stroke: #0d1117 }
    marker path { fill: #4493f8 }
  }
"""


def handed_over(stages: config.Graph) -> dict[tuple[str, str], list[str]]:
    """(stage, later stage) -> keys of `init` by which the later one starts from the first."""
    found = {}
    for name in graph.order(stages):
        for part, source in stages.stages[name].init.items():
            parent, _ = graph.stage_of(stages.stages, graph.origin(part, source)[0])
            if parent:
                found.setdefault((parent, name), []).append(part)
    return found


def places(stages: config.Graph) -> dict[str, tuple[int, float]]:
    """Stage -> column, its distance from a stage that starts fresh, and row.

    Stages that are connected share a band of rows, in which each column is centred.
    """
    columns, bands = {}, []
    for name in graph.order(stages):
        before = graph.parents(stages, name)
        columns[name] = 1 + max((columns[parent] for parent in before), default=-1)
        joined = [band for band in bands if set(before) & set(band)]
        bands = [band for band in bands if band not in joined]
        bands.append([*itertools.chain(*joined), name])
    found, top = {}, 0.0
    for band in bands:
        by_column = {}
        for name in band:
            by_column.setdefault(columns[name], []).append(name)
        rows = max(map(len, by_column.values()))
        for column, names in by_column.items():
            for number, name in enumerate(names):
                found[name] = (column, top + (rows - len(names)) / 2 + number)
        top += rows
    return found


def draw(stages: config.Graph) -> str:
    """The picture as SVG."""
    arrows, at = handed_over(stages), places(stages)
    spans = [at[after][0] - at[before][0] for before, after in arrows]
    headroom = MARGIN + ARC * (max(spans, default=1) - 1) + LINE

    def corner(name):
        column, row = at[name]
        return MARGIN + column * (WIDTH + GAP), headroom + row * ROW

    shapes, labels = [], []
    for (before, after), parts in arrows.items():
        (x, y), (to_x, to_y) = corner(before), corner(after)
        span = at[after][0] - at[before][0]
        if span == 1:
            x, y, to_y = x + WIDTH, y + HEIGHT / 2, to_y + HEIGHT / 2
            middle, lowest = (x + to_x) / 2, (y + to_y) / 2 - 5
            curve = f"C {middle:g} {y:g} {middle:g} {to_y:g} {to_x - 2:g} {to_y:g}"
        else:  # over the boxes between, away from the arrows of their other neighbours
            x, to_x = x + WIDTH * 0.7, to_x + WIDTH * 0.3
            middle, peak = (x + to_x) / 2, min(y, to_y) - ARC * (span - 1) * 4 / 3
            lowest = min(y, to_y) - ARC * (span - 1) + 4
            curve = f"C {x:g} {peak:g} {to_x:g} {peak:g} {to_x:g} {to_y - 2:g}"
            parts = [", ".join(parts)]
        shapes.append(f'<path d="M {x:g} {y:g} {curve}" marker-end="url(#head)"/>')
        for number, part in enumerate(reversed(parts)):
            height = lowest - LINE * number
            labels.append(
                f'<text class="label" x="{middle:g}" y="{height:g}">{escape(part)}</text>'
            )
    for name in at:
        (x, y), trains = corner(name), ", ".join(stages.stages[name].trains)
        shapes.append(f'<rect x="{x:g}" y="{y:g}" width="{WIDTH}" height="{HEIGHT}" rx="6"/>')
        middle = x + WIDTH / 2
        labels.append(f'<text class="name" x="{middle:g}" y="{y + 21:g}">{escape(name)}</text>')
        labels.append(f'<text x="{middle:g}" y="{y + 39:g}">{escape(trains)}</text>')
    width = max(corner(name)[0] for name in at) + WIDTH + MARGIN
    height = max(corner(name)[1] for name in at) + HEIGHT + MARGIN
    title = f"Stages of the recipe {RECIPE}: what each trains, and the parts handed over"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}"'
            f' width="{width:g}" height="{height:g}" role="img">',
            f"<title>{title}</title>",
            f"<style>{STYLE}</style>",
            '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7"'
            ' markerHeight="7" orient="auto"><path d="M 0 0 L 8 4 L 0 8 z"/></marker></defs>',
            *shapes,
            *labels,
            "</svg>\n",
        ]
    )


if __name__ == "__main__":
    OUT.write_text(draw(recipes.expand(RECIPE, [])), encoding="utf-8")
