"""A line chart as SVG, without scripts, in the page's colours."""

import html
import math

WIDTH, HEIGHT = 320, 190
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 24, 36  # px, margins of the plot
_TICKS = 4  # limit of the intervals on an axis


def line(title: str, points, across: str, up: str, *, dots=False) -> str:
    """A figure with one line and two axes, labelled `across` and `up`.

    `points`: (x, y), x ascending; points whose y is not finite are omitted. `dots`: whether each
    point is marked, with its value as a tooltip.
    """
    points = [(x, y) for x, y in points if math.isfinite(y)]
    xs, ys = [x for x, _ in points], [y for _, y in points]
    rises = ticks(min(0.0, *ys), max(ys))
    runs = ticks(min(xs), max(xs), whole=True) if len(xs) > 1 else xs
    place_x = _scale(min(xs), max(xs), LEFT, WIDTH - RIGHT)
    place_y = _scale(rises[0], rises[-1], HEIGHT - BOTTOM, TOP)
    places = [(place_x(x), place_y(y)) for x, y in points]
    marks = [
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{place_y(y):.1f}" y2="{place_y(y):.1f}"/>'
        f'<text x="{LEFT - 5}" y="{place_y(y) + 3.5:.1f}" text-anchor="end">{y:g}</text>'
        for y in rises
    ]
    marks += [
        f'<text x="{place_x(x):.1f}" y="{HEIGHT - BOTTOM + 14}" text-anchor="middle">{x:g}</text>'
        for x in runs
        if min(xs) <= x <= max(xs)
    ]
    middle = (LEFT + WIDTH - RIGHT) / 2
    marks += [
        f'<text class="axis" x="2" y="{TOP - 12}">{html.escape(up)}</text>',
        f'<text class="axis" x="{middle}" y="{HEIGHT - 5}" text-anchor="middle">'
        f"{html.escape(across)}</text>",
    ]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    marks.append(f'<path d="{path}"/>')
    if dots or len(points) == 1:
        marks += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5"><title>{a:g}: {b:.4g}</title></circle>'
            for (x, y), (a, b) in zip(places, points)
        ]
    label = html.escape(f"{title}: {up} by {across}, last {ys[-1]:.3g}")
    return (
        f"<figure><figcaption>{html.escape(title)}</figcaption>"
        f'<svg role="img" aria-label="{label}" width="{WIDTH}" height="{HEIGHT}"'
        f' viewBox="0 0 {WIDTH} {HEIGHT}">{"".join(marks)}</svg></figure>'
    )


def ticks(low: float, high: float, *, whole=False) -> list[float]:
    """A few round numbers that span `low` to `high`; `whole`: integers only."""
    span = (high - low) or abs(high) or 1.0
    step = 10.0 ** math.floor(math.log10(span / _TICKS))
    step *= next(m for m in (1, 2, 5, 10) if span / (m * step) <= _TICKS)
    step = max(1.0, step) if whole else step
    first, last = math.floor(low / step), math.ceil(max(high, low + step / 2) / step)
    return [round(n * step, 12) for n in range(first, last + 1)]


def _scale(low, high, start, stop):
    span = (high - low) or 1.0
    return lambda value: start + (value - low) / span * (stop - start)
