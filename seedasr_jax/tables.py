"""Tables as text: columns for a terminal, Markdown for pages."""

from collections.abc import Iterable, Sequence


def columns(head: Sequence, rows: Iterable[Sequence]) -> str:
    """Columns as wide as their widest cell, two spaces apart."""
    lines = [[str(cell) for cell in line] for line in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines
    )


def markdown(head: Sequence, rows: Iterable[Sequence]) -> str:
    """A Markdown table, each line ended; a `|` in a cell is escaped."""

    def line(cells):
        return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |\n"

    return line(head) + line(["---"] * len(head)) + "".join(map(line, rows))
