"""A row of results.jsonl: counts, languages, names, contexts and intervals, without a model."""

import json

import pytest

from seedasr_jax import config
from seedasr_jax.data_pipelines import index, sources
from seedasr_jax.data_pipelines.manifest import Row
from seedasr_jax.decode import recogniser as recognisers
from seedasr_jax.errors import ConfigError
from seedasr_jax.evaluate import score as scores

KEYS = ["checkpoint", "task", "decode", "normalizer", "unit", "utterances", "ref_len"]
KEYS += ["sub", "del", "ins", "error_rate", "ci_low", "ci_high", "ci_unit"]


class Echo:
    """A recogniser whose batches are its hypotheses."""

    def decode(self, batch, method):
        return [recognisers.Hypothesis(text, (), ()) for text in batch]


def scored(examples, hypotheses, **how):
    """The row and the utterances of these hypotheses."""
    return scores.evaluate(Echo(), "c", "t", [(hypotheses, examples)], setting_of(**how))


def setting_of(**how):
    own = config.Eval(
        tasks=(),
        buckets=(),
        every=0,
        decode="greedy",
        normalizer="basic@2",
        unit="word",
        tokens=9,
    )
    return scores.setting(own, **how)


def test_names_contexts_and_languages_have_figures_of_their_own():
    def example(number, text, **more):
        return Row(f"u{number}", text=text, seconds=1.5, **more)

    listed = {"context_kind": "hotwords"}
    examples = [
        example(0, "call ann", language="en", keywords=("Ann",), context="Bob, ann", **listed),
        example(
            1,
            "call bob",
            language="en",
            keywords=("bob",),
            siblings=("Ann",),
            context="ann, bob",
            context_kind="participants",
        ),
        example(2, "打开灯", language="zh"),
    ]
    said = ["call ann", "call ann", "打灯"]
    how = dict(unit="mixed", normalizer="basic@1")
    row, utterances = scored(examples, said, **how)
    assert row["error_rate"] == pytest.approx(100 * 2 / 7, abs=1e-4)
    assert {tag: found["error_rate"] for tag, found in row["by_language"].items()} == {
        "en": 25.0,
        "zh": pytest.approx(100 / 3, abs=1e-4),
    }
    assert row["keywords"]["recall"] == 50.0 and row["keywords"]["precision"] == 100.0
    assert row["context"] == {"insertions": 1, "leaking": pytest.approx(100 / 3, abs=1e-4)}
    assert row["siblings"] == row["context"]
    by = row["by_context_kind"]
    assert {kind: found["error_rate"] for kind, found in by.items()} == {
        "hotwords": 0.0,
        "participants": 50.0,
    }
    english = row["by_language"]["en"]
    assert english["keywords"]["recall"] == 50.0 and english["context"]["leaking"] == 50.0
    assert "keywords" not in row["by_language"]["zh"] and "by_dialect" not in row
    assert scores.measure(utterances, setting_of(**how).conventions).items() <= row.items()
    assert utterances[0]["keywords"] == ("Ann",) and utterances[0]["seconds"] == 1.5
    alone, _ = scored(examples[2:], said[2:], **how)
    assert list(alone) == [*KEYS, "ci_reason"]
    assert alone["ci_low"] is None and alone["ci_reason"] == "1 utterance: an interval needs 10"


def test_results_do_not_depend_on_the_order_of_batches():
    examples = [Row(f"u{n}", text="one two three", speaker=f"s{n // 2}") for n in range(24)]
    hypotheses = [" ".join(["one", "two", "three"][: n % 4]) for n in range(24)]
    batches = [(hypotheses[n::3], examples[n::3]) for n in range(3)]
    found = [
        scores.evaluate(Echo(), "c", "t", own, setting_of(), order=examples)
        for own in (batches, batches[::-1])
    ]
    assert found[0] == found[1] == scored(examples, hypotheses)
    assert [utterance["id"] for utterance in found[0][1]] == [row.id for row in examples]


