"""Figures of a corpus, compared with those counted by hand."""

import json

import pytest

from seedasr_jax.data_pipelines.synth import commands, facts


def test_facts_by_hand(tmp_path):
    def row(tag, text, variant, **others):
        voice = {"variant": variant} if variant else {}
        return dict(lang=tag, text=text, duration=900.0, voice=voice) | others

    data = {
        "train": [
            row("en", "a b c", "m1"),
            row("en", "a b c", "m2"),
            row("zh", "甲乙", "", speaker="s"),
        ],
        "test": [row("en", "b a", "f1"), row("en", "a b", "f1"), row("zh", "甲乙", "f1")],
        "names": [row("en", "a b c", "f2"), row("fr", "a b c", "f2")],
    }
    for split, own in data.items():
        (tmp_path / split).write_text("".join(json.dumps(r) + "\n" for r in own))
    found = facts.of({split: tmp_path / split for split in data})
    assert found == {
        "hours": 2.0,
        "overlap_sentences": 2,  # one in `names`, one in `test`
        "languages": {
            "en": {
                "utterances": 4,
                "distinct_words": 3,
                "train_sentences": 1,
                "train_voices": 2,
                "test_voices": 1,
                "test_share_with_unseen_pair": 0.5,
            },
            "zh": {
                "utterances": 2,
                "distinct_words": 2,
                "train_sentences": 1,
                "train_voices": 1,
                "test_voices": 1,
                "test_share_with_unseen_pair": 0.0,
            },
        },
    }
    with pytest.raises(AssertionError):
        commands.require(found)
