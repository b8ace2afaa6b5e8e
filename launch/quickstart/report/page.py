"""A self-contained page: its frame, style and tables. Cells are HTML."""

import html
import re

_NAME = re.compile("`(.+?)`")
_FIGURE = re.compile(r"[-+]?\d|–|$")  # cells aligned to the right
STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #5b6470; --line: #d7dbe0;
  --accent: #2458b3; --good: #1b7f4b; --bad: #b3261e; --paper: #fff; --card: #f5f7f9; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --soft: #9aa3ad; --line: #3a4048;
  --accent: #7fb0ff; --good: #66d19e; --bad: #ff8a80; --paper: #15181c; --card: #1e2329; } }
* { box-sizing: border-box; }
body { margin: 2rem auto; max-width: 68rem; padding: 0 1rem; color: var(--ink);
  background: var(--paper); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.7rem; margin-bottom: .6rem; }
h2 { font-size: 1.2rem; margin: 2.4rem 0 .4rem; }
p.note { color: var(--soft); max-width: 46rem; margin: .4rem 0 .8rem; }
.tiles { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1rem 0; }
.tiles div { background: var(--card); border-radius: .5rem; padding: .6rem .9rem;
  display: flex; flex-direction: column-reverse; justify-content: flex-end;
  flex: 1 1 10rem; max-width: 18rem; }
.tiles dd { margin: 0; font-size: 1.45rem; font-weight: 600; line-height: 1.3; }
.tiles dt { color: var(--soft); font-size: .85rem; line-height: 1.3; }
.wide { overflow-x: auto; margin: .6rem 0 1rem; }
table { border-collapse: separate; border-spacing: 0; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); text-align: right;
  vertical-align: top; }
thead th { font-weight: 600; vertical-align: bottom; line-height: 1.25; }
thead .group th { color: var(--soft); font-weight: 400; text-align: center; border: 0;
  padding-bottom: 0; }
thead .group th:not(:empty)::after { content: ""; display: block; height: 3px;
  border: solid var(--line); border-width: 1px 1px 0; }
tbody th { font-weight: 500; }
tr > :first-child { text-align: left; position: sticky; left: 0; background: var(--paper);
  padding-left: 0; }
small { color: var(--soft); font-size: .8rem; font-weight: 400; }
td small, thead small { display: block; white-space: nowrap; }
tbody th { white-space: nowrap; } tbody th small { margin-left: .4rem; }
td.text { text-align: left; }
@media (max-width: 40rem) { tbody th small { display: block; margin: 0; } }
code { font: .92em ui-monospace, monospace; }
.charts { display: flex; flex-wrap: wrap; gap: 1.2rem 1.6rem; }
figure { margin: .6rem 0 0; max-width: 100%; } figcaption { font-weight: 500; }
svg { max-width: 100%; height: auto; display: block; }
svg text { font-size: 11px; fill: var(--soft); } svg .axis { font-style: italic; }
svg path { fill: none; stroke: var(--accent); stroke-width: 1.6; stroke-linejoin: round; }
svg line { stroke: var(--line); } svg circle { fill: var(--accent); }
.sample { margin: 1.1rem 0; border-left: 3px solid var(--line); padding-left: .9rem; }
.sample audio { height: 2.2rem; vertical-align: middle; max-width: 100%; }
.sample div small { display: inline-block; min-width: 4.5rem; }
.sample dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem .8rem;
  margin: .4rem 0 0; }
.sample dt { color: var(--soft); } .sample dd { margin: 0; overflow-wrap: anywhere; }
del { color: var(--bad); } ins { color: var(--good); text-decoration: none; font-weight: 600; }
"""


def page(title: str, body: str) -> str:
    """The whole page, self-contained: no network access."""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{text(title)}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">
<style>{STYLE}</style></head><body>
{body}
</body></html>
"""


def text(value) -> str:
    """Any value as text, with markup escaped."""
    return html.escape(str(value))


def number(value, digits=1) -> str:
    """A number, or a dash for None."""
    return "–" if value is None else f"{value:.{digits}f}"


def note(words: str) -> str:
    """A paragraph beside a table; text between backquotes is set as code."""
    words = _NAME.sub(r"<code>\1</code>", text(words))
    return f'<p class="note">{words}</p>'


def section(title: str, body: str, words: str) -> str:
    """A section of the page with a note; empty if `body` is."""
    return f"<h2>{text(title)}</h2>{note(words) if words else ''}{body}" if body else ""


def _cell(cell):
    kind = "" if _FIGURE.match(cell) else ' class="text"'
    return f"<td{kind}>{cell}</td>"


def table(head, rows, *, groups=()) -> str:
    """A table; the first cell of a row is its header.

    `groups`: (title, number of columns), above the columns from the second on.
    """
    top = ""
    if groups:
        cells = "".join(f'<th colspan="{n}" scope="colgroup">{text(t)}</th>' for t, n in groups)
        top = f'<tr class="group"><th></th>{cells}</tr>'
    heads = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    lines = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(map(_cell, rest))}</tr>' for first, *rest in rows
    )
    return (
        f'<div class="wide"><table><thead>{top}<tr>{heads}</tr></thead>'
        f"<tbody>{lines}</tbody></table></div>"
    )
