"""summary.json: what stands in it, from results and metrics that are made up."""

import json

import pytest

from seedasr_jax.evaluate import cells, score
from seedasr_jax.launch.quickstart import plans, summary
from seedasr_jax.text.conventions import Convention, Conventions

BY = Conventions(Convention("basic@2", "mixed"))
STAGES = ("ssl1", "probe", "kmeans", "ssl2", "ctc", "lm", "sft", "context_sft", "rl")
DECODINGS = ("", "beam4,alpha=6", "beam4,alpha=6,prune=off")


def utterance(number, reference, hypothesis, **more):
    about = dict.fromkeys(score.ABOUT, "") | {"keywords": [], "siblings": [], "parts": []}
    said = {"reference": reference, "hypothesis": hypothesis}
    return about | {"id": f"u{number}", "language": "en", "dialect": "en-GB"} | said | more


def call(number, name, hypothesis, **more):
    """`call NAME`, whose other spelling has an e behind it."""
    named = {"keywords": [name], "siblings": [f"{name}e"]}
    return utterance(number, f"call {name}", hypothesis, **named | more)


def row(utterances):
    """A row of results.jsonl as `score.evaluate` writes it."""
    tags = sorted({u["language"] for u in utterances})
    by = {t: score.measure([u for u in utterances if u["language"] == t], BY) for t in tags}
    found = {"task": "t", "decode": "greedy"} | score.measure(utterances, BY)
    return found | ({"by_language": by} if len(by) > 1 else {})


def results(**tests):
    return {test: summary.Result(row(own), own) for test, own in tests.items()}


def both(hypothesis, **more):
    """An English and a Spanish call of ann with this hypothesis."""
    return [
        call(0, "ann", hypothesis, **more),
        call(1, "ann", hypothesis, language="es", dialect="es-MX", **more),
    ]


@pytest.fixture
def listed():
    """Results by test of a stage that reads lists."""
    plain = [utterance(0, "stop now", "stop now"), utterance(1, "alto", "alto", language="es")]
    fooled = [plain[0] | {"hypothesis": "stop zoe", "context": "zoe"}, plain[1]]
    others = both("call zoe", context="zoe, max")
    found = results(
        test=plain,
        test_distractors_3=fooled,
        none=both("call anne"),
        right_3=both("call ann", context="ann, zoe"),
        wrong_3=[*both("call anne", context="anne, zoe"), call(2, "bo", "call zoe", context="zoe")],
        distractors_3=others,
        unseen_none=both("call an"),
        unseen_right_3=both("call ann", context="ann"),
        unseen_distractors_3=[others[0], others[1] | {"hypothesis": "call ann"}],
    )
    return found | {f"pruning_{s}": found["distractors_3"] for s in ("on", "off")}


def test_error_rates_by_language_and_dialect():
    own = score.measure([utterance(0, "a b", "a")], BY)
    made = summary.error_rates(own | {"by_language": {"en": own}, "by_dialect": {"en-GB": own}})
    assert made["error_rate"] == {"all": 50, "by_language": {"en": 50}, "by_dialect": {"en-GB": 50}}
    assert made["error_rate_ci"]["by_language"]["en"] == [None, None]
    assert made["utterances"] == {"all": 1, "by_language": {"en": 1}, "by_dialect": {"en-GB": 1}}
    assert summary.error_rates(own)["utterances"] == {"all": 1}


def test_contexts(listed):
    made = summary.contexts(listed)
    assert made["none"]["recall"] == 0 and made["none"]["siblings"] == 100
    assert made["right_3"]["recall"] == 100 and made["right_3"]["error_rate"] == 0
    assert made["right_3"]["by_language"]["es"]["recall"] == 100
    # Of three, two took the spelling that was planted and one another name of the list.
    assert made["wrong"]["follow"] == pytest.approx(200 / 3, abs=1e-4)
    assert made["wrong"]["recall"] == 0
    assert made["unseen_names"]["recall"] == 100 and made["unseen_names"]["none"]["recall"] == 0
    assert made["unseen_names"]["false_insertions"] == 50
    assert made["pruning"]["on"]["false_insertions"] == 100
    listed = made["distractors_3"]
    assert listed["recall"] == 0 and listed["homophones"]["false_insertions"] == 100
    assert listed["error_rate"] == listed["cost"] == pytest.approx(100 / 3, abs=1e-4)
    assert listed["false_insertions"] == 50
    assert {tag: own["cost"] for tag, own in listed["by_language"].items()} == {"en": 50, "es": 0}


def test_differences_are_of_the_same_utterances(listed):
    after = listed | results(none=both("call ann"), rare=both("call ann"))
    made = summary.paired(listed, after, BY)
    assert list(made) == list(listed)  # of both, in their order
    assert made["none"] == {"difference": -50.0, "ci": [None, None]}
    assert made["right_3"] == {"difference": 0.0, "ci": [None, None]}
    many = [[call(n, "ann", f"call ann{e}") for n in range(12)] for e in ("e", "")]
    made = summary.paired(*(results(none=said) for said in many), BY)
    assert made["none"] == {"difference": -50.0, "ci": [-50.0, -50.0]}
    shifted = results(none=both("call ann")[::-1])
    with pytest.raises(AssertionError, match="none"):
        summary.paired(listed, shifted, BY)


