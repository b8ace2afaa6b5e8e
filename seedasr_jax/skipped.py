"""Rows of skipped.jsonl: data that a stream left out, of one process or merged over all.

A bad row has step, position, id, recording, reason and detail; truncated contexts have step, reason
CONTEXT_CUT and their number in `utterances`.
"""

import collections
from collections.abc import Iterable

from seedasr_jax import errors

CONTEXT_CUT = "context cut from the left"  # a reason that does not make a row bad
FAILED = "failed as "  # begins a reason that ends the job; the class of the error follows


def failed(error: errors.UserError) -> str:
    """The reason of a row that an error ends the job with."""
    return FAILED + errors.kind_of(error).__name__


def check_failed(row: dict) -> None:
    """Raises the error of a row whose reason is `failed`."""
    if row["reason"].startswith(FAILED):
        raise getattr(errors, row["reason"].removeprefix(FAILED))(row["detail"])


def is_whole(row: dict) -> bool:
    """Whether a row of a file has all keys, with values of the right types."""
    kinds = dict(step=int, reason=str, utterances=int)
    if row.get("reason") != CONTEXT_CUT:
        kinds = dict(step=int, position=int, id=str, reason=str, detail=str, recording=str)
    return all(type(row.get(key)) is kind for key, kind in kinds.items())


def merged(rows: Iterable[dict]) -> list[dict]:
    """Merges the rows of all processes, by step: each bad row once, truncated contexts summed."""
    # Processes whose devices differ only along tensor have the same batch rows and skip the same.
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
    """Number of utterances whose context was truncated."""
    return sum(row["utterances"] for row in rows if row["reason"] == CONTEXT_CUT)
