"""Contexts: the text given beside the speech (Seed-ASR section 3.4), per utterance.

An utterance's own context is the text in its manifest. If it has only `keywords` (names in its
text), its context is a list of names: these, and distractors, which are names of the same language
that its text does not contain. An irrelevant context is of the same kind: the text of another
utterance, or a list of distractors. Training draws contexts by (seed, step, position); a test
fixes a condition:

    manifest:test.jsonl?context=right_3         the right names and three distractors
    manifest:test.jsonl?context=distractors_3   three distractors only
    manifest:test.jsonl?context=wrong_2         another spelling of each name, two distractors
    manifest:test.jsonl?context=own             the context in the manifest

Distractors are names of the same utterances, or of the split in `names=SPLIT`, which is needed for
a test whose sentences contain no names.
"""

import collections
import dataclasses
import hashlib
import itertools
import re

import numpy as np

from seedasr_jax import config
from seedasr_jax.data_pipelines import columns, draws, table
from seedasr_jax.data_pipelines.columns import HOTWORDS
from seedasr_jax.data_pipelines.manifest import Row
from seedasr_jax.errors import ConfigError, DataError, nearest
from seedasr_jax.text import prompts

CONDITIONS = ("own", "none", "right_N", "distractors_N", "wrong_N")
# Keys of the draws for one utterance.
_SHARE, _COUNT, _OTHERS, _ORDER, _KIND, _KEPT, _TEXT = range(7)


class Names:
    """The names in some rows, by language, from which distractors are drawn."""

    def __init__(self, rows):
        self._names = table.of(rows).names()

    def others(self, row: Row, count: int, *key: int) -> list[str]:
        """Up to `count` names of the row's language that are not in its text and fields."""
        own = {*row.keywords, *row.siblings, *columns.listed(row)}
        drawn = _drawn(self._names.get(row.language, ()), *key) if count else ()
        others = (n for n in drawn if n not in own and not prompts.contains(row.text, n))
        return list(itertools.islice(others, count))


class Texts:
    """The contexts of some rows that are texts, by language and kind."""

    def __init__(self, rows):
        self._rows = table.of(rows).texts()

    def other(self, row: Row, kind: str, *key: int) -> str:
        """A different context of this kind from another row of the same language, or ""."""
        drawn = _drawn(self._rows.get((row.language, kind), ()), *key)
        return next((other.context for other in drawn if other.context != row.context), "")


class Training:
    """Draws the contexts of a stage's utterances.

    With `options.kinds`, kinds that are too frequent in the data are used less often, so that the
    kinds have these proportions; the remaining utterances of such a kind get no context. Relevant
    and irrelevant contexts have the same distribution of kinds, which thus reveal no relevance.
    """

    def __init__(self, sources, options: config.Contexts):
        """`sources`: (rows, rate) of each, preferably tables; `options`: the proportions."""
        self._options = options
        self._names = [Names(rows) for rows, _ in sources]
        self._texts = [Texts(rows) for rows, _ in sources]
        found = collections.Counter()  # kind -> weight of the utterances that can have it
        for rows, rate in sources:
            for own, count in _counted(rows).items() if rate else ():
                for kind, share in self._shares(own).items():
                    found[kind] += rate * share * count / len(rows)
        self._kinds = dict(options.kinds) or found
        kept = {kind: self._kinds[kind] / found[kind] for kind in found}
        most = max(kept.values(), default=1.0)
        self._kept = {kind: ratio / most for kind, ratio in kept.items()}

    def _shares(self, own) -> dict[str, float]:
        """{kind: probability} of an utterance with contexts of its `own` kinds."""
        wanted = self._options.kinds
        if not wanted:
            return dict.fromkeys(own[:1], 1.0)
        shares = {kind: wanted[kind] for kind in own if wanted.get(kind)}
        return {kind: share / sum(shares.values()) for kind, share in shares.items()}

    def draw(self, source: int, row: Row, *key: int) -> Row:
        """The row with a drawn context, or without one; `key`: seed, step and position."""
        options, share = self._options, _fraction(*key, _SHARE)
        own = kinds(row)  # empty: only an irrelevant context is possible
        kind = _chosen(self._shares(own) if own else self._kinds, *key, _KIND)
        kept = not own or _fraction(*key, _KEPT) < self._kept.get(kind, 1.0)
        if share < options.plain or kind is None or not kept:
            return without(row)
        if share < options.plain + options.irrelevant or not own:
            return self._irrelevant(source, row, kind, *key)
        if row.context and row.context_kind == kind:
            return row
        count = draws.word(*key, _COUNT) % (options.distractors + 1)
        others = self._names[source].others(row, count, *key, _OTHERS)
        return _listed(row, [*row.keywords, *others], *key)

    def _irrelevant(self, source, row, kind, *key):
        if kind == HOTWORDS:
            count = max(draws.word(*key, _COUNT) % (self._options.distractors + 1), 1)
            others = self._names[source].others(row, count, *key, _OTHERS)
            return _listed(row, others, *key) if others else without(row)
        text = self._texts[source].other(row, kind, *key, _TEXT)
        return dataclasses.replace(row, context=text, context_kind=kind if text else "")


