"""Strictness, expansion and comparison of configs."""

import dataclasses
import math
import re

import pytest

from seedasr_jax import config
from seedasr_jax.audio import logmel
from seedasr_jax.configs import common
from seedasr_jax.errors import ConfigError
from seedasr_jax.models import layers
from seedasr_jax.text import score, vocab_training


def recipe(**changes):
    """A graph of two stages as nested dicts; `changes` by dotted key."""
    c = common.graph("two", scale_steps=1.0, imports=common.SMALL)
    for name in ("one", "two"):
        s = c.stages[name] = common.stage("ctc", steps=200)
        s.init = dict(encoder="fresh", ctc_head="fresh")
        s.trains = ("encoder", "ctc_head")
        s.data = common.data((("manifest:a.jsonl", 1.0),), ((2.0, 8, 4),))
        s.optim = common.adamw(1e-3)
    tree = c.to_dict()
    for path, value in changes.items():
        *groups, last = path.split("__")
        holder = tree
        if "variant" in groups:
            tree["model"]["variant"] = common.small()
        for group in groups:
            holder = holder.setdefault(group, {})
        holder[last] = value
    return tree


def fails(tree):
    with pytest.raises(ConfigError) as raised:
        config.expand(tree)
    text = str(raised.value)
    assert "\n" not in text
    return text


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


OUTSIDE = {  # key of a stage -> values that mean nothing
    "steps": (0, -5, 2**31),
    "seed": (-1, 2**40),
    "optim.lr": (-1e-2, 0.0, math.inf, math.nan, 1e39, 1e-39),
    "optim.warmup": (-5, 201),
    "optim.final": (7.0, -0.1),
    "optim.b1": (1.5, 1.0, -0.1, 0.9951),  # beside b2 = 0.98
    "optim.b2": (2.0, 1.0),
    "optim.eps": (-1.0, 0.0, 1e9, 1e-39),
    "optim.weight_decay": (-50.0, 1e4),
    "optim.clip": (-1.0, math.inf),
    "optim.rates.encoder": (-1.0, math.nan),
    "optim.name": ("adam",),
    "optim.decay": ("cosin",),
    "model.dtype": ("bf16", "int32", "float16"),
    "model.encoder.frontend.mels": (0, -1, 243),
    "model.encoder.frontend.low_hz": (9000.0, -1.0, 7600.0),
    "model.encoder.frontend.high_hz": (8001.0,),
    "model.encoder.frontend.floor": (-1.0, 0.0, 2.0, 1e-39),
    "model.encoder.frontend.norm": ("bins",),
    "model.encoder.layers": (0, -1),
    "model.encoder.width": (-64, 0, 511),
    "model.encoder.heads": (5, 0),
    "model.encoder.subsampling": (0, 3),
    "model.encoder.kernel": (0, 10**9),
    "model.encoder.clip": (-1,),
    "model.encoder.dropout": (1.5, -0.5, 1.0),
    "model.quantizer.codes": (0,),
    "model.quantizer.layer": (-1,),
    "model.converter.splice": (0,),
    "model.decoder.kv_heads": (3, 0),
    "model.decoder.head_dim": (7,),
    "model.decoder.vocabulary": (-1,),
    "model.decoder.norm_eps": (-1e-6,),
    "model.decoder.moe.active": (-1,),
    "model.decoder.moe.balance": (-0.1,),
    "model.lora.rank": (-2,),
    "model.decoder.embed_scale": (0.0, 1e30),
    "model.lora.alpha": (0.0, 1e30),
    "model.variant.labels": (0,),
    "model.variant.speech_positions": ("ctc",),
    "model.variant.phones": (-1,),
    "vocab.size": (0,),
    "vocab.kind": ("bep",),
    "vocab.path": ("gs://bucket/vocab",),
    "augment.tempo": ((0.0, 0.0), (1.2, 0.8), (0.9, math.inf), (1.0, 50.0)),
    "augment.warp": ((-1.0, 1.0), (0.01, 1.0)),
    "augment.eq_db": (-1.0, 1e9),
    "augment.noise": (2.0, -0.1),
    "augment.noise_snr_db": ((30.0, 5.0), (-1e30, 1e30)),
    "augment.reverb_seconds": ((0.0, 1.0), (1e6, 1e6)),
    "augment.time_fraction": (3.0,),
    "augment.frequency_masks": (-1, 10**9),
    "augment": ({"frequency_masks": 1, "frequency_width": 80},),
    "data.stretch": (-1.0, 0.0, 0.5),
    "data.min_seconds": (-3.0,),
    "data.cache_gib": (-1.0,),
    "data.max_bad_fraction": (-1.0, 1.5),
    "data.mixture": ((), (("a", 0.0),), (("a", -1.0),), (("a", 1.0), ("b", 1.0), ("a", 0.5))),
    "data.buckets": ((), ((2.0, 8, 0),), ((-1.0, 8, 1),), ((2.0, 8, 1), (1.0, 8, 1))),
    "data.contexts.plain": (1.5,),
    "data.contexts.irrelevant": (0.5,),  # beside plain = 1
    "data.contexts.tokens": (-1, 8),  # beside plain = 1: no context is ever given
    "model.variant.transcript_position": (-1, 2**30),
    "data.contexts.kinds": ({"hotword": 1.0}, {"hotwords": 0.0}, {"hotwords": -1.0}),
    "mesh.data": (0, -2),
    "mesh.tensor": (0, -1),  # beside fsdp = -1
    "run.accum": (0,),
    "run.keep": (0,),
    "run.log_every": (-1, 0),
    "run.save_every": (-1, 0),
    "run.remat": ("ful",),
    "run.cache": ("gs://bucket/cache",),
    "eval.buckets": (
        *(((2.0, 0, 8),), ((0.0, 8, 8),), ((2.0, 8, 1), (1.0, 8, 1))),
        *(((1e30, 8, 8),), ((2.0, 10**30, 8),), ((2.0, 8, 10**30),)),
    ),
    "eval.tasks": (("a", "b", "a"),),
    "eval.every": (-1,),
    "eval.tokens": (0,),
    "eval.unit": ("words",),
}


