"""Figures of a corpus, computed from its manifests alone.

    facts.of(made)    # {"hours": 5.7, "overlap_sentences": 0, "languages": {"en": {...}, ...}}

A *unit* is a word, or a character where error rates count characters (text/languages.py).
"""

import collections
import functools
import itertools
import json
import pathlib

from seedasr_jax.text import languages


def of(manifests) -> dict:
    """Figures of a corpus from {split: its manifest}; see `of_rows`."""
    return of_rows({split: _rows(path) for split, path in manifests.items()})


def of_rows(rows) -> dict:
    """Figures of a corpus from {split: manifest rows}.

    Returns:
        `hours` of all splits; `overlap_sentences`, the number of sentences of other splits that are
        also in `train`; `languages`, by tag `utterances` (of `train` and `test`), `distinct_words`
        (units in `train`), `train_sentences` (distinct), `train_voices`, `test_voices` (variants if
        the rows name them, else speakers), and `test_share_with_unseen_pair`, the fraction of
        distinct `test` sentences with two neighbouring units that are never neighbours in `train`.
    """
    texts = {split: _by_language(each, lambda row: row["text"]) for split, each in rows.items()}
    voices = {split: _by_language(each, _voice) for split, each in rows.items()}
    counts = collections.Counter(row["lang"] for row in (*rows["train"], *rows["test"]))
    seconds = sum(row["duration"] for each in rows.values() for row in each)
    overlap = set()
    for split in rows.keys() - {"train"}:
        for tag, sentences in texts[split].items():
            overlap |= {(tag, text) for text in sentences & texts["train"].get(tag, set())}
    return {
        "hours": round(seconds / 3600, 4),
        "overlap_sentences": len(overlap),
        "languages": {
            tag: {
                "utterances": counts[tag],
                "distinct_words": len({unit for text in train for unit in units(tag, text)}),
                "train_sentences": len(train),
                "train_voices": len(voices["train"][tag]),
                "test_voices": len(voices["test"][tag]),
                "test_share_with_unseen_pair": _unseen_share(tag, train, texts["test"][tag]),
            }
            for tag, train in texts["train"].items()
        },
    }


@functools.cache
def _counts_words(tag):
    return languages.lookup(tag).unit == "word"


def units(tag: str, text: str) -> list[str]:
    """Words or characters of a text, whichever the language's error rate counts."""
    return text.split() if _counts_words(tag) else list(text.replace(" ", ""))


def pairs(tag: str, text: str) -> set[tuple[str, str]]:
    """Pairs of neighbouring units of a text."""
    return set(itertools.pairwise(units(tag, text)))


def _unseen_share(tag, train, test):
    trained = {pair for text in train for pair in pairs(tag, text)}
    return round(sum(not pairs(tag, text) <= trained for text in test) / max(len(test), 1), 4)


def _by_language(rows, value):
    found = collections.defaultdict(set)
    for row in rows:
        found[row["lang"]].add(value(row))
    return found


def _voice(row):
    return row.get("voice", {}).get("variant") or row.get("speaker", "")


def _rows(path):
    with pathlib.Path(path).open(encoding="utf-8") as file:
        return [json.loads(line) for line in file if not line.isspace()]
