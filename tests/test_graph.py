"""The stage graph: order, hashes of recipes, and what makes a stage stale."""

import dataclasses
import json
import types

import pytest
import tiny

from seedasr_jax import config, errors
from seedasr_jax.checkpoint import Limits
from seedasr_jax.config import code
from seedasr_jax.errors import ConfigError
from seedasr_jax.text import vocab
from seedasr_jax.train import graph, handed, objectives
from seedasr_jax.train.objectives.shared import Needs

PARTS = {"ctc": ("encoder", "ctc_head"), "sft": ("encoder", "converter", "decoder")}


def make(**stages):
    """A graph; each stage is (kind, init, changes of its recipe)."""
    made = {}
    for name, (kind, init, *changes) in stages.items():
        stage = tiny.stage(kind, (), PARTS[kind], **dict(*changes))
        made[name] = dataclasses.replace(stage, init=types.MappingProxyType(init))
    return config.Graph("test", (), types.MappingProxyType(made))


def chain(**changes):
    """sft starts from ctc; `other` from nothing."""
    fresh = {"encoder": "fresh", "ctc_head": "fresh"}
    later = {"encoder": "ctc", "converter": "fresh", "decoder": "fresh"}
    return make(sft=("sft", later), ctc=("ctc", fresh, changes), other=("ctc", fresh))


def recipes(made, *, vocabulary="v", content="c", outside="o"):
    return graph.recipes(
        made, vocabulary, lambda spec, stage: content, lambda path: f"{outside} {path}"
    )


def hashes(*arguments, **options):
    return {name: recipe.hash for name, recipe in recipes(*arguments, **options).items()}


def needed(stage):
    return PARTS[stage.kind]


def fails(made):
    with pytest.raises(ConfigError) as raised:
        graph.check(made, needed)
    return str(raised.value)


@pytest.mark.parametrize("context", [graph.of_stage, code.of_user])
def test_an_error_keeps_its_text_behind_where_it_arose(context, tmp_path):
    with pytest.raises(ConfigError, match="missing") as raised, context("one"):
        vocab.open_vocabulary(tmp_path / "missing")
    assert type(raised.value) is ConfigError and str(raised.value).count("make one with") == 1


def test_a_preemption_while_user_code_runs_stays_one():
    with pytest.raises(SystemExit) as raised, code.of_user("'slow'"):
        raise errors.Leave(errors.PREEMPTED)  # as launch/signals.py does
    assert raised.value.code == errors.PREEMPTED
    for number in (3, errors.PREEMPTED):  # of the code itself
        with pytest.raises(ConfigError, match=f"SystemExit: {number}"), code.of_user("'slow'"):
            raise SystemExit(number)


def test_an_error_of_user_code_names_the_users_line():
    line = r"JSONDecodeError: .* \(.*test_graph\.py:\d+\)$"
    with pytest.raises(ConfigError, match=line), code.of_user("'broken'"):
        json.loads("{")


def test_parents_come_first_and_the_config_decides_the_rest():
    assert graph.order(chain()) == ["ctc", "sft", "other"]
    assert graph.parents(chain(), "sft") == ["ctc"]


def test_stages_that_start_from_each_other():
    rest = {"converter": "fresh", "decoder": "fresh"}
    circle = make(one=("sft", {"encoder": "two"} | rest), two=("sft", {"encoder": "one"} | rest))
    with pytest.raises(ConfigError, match="one, two start from each other"):
        graph.order(circle)


@pytest.mark.parametrize(
    ("source", "where", "there"),
    [
        ("ssl1:encoder", "ssl1", "encoder"),
        ("ssl1", "ssl1", "teacher"),
        ("gs://bucket/ssl1", "gs://bucket/ssl1", "teacher"),
        ("gs://bucket/ssl1@40:encoder", "gs://bucket/ssl1@40", "encoder"),
        ("../runs/x@3", "../runs/x@3", "teacher"),
    ],
)
def test_a_source_may_name_another_part(source, where, there):
    assert graph.origin("teacher", source) == (where, there)


def test_another_part_of_a_stage_makes_it_a_parent():
    fresh = {"encoder": "fresh", "ctc_head": "fresh"}
    named = fresh | {"encoder": "ctc:encoder"}
    other = fresh | {"encoder": "ctc:ctc_head"}
    made = make(later=("ctc", named), ctc=("ctc", fresh))
    graph.check(made, needed)
    assert graph.order(made) == ["ctc", "later"]
    plain = make(later=("ctc", fresh | {"encoder": "ctc"}), ctc=("ctc", fresh))
    assert hashes(made)["later"] == hashes(plain)["later"]  # the same part of the same stage
    other = make(later=("ctc", other), ctc=("ctc", fresh))
    assert hashes(made)["later"] != hashes(other)["later"]
    wrong = make(ctc=("ctc", fresh | {"encoder": "ctcc:encoder"}))
    assert "'ctcc:encoder'" in fails(wrong) and "Did you mean ctc" in fails(wrong)