@pytest.mark.parametrize("key", OUTSIDE)
def test_a_value_without_meaning_is_refused_by_its_key(key):
    for value in OUTSIDE[key]:
        change = {f"stages__two__{key.replace('.', '__')}": value}
        text = fails(recipe(**change, scale_steps=1e-3))  # scaling clamps, and hides nothing
        assert text.startswith(f"config.stages.two.{key.split('.')[0]}")
        assert "expected" in text and "found" in text


def test_axes_that_all_take_what_is_left_are_named():
    text = fails(recipe(stages__two__mesh__tensor=-1))  # beside fsdp = -1
    assert "expected -1 for one axis alone, found it for fsdp and tensor" in text


def test_every_number_of_the_schema_has_bounds():
    def walk(kind, where=""):
        for field in dataclasses.fields(kind):
            if dataclasses.is_dataclass(field.type):
                kinds = getattr(field.type, "kinds", {"": field.type}).values()
                for each in kinds:
                    yield from walk(each, f"{where}{field.name}.")
            elif re.search("int|float", str(field.type)):
                yield f"{where}{field.name}", field.metadata

    found = dict(walk(config.Stage))
    assert len(found) > 60
    # Buckets are checked by functions, which an evaluation shares.
    free = [key for key, metadata in found.items() if "rule" not in metadata]
    assert free == ["data.buckets", "eval.buckets"]


