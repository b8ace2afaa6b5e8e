"""Audio players beside references and hypotheses."""

import base64
import difflib
import pathlib

from seedasr_jax.launch.quickstart.report.page import text

NOTE = "The first test sentences of each language. Struck out: missing. Bold: wrong or added."
_UNIT = {"char": "", "word": " "}  # separator between the units of a text


def samples(out: pathlib.Path, rows) -> str:
    """A player with its texts for each row of samples.jsonl."""
    return "".join(_sample(out, row) for row in rows)


def _sample(out, row) -> str:
    sound = base64.b64encode((out / row["audio"]).read_bytes()).decode()
    tag = text(row["language"])
    lines = [
        f"<dt>{text(label)}</dt><dd>{diff(row['reference'], found, _UNIT[row['unit']])}</dd>"
        for label, found in row["hypotheses"].items()
    ]
    return (
        f'<div class="sample"><div><small>{tag}</small><audio controls preload="metadata"'
        f' src="data:audio/wav;base64,{sound}"></audio></div><dl lang="{tag}">'
        f"<dt>reference</dt><dd>{text(row['reference'])}</dd>{''.join(lines)}</dl></div>"
    )


def diff(reference: str, hypothesis: str, between: str) -> str:
    """The hypothesis with missing units struck out and wrong ones marked.

    `between`: separator of the units: a space, or empty for characters.
    """
    old = reference.split() if between else list(reference)
    new = hypothesis.split() if between else list(hypothesis)
    out = []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, old, new, False).get_opcodes():
        if kind == "equal":
            out.append(text(between.join(new[c:d])))
            continue
        if b > a:
            out.append(f"<del>{text(between.join(old[a:b]))}</del>")
        if d > c:
            out.append(f"<ins>{text(between.join(new[c:d]))}</ins>")
    return between.join(out)
