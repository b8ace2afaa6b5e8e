"""Rows of skipped.jsonl: what a stream left out, as its process and as all processes say it.

A bad row has step, position, id, recording, reason and detail; contexts that were cut have step,
reason CONTEXT_CUT and their number in `utterances`.
"""

import collections
from collections.abc import Iterable

# A reason that makes no row bad: counted by step, in `utterances`.
CONTEXT_CUT = "context cut from the left"
# A reason that ends the job: a preprocessor or the like failed, as `detail` says.
FAILED = "failed"


def is_whole(row: dict) -> bool:
    """Whether a row of a file has all its keys, in their types."""
    kinds = dict(step=int, reason=str, utterances=int)
    if row.get("reason") != CONTEXT_CUT:
        kinds = dict(step=int, position=int, id=str, reason=str, detail=str, recording=str)
    return all(type(row.get(key)) is kind for key, kind in kinds.items())


def merged(rows: Iterable[dict]) -> list[dict]:
    """What all processes skipped, in order: bad rows once each, cut contexts by step."""
    # Processes that share a row (its width is sharded over them) all skip it.
    once = {(row["step"], row["position"], row["reason"]): row for row in rows}
    cut, bad = collections.Counter(), []
    for _, row in sorted(once.items()):
        if row["reason"] == CONTEXT_CUT:
            cut[row["step"]] += row["utterances"]
        else:
            bad.append(row)
    bad += [{"step": n, "reason": CONTEXT_CUT, "utterances": cut[n]} for n in cut]
    return sorted(bad, key=lambda row: row["step"])


def contexts_cut(rows: Iterable[dict]) -> int:
    """The utterances whose context was cut."""
    return sum(row["utterances"] for row in rows if row["reason"] == CONTEXT_CUT)
