"""What a corpus is, in figures that come from its manifests alone.

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
    """split -> its manifest; the figures of all splits, and of each language in `train`, `test`."""
    return of_rows({split: _rows(path) for split, path in manifests.items()})


def of_rows(rows) -> dict:
    """The same from rows: split -> objects as a manifest has them.

    Returns:
        `hours` of all splits; `overlap_sentences`: sentences of other splits that `train` has too;
        by language `utterances` (of `train` and `test`), `distinct_words` (units in `train`),
        `train_sentences` (distinct), `train_voices`, `test_voices` (variants where rows name them,
        else speakers), and `test_share_with_unseen_pair`: the share of the sentences of `test` with
        two neighbouring units that are nowhere neighbours in `train`.
    """
    texts = {split: _by_language(own, _text) for split, own in rows.items()}
    voices = {split: _by_language(own, _voice) for split, own in rows.items()}
    counts = collections.Counter(row["lang"] for row in (*rows["train"], *rows["test"]))
    seconds = sum(row["duration"] for own in rows.values() for row in own)
    overlap = set()
    for split in rows.keys() - {"train"}:
        for tag, own in texts[split].items():
            overlap |= {(tag, text) for text in own & texts["train"].get(tag, set())}
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
    """The words of a text, or its characters, as the language's error rate counts them."""
    return text.split() if _counts_words(tag) else list(text.replace(" ", ""))


def pairs(tag: str, text: str) -> set[tuple[str, str]]:
    """The neighbours in a text."""
    return set(itertools.pairwise(units(tag, text)))


def _unseen_share(tag, train, test):
    seen = {pair for text in train for pair in pairs(tag, text)}
    return round(sum(not pairs(tag, text) <= seen for text in test) / max(len(test), 1), 4)


def _by_language(rows, value):
    found = collections.defaultdict(set)
    for row in rows:
        found[row["lang"]].add(value(row))
    return found


def _text(row):
    return row["text"]


def _voice(row):
    return row.get("voice", {}).get("variant") or row.get("speaker", "")


def _rows(path):
    with pathlib.Path(path).open(encoding="utf-8") as file:
        return [json.loads(line) for line in file if not line.isspace()]
