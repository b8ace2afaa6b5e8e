"""Pages of results: a script's tables are between two marks of its own."""

import pathlib
import re


def marks(name: str) -> tuple[str, str]:
    """The lines around a script's tables."""
    return f"<!-- {name} -->", f"<!-- end of {name} -->"


def fill(page: pathlib.Path, name: str, tables: str):
    """Replaces the text between the marks; raises ValueError if they are missing."""
    begin, end = marks(name)
    block = f"{begin}\n{tables}\n{end}"
    text, count = re.subn(f"{begin}.*{end}", lambda _: block, page.read_text(), flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"{page}: expected the lines {begin} and {end} once, found {count}")
    page.write_text(text)