def test_a_step_of_a_stage_is_a_parent_that_is_kept():
    def started(source, **changes):
        later = {"encoder": source, "converter": "fresh", "decoder": "fresh"}
        fresh = {"encoder": "fresh", "ctc_head": "fresh"}
        return make(sft=("sft", later), ctc=("ctc", fresh, {"run.save_every": 10} | changes))

    made = started("ctc@10:encoder")
    graph.check(made, needed)
    assert graph.order(made) == ["ctc", "sft"]
    assert graph.named_steps(made, "ctc") == {10}
    assert graph.named_steps(started("ctc"), "ctc") == graph.named_steps(made, "sft") == set()
    found = {hashes(started(source))["sft"] for source in ("ctc", "ctc@10", "ctc@20")}
    assert len(found) == 3
    assert hashes(made)["sft"] == hashes(started("ctc@10"))["sft"]
    graph.check(started("ctc@40"), needed)  # its last
    for step, near in ((12, 10), (3, 10), (44, 40), (0, 10)):
        text = fails(started(f"ctc@{step}"))
        assert f"init.encoder = 'ctc@{step}'" in text and f"nearest is ctc@{near}" in text
    assert graph.stage_of(made.stages, "../ctc@10") == ("", None)


def test_descendants():
    assert graph.descendants(chain(), "ctc") == ["ctc", "sft"]
    assert graph.descendants(chain(), "sft") == ["sft"]


def test_a_sound_graph_passes():
    graph.check(chain(), needed)


@pytest.mark.parametrize(
    ("init", "words"),
    [
        ({"encoder": "fresh"}, ("init.ctc_head", "missing")),
        (
            {"encoder": "fresh", "ctc_head": "fresh", "decodr": "fresh"},
            ("init.decodr", "one of encoder, ctc_head, found"),
        ),
        ({"encoder": "freshh", "ctc_head": "fresh"}, ("init.encoder", "Did you mean", "fresh")),
    ],
)
def test_a_wrong_init_is_named(init, words):
    text = fails(make(ctc=("ctc", init)))
    for word in ("'ctc'", *words):
        assert word in text


@pytest.mark.parametrize("name", ["vocab", "cache", "fresh", "../up", "a.b", ""])
def test_a_stage_is_named_like_a_folder_of_its_own(name):
    made = make(**{name: ("ctc", {"encoder": "fresh", "ctc_head": "fresh"})})
    assert repr(name) in fails(made)


def test_a_recipe_changes_its_own_hash_and_its_descendants():
    before = hashes(chain())
    after = hashes(chain(**{"optim.lr": 1e-4}))
    assert before["ctc"] != after["ctc"]
    assert before["sft"] != after["sft"]
    assert before["other"] == after["other"]


def test_run_settings_change_no_hash():
    changes = {"run.accum": 2, "run.remat": "block", "run.log_every": 7, "mesh.data": 2}
    changes |= {"eval.every": 9, "stages.only.data.cache_gib": 3.0}
    assert hashes(chain(**changes)) == hashes(chain())


def test_data_is_hashed_by_content_and_not_by_path():
    moved = {"stages.only.data.mixture": (("manifest:elsewhere/b.jsonl", 1.0),)}
    assert hashes(chain(**moved)) == hashes(chain())
    assert hashes(chain())["other"] != hashes(chain(), content="d")["other"]
    rate = {"stages.only.data.mixture": (("manifest:none.jsonl", 2.0),)}
    assert hashes(chain(**rate))["ctc"] != hashes(chain())["ctc"]


def test_a_tokenizer_is_hashed_by_content_and_not_by_path():
    assert hashes(chain(**{"vocab.path": "moved"})) == hashes(chain())
    assert set(hashes(chain()).values()).isdisjoint(hashes(chain(), vocabulary="w").values())


def test_a_checkpoint_from_outside_counts_by_what_it_is():
    def started(path):
        return make(ctc=("ctc", {"encoder": path, "ctc_head": "fresh"}))

    assert recipes(started("up/x@3"))["ctc"].parents == {"encoder": "up/x@3"}
    assert hashes(started("up/x@3")) != hashes(started("up/x@4"))
    assert hashes(started("up/x@3")) != hashes(started("up/x@3"), outside="p")


def test_a_checkpoint_may_be_consulted_under_a_name_that_is_no_part(monkeypatch):
    init = {"encoder": "fresh", "ctc_head": "fresh", "advice": "up/x@3"}
    needs = Needs(PARTS["ctc"], consults=("advice",))
    monkeypatch.setattr(objectives, "needs", lambda stage: needs)
    made = make(ctc=("ctc", init))
    handed.names(made)
    theirs = Limits(9, 0, 9, 9, ())
    advised = graph.limits(made, "ctc", lambda name: None, lambda name, part: theirs)
    assert advised.context_tokens == 0


def test_stale_says_what_changed_and_the_cure():
    old = recipes(chain())["ctc"].tree
    new = recipes(chain(**{"optim.lr": 1e-4, "optim.clip": 2.0}), content="d")["ctc"]
    text = graph.stale("ctc", old, new)
    assert "optim.lr: 0.002 -> 0.0001" in text
    assert "optim.clip: 1.0 -> 2.0" in text
    assert "reads.manifest:none.jsonl: 'c' -> 'd'" in text
    assert "--from=ctc" in text
    assert "--workdir" in text
    assert "\n" not in text
    assert "starts from" in graph.stale("ctc", old, recipes(chain())["ctc"])
    child = make(sft=("sft", {"encoder": "../ctc@3", "decoder": "../lm", "converter": "fresh"}))
    now = recipes(child, outside="new")["sft"]
    began = {"encoder": {"recipe": "old ../ctc@3"}, "decoder": {"recipe": "new ../lm"}}
    text = graph.stale("sft", now.tree, now, began)
    assert "init.encoder: ../ctc@3 was trained again by another recipe since" in text
    assert "init.decoder" not in text


def test_an_unknown_kind_names_the_nearest():
    stage = dataclasses.replace(chain().stages["ctc"], kind="ctcc")
    with pytest.raises(ConfigError, match="Did you mean ctc"):
        objectives.make(stage, tiny.TOKENS, 5)
