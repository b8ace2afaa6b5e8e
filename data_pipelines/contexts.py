"""Contexts: the text beside the speech (Seed-ASR section 3.4), per utterance.

An utterance's own context is the text in its manifest. If it has only `keywords`, names that its
text contains, the context is a list of names: these, and distractors that are not said, drawn from
all names of its language. An irrelevant context is of the same kind: the text of another
utterance, or a list of distractors. Training draws by (seed, step, position); a test fixes a
condition:

    manifest:test.jsonl?context=right_3         the right names and three others
    manifest:test.jsonl?context=distractors_3   three others only
    manifest:test.jsonl?context=wrong_2         another spelling of each name, and two others
    manifest:test.jsonl?context=own             the context in the manifest

Distractors are names of the same utterances, or of the split in `names=SPLIT`, which a test whose
sentences have no names needs.
"""

import collections
import dataclasses
import hashlib
import re

import numpy as np

from seedasr_jax import config
from seedasr_jax.data_pipelines import columns, draws, table
from seedasr_jax.data_pipelines.columns import HOTWORDS
from seedasr_jax.data_pipelines.manifest import Row
from seedasr_jax.errors import ConfigError, DataError, nearest
from seedasr_jax.text import prompts

CONDITIONS = ("own", "none", "right_N", "distractors_N", "wrong_N")
# Draws of one utterance.
_SHARE, _COUNT, _OTHERS, _ORDER, _KIND, _KEPT, _TEXT = range(7)


class Names:
    """All names in some rows, by language: distractors are drawn from them."""

    def __init__(self, rows):
        self._names = table.of(rows).names()

    def others(self, row: Row, count: int, *key: int) -> list[str]:
        """Up to `count` names of the row's language that its text does not contain.

        Its keywords and their siblings are left out too.
        """
        meant = {*row.keywords, *row.siblings, *columns.listed(row)}
        drawn = _drawn(self._names.get(row.language, ()), *key) if count else ()
        free = (name for name in drawn if name not in meant and not prompts.holds(row.text, name))
        return [name for name, _ in zip(free, range(count))]


class Texts:
    """All contexts of some rows that are texts, by language and kind."""

    def __init__(self, rows):
        self._rows = table.of(rows).texts()

    def other(self, row: Row, kind: str, *key: int) -> str:
        """The context of another utterance of the row's language; "" where there is none."""
        drawn = _drawn(self._rows.get((row.language, kind), ()), *key)
        return next((other.context for other in drawn if other.context != row.context), "")


class Training:
    """Draws the contexts of a stage's utterances.

    With `options.kinds`, kinds that are too frequent in the data are used less often, until the
    kinds have these shares; the other utterances of such a kind get no context. Relevant and
    irrelevant contexts have the same kinds, so that the kind does not reveal the relevance.
    """

    def __init__(self, sources, options: config.Contexts):
        """Args: `sources`, (rows, rate) each, best tables; `options`, the shares."""
        self._options = options
        self._names = [Names(rows) for rows, _ in sources]
        self._texts = [Texts(rows) for rows, _ in sources]
        found = collections.Counter()  # kind -> share of utterances that can have it
        for rows, rate in sources:
            for own, count in _counted(rows).items() if rate else ():
                for kind, share in self._shares(own).items():
                    found[kind] += rate * share * count / len(rows)
        self._of_all = dict(options.kinds) or found
        kept = {kind: self._of_all[kind] / found[kind] for kind in found}
        most = max(kept.values(), default=1.0)
        self._kept = {kind: ratio / most for kind, ratio in kept.items()}

    def _shares(self, own) -> dict[str, float]:
        """The `kinds` of an utterance, with shares that add up to 1."""
        wanted = self._options.kinds
        if not wanted:
            return dict.fromkeys(own[:1], 1.0)
        shares = {kind: wanted[kind] for kind in own if wanted.get(kind)}
        return {kind: share / sum(shares.values()) for kind, share in shares.items()}

    def draw(self, source: int, row: Row, *key: int) -> Row:
        """The row with the context of one draw, or with none; `key`: seed, step and position."""
        options, share = self._options, _fraction(*key, _SHARE)
        own = kinds(row)  # none: only an irrelevant context is possible
        kind = _chosen(self._shares(own) if own else self._of_all, *key, _KIND)
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
    """The kinds of context that a row itself has: its own, "" if unnamed, and a list."""
    return _kinds(row.context_kind if row.context else None, bool(row.keywords))


def _kinds(own: str | None, keywords: bool) -> tuple[str, ...]:
    given = () if own is None else (own,)
    return given + (HOTWORDS,) * (keywords and HOTWORDS not in given)


def _counted(rows) -> dict[tuple[str, ...], int]:
    """`kinds` -> number of rows that have them, in the order of the first of each."""
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
    """Raises a DataError if a stage asks for contexts that no row of its `sources` has."""
    if options.plain == 1:
        return
    found = {kind for rows in sources for own in _counted(rows) for kind in own}
    if not found:
        raise DataError(
            f"data.contexts.tokens = {options.tokens}, but no utterance of data.mixture has a"
            " context or keywords: give rows such a field, or set it to 0"
        )
    if lacking := [kind for kind, share in options.kinds.items() if share and kind not in found]:
        named = ", ".join(sorted(found - {""})) or "none that is named"
        raise DataError(
            f"data.contexts.kinds: expected kinds that utterances of data.mixture have ({named}),"
            f" found {', '.join(lacking)}: add rows whose context has this context_kind, or leave"
            " the kind out"
        )


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


def fixed(rows, condition: tuple[str, int], text: str, names: Names) -> table.Table:
    """The rows with the contexts of a test, drawn by each row's id; none of them is held.

    A joined row has one list, of the names in all its parts.

    Args:
        rows: of the test.
        condition: see `check`.
        text: the SPEC, for errors.
        names: for distractors.

    Raises:
        DataError: a row lacks the field that the condition needs.
    """
    kind, count = condition
    field = {"own": "context", "right": "keywords", "wrong": "siblings"}.get(kind)

    def change(row):
        if field and not getattr(row, field):
            raise DataError(
                f"{text}: line {row.line} ({row.id}): context={kind} needs a row with {field};"
                " take such rows out, or choose another context"
            )
        if kind in ("none", "own"):
            return without(row) if kind == "none" else row
        key = int(hashlib.sha256(row.id.encode()).hexdigest()[:16], 16)
        said = {"right": row.keywords, "wrong": row.siblings, "distractors": ()}[kind]
        listed = [*said, *names.others(row, count, key, _OTHERS)]
        if not listed and count:
            raise DataError(
                f"{text}: line {row.line} ({row.id}): context={kind}_{count} finds no name of its"
                " language to list: name a split whose rows have keywords with names=SPLIT"
            )
        return _listed(row, listed, key)

    return table.of(rows).mapped(change)


def _listed(row, chosen, *key):
    order = draws.shuffled(len(chosen), *key, _ORDER)
    return dataclasses.replace(
        row,
        context=prompts.context(hotwords=[chosen[place] for place in order]),
        context_kind=HOTWORDS,
    )


def _drawn(choices, *key):
    """Yields the choices in an order that belongs to the key."""
    return (choices[draws.permute(n, len(choices), *key)] for n in range(len(choices)))


def _fraction(*key):
    return draws.word(*key) / 2**64


def _chosen(shares, *key):
    """A choice in proportion to its share; None where there is none."""
    left = _fraction(*key) * sum(shares.values())
    for choice, share in shares.items():
        if left < share:
            return choice
        left -= share
    return None