def test_choices_are_those_that_the_code_knows():
    def names(kind, field):
        (found,) = (f for f in dataclasses.fields(kind) if f.name == field)
        return set(found.metadata["rule"].names)

    assert names(config.LogMel, "norm") == set(logmel.NORMS)
    for options in config.Optim.kinds.values():
        assert callable(options.maker())
    assert names(config.Run, "remat") == set(layers.REMAT)
    assert names(config.Vocab, "kind") == set(vocab_training.KINDS)
    for unit in names(config.Eval, "unit"):
        score.units("a b", unit)


@pytest.mark.parametrize(("slowest", "least"), [((0.87, 0.9), 1.2772), ((0.8, 1.0), 1.25)])
def test_stretch_covers_the_slowest_tempo(slowest, least):
    augment = {"tempo": (slowest[0], 1.1), "speed": (slowest[1], 1.0)}
    text = fails(recipe(stages__two__augment=augment))
    assert f"config.stages.two.data.stretch: expected at least {least}" in text
    config.expand(recipe(stages__two__augment=augment, stages__two__data__stretch=least))
    deaf = dict(stages__two__data__buckets=((0.0, 8, 4),))
    config.expand(recipe(stages__two__augment=augment, **deaf))  # hears nothing


@config.register("short", "none:None")
@dataclasses.dataclass(frozen=True)
class Short(config.Encoder):
    """Options of a kind with a key of its own."""

    hop: int = config.at_least(1)


def test_a_group_is_checked_by_its_kind():
    short = dict(kind="short", frontend=common.log_mel(), layers=2, width=4, hop=160)
    graph = config.expand(recipe(model__encoder=short))
    assert config.to_dict(graph.stages["one"].model.encoder) == short
    assert config.build(config.to_dict(graph), config.Graph) == graph
    assert "encoder.hop: expected at least 1" in fails(recipe(model__encoder=short | dict(hop=0)))
    assert "encoder.heads is no key" in fails(recipe(model__encoder=short | dict(heads=1)))
    text = fails(recipe(model__encoder=short | dict(kind="shrt")))
    assert "encoder.kind: expected one of luise" in text and "Did you mean short" in text
    text = fails(recipe(model__encoder=dict(layers=2)))
    assert "config.stages.one.model.encoder.kind is missing" in text


def test_a_stage_of_another_kind_keeps_the_keys_of_both():
    own = dict(encoder=dict(kind="short", hop=320))
    graph = config.expand(recipe(stages__two__model=own))
    one, two = (graph.stages[name].model.encoder for name in ("one", "two"))
    assert two == Short("short", one.frontend, one.layers, one.width, hop=320)
    del own["encoder"]["hop"]
    assert "two.model.encoder.hop is missing" in fails(recipe(stages__two__model=own))


def test_a_perturbation_that_the_front_end_does_not_apply_is_refused():
    deaf = dict(stages__two__model=dict(encoder=dict(frontend=dict(kind="plain", bands=3))))
    config.expand(recipe(**deaf))
    for key, off in config.PERTURBATIONS.items():
        on = 0.5 if off == 0.0 else (1.0, 1.1)
        text = fails(recipe(**deaf, stages__two__augment={key: on}))
        assert f"config.stages.two.augment.{key}: expected {off}" in text
        assert "kind 'plain' applies none" in text


@config.register("plain", "none:None")
@dataclasses.dataclass(frozen=True)
class Plain(config.Frontend):
    """Options of a front end that applies no perturbation."""

    bands: int = config.at_least(1)

    @property
    def width(self):
        """As many as bands."""
        return self.bands


def test_every_kind_names_what_is_built_from_it():
    for group in (config.Frontend, config.Encoder, config.Converter):
        ours = [own for own in group.kinds.values() if own.__module__.startswith("seedasr_jax.")]
        assert ours and all(callable(options.maker()) for options in ours)


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


@pytest.mark.parametrize("value", [0, -1.0, "half", True])
def test_scale_steps_is_a_number_above_zero(value):
    assert "scale_steps" in fails(recipe(scale_steps=value))


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