def test_each_utterance_is_counted_by_its_language():
    examples = [
        Row("a", text="今天天气非常好啊", language="zh-x-sichuan"),
        Row("b", text="Well-known: 1,000 words", language="en_NZ"),
        Row("c", text="וְצ׳יפס", language="he"),
        Row("d", text="3-4 días", language="es"),
        Row("e", text="今天天气 非常好啊"),
        Row("f", text="dobar dan", language="sr"),
    ]
    hypotheses = [
        "今天天气非常好呀",
        "well known 1000 word",
        "וצ'יפס",
        "34 días",
        "今天天气",
        "dobar",
    ]
    row, _ = scored(examples, hypotheses)
    assert (row["normalizer"], row["unit"]) == ("language", "language")
    rates = {tag: found["error_rate"] for tag, found in row["by_language"].items()}
    assert rates == {"zh-x-sichuan": 12.5, "en_NZ": 25.0, "he": 0, "es": 66.6667, "sr": 50.0}
    assert (row["sub"], row["del"], row["ins"]) == (3, 3, 0)
    assert row["ref_len"] == 8 + 4 + 1 + 3 + 2 + 2  # the counts are pooled
    assert row["unstated"] == {"utterances": 2, "normalizer": "basic@2", "unit": "word"}
    row, _ = scored(examples[4:], hypotheses[4:])
    assert (row["normalizer"], row["unit"]) == ("basic@2", "word") and "unstated" not in row
    row, _ = scored(examples, hypotheses, unit="mixed", normalizer="basic@1")
    assert (row["normalizer"], row["unit"], row["ref_len"]) == (
        "basic@1",
        "mixed",
        8 + 4 + 2 + 2 + 8 + 2,
    )
    assert "unstated" not in row
    row, _ = scored(examples, hypotheses, unit="char")
    assert (row["normalizer"], row["unit"]) == ("language", "char")


def test_what_states_no_language_is_reported():
    warning = "2 of 3 utterances state no language of text/languages.py (sr): counted by "
    assert setting_of().conventions.warning(["zh", "", "sr"]) == warning + "word, basic@2"
    half = setting_of(unit="char").conventions
    assert half.warning(["zh", "", "sr"]) == warning + "char, basic@2"
    both = setting_of(unit="mixed", normalizer="basic@1").conventions
    assert setting_of().conventions.warning(["zh"]) == both.warning(["", "sr"]) == ""


def test_all_utterances_may_be_of_one_language():
    examples = [Row("a", text="今天天气非常好啊"), Row("b", text="好", language="en")]
    row, _ = scored(examples, ["今天天气非常好呀", "好"], language="zh_CN")
    assert (row["normalizer"], row["unit"], row["ref_len"]) == ("zh@2", "char", 9)
    assert row["error_rate"] == pytest.approx(100 / 9, abs=1e-4) and "unstated" not in row


@pytest.mark.parametrize(
    "how", [dict(unit="words"), dict(normalizer="basik@1"), dict(language="engl")]
)
def test_names_of_conventions_are_checked(how):
    with pytest.raises(ConfigError, match=r"Did you mean (word|basic@|nl, en)"):
        setting_of(**how)


def test_intervals_respect_the_recordings_of_joined_strings(tmp_path):
    """Twenty recordings, four of them always wrong, alone and joined: the same interval."""
    rows = [
        dict(id=f"u{n:03}", audio=f"{n}.wav", duration=0.5, text=text, speaker=f"s{n % 2}")
        for n, text in enumerate(("one", "two", "three", "four") * 5)
    ]
    path = tmp_path / "m.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    single, found = f"manifest:{path}", {}
    for spec in (single, f"{single}?join=3-6&seed=0"):
        rows = index.fixed(sources.open_source(spec, "cache"))
        hypotheses = [
            " ".join(
                "x" if int(part.id[1:]) % 5 == 0 else part.text for part in row.segments or (row,)
            )
            for row in rows
        ]
        found[spec], _ = scored(rows, hypotheses)
    (alone, joined), widths = found.values(), []
    assert (alone["ci_unit"], joined["ci_unit"]) == ("utterance", "recording")
    assert joined["utterances"] >= 500
    for row in (alone, joined):
        widths.append(row["ci_high"] - row["ci_low"])
    for bound in ("ci_low", "ci_high"):
        assert abs(alone[bound] - joined[bound]) < 0.2 * min(widths)


def test_segments_of_a_file_are_drawn_together():
    def row(files, count=48):
        names = [f"{n * files // count}.wav" for n in range(count)]
        rows = [Row(f"u{n}", name, float(n), text="a b") for n, name in enumerate(names)]
        return scored(rows, ["a x" if n < 8 else "a b" for n in range(count)])

    (alone, _), (shared, said), (few, _) = row(48), row(12), row(9)
    assert (alone["ci_unit"], shared["ci_unit"]) == ("utterance", "recording")
    assert alone["error_rate"] == shared["error_rate"]
    width = alone["ci_high"] - alone["ci_low"]
    assert shared["ci_high"] - shared["ci_low"] > 1.5 * width
    assert [one["recording"] for one in said[:5]] == ["u0", "u0", "u0", "u0", "u4"]
    assert few["ci_low"] is None and few["ci_reason"].startswith("9 recordings:")


def test_ten_speakers_are_what_is_drawn():
    def row(speakers):
        examples = [
            Row(f"u{n}", text="a b", speaker=f"s{n % speakers}", language="en") for n in range(40)
        ]
        return scored(examples, ["a x" if n % speakers == 0 else "a b" for n in range(40)])[0]

    few, many = row(9), row(10)
    assert (few["ci_unit"], many["ci_unit"]) == ("utterance", "speaker")
    assert many["ci_high"] - many["ci_low"] > few["ci_high"] - few["ci_low"]
