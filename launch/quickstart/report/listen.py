"""Audio players beside references and hypotheses."""

import base64
import difflib
import pathlib

from seedasr_jax.launch.quickstart.report.page import text

NOTE = "The first test sentences of each language: struck out is missing, bold is wrong or added."
_UNIT = {"char": "", "word": " "}  # separator between the units of a text


def samples(out: pathlib.Path, rows) -> str:
    """A player with its texts for each row of samples.jsonl."""
    return "".join(_sample(out, row) for row in rows)


def _sample(out, row) -> str:
    sound = base64.b64encode((out / row["audio"]).read_bytes()).decode()
    tag = text(row["language"])
    lines = [
        f"<dt>{text(label)}</dt><dd>{diff(row['reference'], said, _UNIT[row['unit']])}</dd>"
        for label, said in row["hypotheses"].items()
    ]
    return (
        f'<div class="sample"><div><small>{tag}</small><audio controls preload="metadata"'
        f' src="data:audio/wav;base64,{sound}"></audio></div><dl lang="{tag}">'
        f"<dt>said</dt><dd>{text(row['reference'])}</dd>{''.join(lines)}</dl></div>"
    )


def diff(reference: str, hypothesis: str, between: str) -> str:
    """The hypothesis with what is missing struck out and what is wrong marked.

    Args:
        reference, hypothesis: texts.
        between: separator of the units of both: a space, or empty for characters.
    """
    said = reference.split() if between else list(reference)
    heard = hypothesis.split() if between else list(hypothesis)
    out = []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, said, heard, False).get_opcodes():
        if kind == "equal":
            out.append(text(between.join(heard[c:d])))
            continue
        if b > a:
            out.append(f"<del>{text(between.join(said[a:b]))}</del>")
        if d > c:
            out.append(f"<ins>{text(between.join(heard[c:d]))}</ins>")
    return between.join(out)