def kinds(row: Row) -> tuple[str, ...]:
    """The kinds of context that a row has: that of its own text ("" if not stated), and a list."""
    return _kinds(row.context_kind if row.context else None, bool(row.keywords))


def _kinds(own: str | None, keywords: bool) -> tuple[str, ...]:
    given = () if own is None else (own,)
    return given + (HOTWORDS,) * (keywords and HOTWORDS not in given)


def _counted(rows) -> dict[tuple[str, ...], int]:
    """{`kinds`: number of rows} in the order of first occurrence."""
    rows = table.of(rows)
    both = rows.column("kind") * np.uint32(2) + rows.has(columns.KEYWORDS)
    found = collections.Counter()
    pairs, firsts, counts = np.unique(both, return_index=True, return_counts=True)
    for place in np.argsort(firsts).tolist():
        kind, keywords = divmod(int(pairs[place]), 2)
        found[_kinds(rows.values("kind")[kind], bool(keywords))] += int(counts[place])
    return found


def without(row: Row) -> Row:
    """The row without a context."""
    return dataclasses.replace(row, context="", context_kind="")


def require(sources, options: config.Contexts):
    """Raises a DataError if a stage requires contexts that no row of its `sources` has."""
    if options.plain == 1:
        return
    found = {kind for rows in sources for own in _counted(rows) for kind in own}
    if not found:
        raise DataError(
            f"data.contexts.tokens = {options.tokens}: expected utterances in data.mixture with a"
            " context or keywords, found none: add such a field to rows, or set tokens to 0"
        )
    if lacking := [kind for kind, share in options.kinds.items() if share and kind not in found]:
        named = ", ".join(sorted(found - {""})) or "none is stated"
        raise DataError(
            f"data.contexts.kinds: expected kinds that occur in data.mixture ({named}), found"
            f" {', '.join(lacking)}: add rows whose context has this context_kind, or remove the"
            " kind"
        )


def check(text: str, condition: str) -> tuple[str, int]:
    """(kind, number) of a condition such as right_3; ConfigError: there is no such condition."""
    kind, _, count = condition.partition("_")
    if condition in CONDITIONS[:2]:
        return kind, 0
    if f"{kind}_N" not in CONDITIONS or not re.fullmatch(r"\d{1,3}", count):
        raise ConfigError(
            f"source {text!r}: context: expected one of {', '.join(CONDITIONS)} with N a number,"
            f" found {condition!r}.{nearest(kind, [c.partition('_')[0] for c in CONDITIONS])}"
        )
    return kind, int(count)


def fixed(rows, condition: tuple[str, int], text: str, names: Names) -> table.Table:
    """The rows with the contexts of a test condition, drawn by each row's id, on access.

    A joined row has one list with the names of all its segments. `condition` is from `check`,
    `text` the SPEC for errors, `names` the source of distractors.

    Raises:
        DataError: a row lacks the field that the condition requires.
    """
    kind, count = condition
    field = {"own": "context", "right": "keywords", "wrong": "siblings"}.get(kind)

    def change(row):
        if field and not getattr(row, field):
            raise DataError(
                f"{text}: line {row.line} ({row.id}): context={kind}: expected a row with {field},"
                " found none; remove such rows, or choose another context"
            )
        if kind in ("none", "own"):
            return without(row) if kind == "none" else row
        key = int(hashlib.sha256(row.id.encode()).hexdigest()[:16], 16)
        given = {"right": row.keywords, "wrong": row.siblings, "distractors": ()}[kind]
        listed = [*given, *names.others(row, count, key, _OTHERS)]
        if not listed and count:
            raise DataError(
                f"{text}: line {row.line} ({row.id}): context={kind}_{count}: expected names of the"
                " row's language, found none: name a split whose rows have keywords, names=SPLIT"
            )
        return _listed(row, listed, key)

    return table.of(rows).mapped(change)


def _listed(row, chosen, *key):
    order = draws.shuffled(len(chosen), *key, _ORDER)
    text = prompts.context(hotwords=[chosen[place] for place in order])
    return dataclasses.replace(row, context=text, context_kind=HOTWORDS)


def _drawn(choices, *key):
    """Yields all choices in an order determined by the key."""
    return (choices[draws.permute(n, len(choices), *key)] for n in range(len(choices)))


def _fraction(*key):
    return draws.word(*key) / 2**64


def _chosen(shares, *key):
    """A choice drawn in proportion to its share; None if there is no choice."""
    left = _fraction(*key) * sum(shares.values())
    for choice, share in shares.items():
        if left < share:
            return choice
        left -= share
    return None
