"""Contexts: what the model is told beside the speech (Seed-ASR section 3.4), per utterance.

An utterance's own context is the text that its manifest gives. Where it has none but names, its
`keywords`, the context is a list of names: those that are said, and distractors that are not, drawn
from all names of its language. Training draws by (seed, step, position); a test fixes a condition:

    manifest:test.jsonl?context=right_3         the right names and three others
    manifest:test.jsonl?context=distractors_3   three others only
    manifest:test.jsonl?context=wrong_2         another spelling of each name, and two others
    manifest:test.jsonl?context=own             what the manifest says

Distractors are names of the same utterances, or those of the split that `names=SPLIT` says: a test
whose sentences have no name needs it.
"""

import collections
import dataclasses
import hashlib
import re

from seedasr_jax import config
from seedasr_jax.data_pipelines import draws
from seedasr_jax.data_pipelines.manifest import Row
from seedasr_jax.errors import ConfigError, DataError, nearest
from seedasr_jax.text import prompts

CONDITIONS = ("own", "none", "right_N", "distractors_N", "wrong_N")
_KIND, _COUNT, _OTHERS, _ORDER = range(4)  # draws of one utterance


class Names:
    """All names that the utterances of some rows hold, by language: where distractors come from."""

    def __init__(self, rows):
        found = collections.defaultdict(set)
        for row in rows:
            found[row.language].update(row.keywords)
        self._names = {language: tuple(sorted(names)) for language, names in found.items()}

    def others(self, row: Row, count: int, *key: int) -> list[str]:
        """Up to `count` names of the row's language, none of which could be meant."""
        names, meant = self._names.get(row.language, ()), {*row.keywords, *row.siblings}
        drawn = (names[draws.permute(n, len(names), *key)] for n in range(len(names)))
        free = (name for name in drawn if name not in meant)
        return [name for name, _ in zip(free, range(count))]


def draw(row: Row, names: Names, options: config.Contexts, *key: int) -> Row:
    """The row with the context of one draw, or with none.

    Args:
        row: its own context is used where it has one.
        names: for distractors.
        options: shares of the kinds.
        key: of the draw: seed, step and position.
    """
    share = draws.word(*key, _KIND) / 2**64
    relevant = bool(row.context or row.keywords)
    if share < options.plain or not (relevant or names.others(row, 1, 0)):
        return dataclasses.replace(row, context="")
    count = draws.word(*key, _COUNT) % (options.distractors + 1)
    if share < options.plain + options.irrelevant or not relevant:
        count = max(count, 1)
        return _listed(row, names.others(row, count, *key, _OTHERS), *key)
    if row.context:
        return row
    return _listed(row, [*row.keywords, *names.others(row, count, *key, _OTHERS)], *key)


def check(text: str, condition: str) -> tuple[str, int]:
    """A condition and its number.

    Raises:
        ConfigError: it is none.
    """
    kind, _, count = condition.partition("_")
    if condition in CONDITIONS[:2]:
        return kind, 0
    if f"{kind}_N" not in CONDITIONS or not re.fullmatch(r"\d{1,3}", count):
        raise ConfigError(
            f"source {text!r}: context: expected one of {', '.join(CONDITIONS)} with N a number,"
            f" found {condition!r}.{nearest(kind, [c.partition('_')[0] for c in CONDITIONS])}"
        )
    return kind, int(count)


def fixed(rows, condition: tuple[str, int], text: str, names: Names) -> tuple[Row, ...]:
    """The rows with the contexts of a test, drawn by each row's id.

    Joined rows have a list of their own, of the names that all their parts hold.

    Args:
        rows: of the test.
        condition: see `check`.
        text: the SPEC, for errors.
        names: for distractors.

    Raises:
        DataError: a row has not what the condition is about.
    """
    kind, count = condition
    if kind == "none":
        return tuple(dataclasses.replace(row, context="") for row in rows)
    lacking = {
        "own": lambda row: not row.context and "context",
        "right": lambda row: not row.keywords and "keywords",
        "wrong": lambda row: not row.siblings and "siblings",
        "distractors": lambda row: False,
    }[kind]
    made = []
    for row in rows:
        if field := lacking(row):
            raise DataError(
                f"{text}: line {row.line} ({row.id}): context={kind} needs a row with {field};"
                " take such rows out, or choose another context"
            )
        if kind == "own":
            made.append(row)
            continue
        key = int(hashlib.sha256(row.id.encode()).hexdigest()[:16], 16)
        said = {"right": row.keywords, "wrong": row.siblings, "distractors": ()}[kind]
        made.append(_listed(row, [*said, *names.others(row, count, key, _OTHERS)], key))
    return tuple(made)


def _listed(row, chosen, *key):
    order = draws.shuffled(len(chosen), *key, _ORDER)
    return dataclasses.replace(
        row,
        context=prompts.context(hotwords=[chosen[place] for place in order]),
        context_kind="hotwords",
    )
