"""Nested dicts to dataclasses and back: strictness, expansion, comparison, hashes."""

import dataclasses

import pytest
from two_stages import fails, recipe

from seedasr_jax import config


def test_a_mistyped_key_names_its_path_and_the_nearest():
    text = fails(recipe(stages__two__optim__weight_decy=0.1))
    assert "config.stages.two.optim.weight_decy" in text
    assert "weight_decay" in text


def test_a_mistyped_default_beside_the_stages_is_found():
    text = fails(recipe(sed=1))
    assert "config.stages.one.sed" in text
    assert "seed" in text


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("stages__one__steps", 10.0, "int"),
        ("stages__one__steps", True, "int"),
        ("stages__one__optim__lr", "1e-3", "float"),
        ("stages__one__optim__lr", False, "float"),
        ("run__tensorboard", 1, "bool"),
        ("stages__one__optim", 3, "a group of keys"),
        ("stages__one__init", "fresh", "a group of keys"),
        ("stages__one__init__encoder", 3, "str"),
        ("stages__one__trains", "encoder", "a tuple"),
        ("augment__tempo", (1.0, 1.0, 1.0), "2 values"),
        ("stages__one__data__buckets", ((2.0, 8),), "3 values"),
    ],
)
def test_a_value_of_another_type(path, value, expected):
    text = fails(recipe(**{path: value}))
    assert expected in text
    assert path.split("__")[-1] in text
    assert repr(value) in text or repr(value[0]) in text


def test_a_missing_key_is_named():
    tree = recipe()
    del tree["stages"]["one"]["data"]["stretch"]
    assert "config.stages.one.data.stretch is missing" in fails(tree)
    del tree["name"]
    assert "config.name is missing" in fails(tree)


def test_whole_numbers_are_floats_where_floats_are_due():
    graph = config.expand(recipe(stages__one__optim__lr=1))
    assert type(graph.stages["one"].optim.lr) is float


def test_a_stage_overrides_the_graph_and_nothing_else():
    graph = config.expand(recipe(stages__two__run={"accum": 2}))
    assert [graph.stages[name].run.accum for name in ("one", "two")] == [1, 2]
    assert graph.stages["one"].run == dataclasses.replace(graph.stages["two"].run, accum=1)


def test_stages_have_seeds_of_their_own():
    """Under one seed of the graph: else each stage would meet the draws of the one before."""
    seeds = {}
    for seed in (3, 4):
        graph = config.expand(recipe(seed=seed, stages__three=recipe()["stages"]["one"]))
        seeds |= {(seed, name): graph.stages[name].seed for name in graph.stages}
    assert len(set(seeds.values())) == 6
    said = config.expand(recipe(seed=3, stages__two__seed=5)).stages
    assert said["two"].seed == 5 and said["one"].seed == seeds[3, "one"]
    again = config.expand(config.to_dict(config.expand(recipe(seed=3))))
    assert again.stages["one"].seed == seeds[3, "one"]  # a stored config is expanded already


def test_scale_steps_scales_lengths_and_intervals():
    intervals = dict(run__log_every=50, run__save_every=500, stages__two__eval={"every": 100})
    graph = config.expand(recipe(scale_steps=0.05, **intervals))
    one, two = graph.stages["one"], graph.stages["two"]
    assert (one.steps, one.optim.warmup) == (10, 2)  # of 200 and 50; 2.5 rounds to even
    assert (one.run.log_every, one.run.save_every) == (2, 25)
    assert (one.eval.every, two.eval.every) == (0, 5)  # 0 stays never
    tiny = config.expand(recipe(scale_steps=1e-6)).stages["one"]
    assert (tiny.steps, tiny.optim.warmup, tiny.run.save_every) == (1, 1, 1)
    assert tiny.optim.lr == one.optim.lr


def test_run_settings_are_no_part_of_the_recipe():
    stage = config.expand(recipe()).stages["one"]
    whole = config.flatten(config.to_dict(stage))
    kept = config.flatten(config.to_dict(stage, recipe_only=True))
    left_out = {key.split(".")[0] for key in whole.keys() - kept.keys()}
    assert left_out == {"run", "mesh", "eval", "data"}
    assert [key for key in whole.keys() - kept.keys() if key.startswith("data")] == [
        "data.cache_gib"
    ]


def test_a_config_comes_back_from_its_json():
    graph = config.expand(recipe(stages__one__optim__rates={"encoder": 0.5}))
    assert config.build(config.to_dict(graph), config.Graph) == graph


def test_difference_names_each_key():
    old, new = recipe(), recipe(stages__one__optim__lr=2e-3)
    del new["seed"]
    assert config.difference(old, new) == [
        "seed: 0 -> '(absent)'",
        "stages.one.optim.lr: 0.001 -> 0.002",
    ]
    assert config.difference(old, recipe()) == []


def test_digest_follows_the_content_alone():
    tree = {"a": 1, "b": {"c": [1.5, "x"], "d": True}}
    same = {"b": {"d": True, "c": (1.5, "x")}, "a": 1}
    assert config.digest(tree) == config.digest(same)
    others = [{"a": 2, "b": tree["b"]}, {"a": 1, "b": {"c": ["x", 1.5], "d": True}}]
    assert len({config.digest(t) for t in (tree, *others)}) == 3


def test_a_config_cannot_be_changed():
    stage = config.expand(recipe()).stages["one"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        stage.steps = 1
    with pytest.raises(TypeError):
        stage.init["encoder"] = "other"