def test_the_matcher_reads_lists_with_the_hypotheses_of_ctc():
    partial = both("call an", context="ann, zoe")
    others = both("call an", context="max, zoe")
    plain = [utterance(0, "stop now", "stop now", context="noah, tom")]
    found = results(
        test=plain * 50,
        test_distractors_3=plain * 50,
        right_3=partial,
        distractors_3=others,
        unseen_right_3=partial,
        unseen_distractors_3=others,
        dev_distractors_3=plain * 50 + both("call an", context="ann")[1:] * 50,
    )
    found["test"].row["by_language"] = {"en": row(plain)}
    made = summary.matched(found, BY)
    # English may go far; one Spanish sentence in two per cent would already get `ann`.
    assert made["threshold"]["en"] > 1 / 3
    assert made["right_3"]["by_language"]["en"]["recall"] == 100
    assert made["distractors_3"]["recall"] == 0
    assert made["distractors_3"]["homophones"]["false_insertions"] == 0
    assert made["unseen_names"]["false_insertions"] == 0
    assert made["distractors_3"]["cost"] == 0


def test_curves_of_probe_and_rl(tmp_path):
    rows = [
        {"step": 1, "loss": 3.0},
        {"step": 2, "loss": 2.0, "best_layer": 1.0, "eval/t/layers/01": 9.0, "eval/t/layers/02": 9},
        {
            "step": 4,
            "loss": 1.0,
            "best_layer": 2.0,
            **{
                f"eval/{task}/layers/{n:02}": 10.0 * n + k
                for k, task in enumerate("tu")
                for n in (1, 2)
            },
            "eval/t/error_rate": 7.0,
        },
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    assert summary.probe(tmp_path) == {"layers": {"1": 10.5, "2": 20.5}, "best_layer": 2}
    risks = [{"step": n, "loss": 0.1, "risk": 0.5 / n} for n in (1, 2)] + [{"step": 2, "eval/t": 1}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in risks))
    assert summary.expected_errors(tmp_path) == [[1, 0.5], [2, 0.25]]
    assert summary.probe(tmp_path) == {} == summary.probe(tmp_path / "none")


def test_training_is_what_the_folder_says(tmp_path):
    record = {"spent": {"seconds": 9.87, "cpu_seconds": 19.7}, "parents": {}}
    record["parents"]["encoder"] = {"checkpoint": "ctc@9", "hash": "1a"}
    record["recipe"] = {"kind": "ctc"}
    (tmp_path / "stage.json").write_text(json.dumps(record))
    lines = [
        '{"step": 1, "loss": 3.5}\n',
        '{"step": 2, "eval/t": 1.0}\n',
        '{"step": 3, "loss": 2}\n',
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(lines))
    assert summary.training(tmp_path, 3) == {
        "steps": 3,
        "seconds": 9.9,
        "cpu_seconds": 19.7,
        "loss_first": 3.5,
        "loss_last": 2,
        "parent": {"encoder": "ctc@9"},
    }
    record["recipe"]["kind"] = "clocked_ctc"
    (tmp_path / "stage.json").write_text(json.dumps(record))
    assert summary.training(tmp_path, 3)["labels"] == "clock"


def test_results_are_read_back_by_test(listed, tmp_path):
    rows = [listed[test].row | {"task": f"task-{test}"} for test in ("none", "right_3")]
    cells.write(tmp_path, rows, [listed[test].utterances for test in ("none", "right_3")])
    found = summary.read(tmp_path, ["none", "right_3"])
    assert summary.figures(found["right_3"].row) == summary.figures(listed["right_3"].row)
    assert [u["hypothesis"] for u in found["none"].utterances] == ["call anne", "call anne"]
    with pytest.raises(ValueError):
        summary.read(tmp_path, ["none"])


def test_samples_are_the_first_of_each_language():
    spoken = [
        utterance(
            n, "打 灯" if n % 2 else "stop now", "x", language=("en", "zh")[n % 2], dialect=""
        )
        for n in range(8)
    ]
    found = results(ctc=spoken, rl=[u | {"hypothesis": u["reference"]} for u in spoken[::-1]])
    rows = summary.samples(found, 2)
    assert [r["id"] for r in rows] == ["u0", "u2", "u1", "u3"]
    assert [r["unit"] for r in rows] == ["word", "word", "char", "char"]
    assert rows[2]["hypotheses"] == {"ctc": "x", "rl": "打 灯"} and rows[2]["language"] == "zh"


def test_the_plan_reads_lists_only_where_they_were_trained():
    whole = plans.plan("commands", STAGES)
    assert set(whole) == {
        ("ctc", ""),
        *((stage, how) for stage in ("sft", "context_sft", "rl") for how in DECODINGS),
    }
    assert all(whole["sft", how] == whole["rl", how] for how in DECODINGS)
    specs = [spec for tests in whole.values() for spec in tests.values()]
    assert {spec for spec in specs if "split=dev" in spec} == {
        "synth:commands?split=dev&context=distractors_3&names=train"
    }
    digits = plans.plan("digits", ("lm", "ctc", "sft"), limit=5)
    assert digits == {
        (stage, ""): {
            "test": "synth:digits?split=test&limit=5",
            "strings": "synth:digits?split=test&join=3-6&seed=0&limit=5",
        }
        for stage in ("ctc", "sft")
    }
    few = plans.plan("commands", STAGES, limit=5)
    assert all(spec.count("limit=") == 1 for tests in few.values() for spec in tests.values())
