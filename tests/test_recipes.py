"""Recipes by name and by file, overrides, and the golden text of what each expands to."""

import pathlib

import pytest

from seedasr_jax import config
from seedasr_jax.configs import common
from seedasr_jax.errors import ConfigError
from seedasr_jax.launch import cli, recipes

GOLDEN = pathlib.Path(__file__).parent / "golden/configs"
# Each shipped recipe with the arguments that make it expand differently.
SHIPPED = {
    "commands.txt": "commands",
    "digits.txt": "digits",
    "digits-manifest.txt": "digits:train.jsonl?without=george",
    "lm.txt": "lm",
    "qwen3_asr.txt": "qwen3_asr",
    "qwen3_asr-0.6b-lora.txt": "qwen3_asr:0.6b,lora",
    "lm-qwen3_30b_a3b.txt": "lm:qwen3_30b_a3b",
    "luise_ssl.txt": "luise_ssl",
    "seed_asr_cn.txt": "seed_asr_cn",
    "seed_asr_ml.txt": "seed_asr_ml",
    "seed_asr_ml-30b_a3b.txt": "seed_asr_ml:30b_a3b",
}


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_expansion_is_the_golden_text(name):
    """Made by `seedasr configs SPEC > FILE`: a changed default shows in review."""
    assert config.dump(recipes.expand(SHIPPED[name], [])) == (GOLDEN / name).read_text()


def test_every_shipped_recipe_has_a_golden_text_and_a_description():
    assert {spec.partition(":")[0] for spec in SHIPPED.values()} == set(recipes.names())
    assert {path.name for path in GOLDEN.iterdir()} == set(SHIPPED)
    for name in recipes.names():
        assert recipes.describe(name).splitlines()[0].endswith(".")


@pytest.mark.parametrize(
    ("arm", "about"),
    [
        ("none", ("ctc.init", "ctc.kind", "ctc.trains", "lm.objective")),
        ("plain_lm", ("lm.data.contexts",)),
    ],
)
def test_an_arm_of_commands_differs_in_what_it_is_about(arm, about):
    whole, own = (config.dump(recipes.expand(spec, [])) for spec in ("commands", f"commands:{arm}"))
    changed = {line.partition(" =")[0] for line in set(whole.split("\n")) ^ set(own.split("\n"))}
    groups = tuple(f"stages.{group}" for group in about)
    assert changed and all(key.startswith(groups) for key in changed), changed
    assert all(any(key.startswith(group) for key in changed) for group in groups)


def stage(*overrides, name="ctc"):
    return recipes.expand("digits", [o.split("=", 1) for o in overrides]).stages[name]


def test_an_override_of_a_stage_changes_that_stage_alone():
    assert stage("stages.ctc.steps=70").steps == 70
    assert stage("stages.ctc.steps=70", name="sft").steps == stage(name="sft").steps
    key = "stages.kmeans.model.quantizer.codes"
    stages = recipes.expand("luise_ssl", [(key, "64")]).stages
    assert [stages[n].model.quantizer.codes for n in ("kmeans", "ssl2")] == [64, 2_048]


def test_an_override_of_a_default_reaches_all_stages():
    for name in ("lm", "ctc", "sft"):
        assert stage("run.accum=4", name=name).run.accum == 4


def test_an_override_may_name_a_default_for_one_stage():
    assert stage("stages.ctc.mesh.tensor=2").mesh.tensor == 2
    assert stage("stages.ctc.mesh.tensor=2", name="sft").mesh.tensor == 1
    changed = stage("stages.ctc.eval.tokens=33")  # of a group that the stage has in part
    assert (changed.eval.tokens, changed.eval.every) == (33, stage().eval.every)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("stages.ctc.optim.lr=1", 1.0),
        ("stages.ctc.trains=('encoder',)", ("encoder",)),
        ("stages.ctc.trains=['encoder']", ("encoder",)),
        ("stages.ctc.data.buckets=[[2.4, 8, 4]]", ((2.4, 8, 4),)),
        ("stages.ctc.eval.tasks=[]", ()),
        ("stages.ctc.eval.decode=greedy", "greedy"),
        ("run.tensorboard=false", False),
        ("run.cache=7", "7"),
        ("run.cache=2024_01", "2024_01"),  # not 202401, which Python reads
    ],
)
def test_values_are_written_as_in_python(text, value):
    found = stage(text)
    for key in text.partition("=")[0].removeprefix("stages.ctc.").split("."):
        found = getattr(found, key)
    assert found == value
    assert type(found) is type(value)


def test_groups_by_part_take_new_parts():
    assert stage("stages.ctc.optim.rates.encoder=0.1").optim.rates == {"encoder": 0.1}
    assert stage("stages.ctc.optim.rates={'encoder': 1}").optim.rates == {"encoder": 1.0}
    assert stage("stages.ctc.init.lora=fresh").init["lora"] == "fresh"
    assert stage("stages.ctc.init={'encoder': 'a/b'}").init == {"encoder": "a/b"}  # replaced
    changed = stage("mesh={'tensor': 2}").mesh
    assert (changed.tensor, changed.data) == (2, stage().mesh.data)  # its other keys stay


def test_imports_add_to_those_of_the_recipe():
    """Whose kinds of groups need them."""
    assert recipes.expand("digits", [("imports", "('json',)")]).imports == (*common.SMALL, "json")


def test_an_override_makes_a_group_one_of_another_kind(tmp_path, monkeypatch):
    (tmp_path / "own_kind.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    luise = stage().model.encoder
    for texts in (
        ("model.encoder.hop=320", "model.encoder.kind=hopping"),
        ("model.encoder={'hop': 320, 'kind': 'hopping'}",),
        ("stages.ctc.model.encoder={'hop': 320, 'kind': 'hopping'}",),
    ):
        found = stage(*texts[::-1], "imports=('own_kind',)").model.encoder
        assert (found.kind, found.hop, found.layers) == ("hopping", 320, luise.layers)
        assert found.frontend == luise.frontend and not hasattr(found, "heads")
    with pytest.raises(ConfigError, match=r"has no key 'hop'\. Kind 'luise' has kind, frontend,"):
        stage("model.encoder.hop=320")


def test_a_kind_that_is_not_there_names_the_nearest():
    with pytest.raises(ConfigError, match=r"decoder.kind: .*'transfomer'. Did you mean transforme"):
        stage("model.decoder.kind=transfomer")


OWN = """
import dataclasses
from seedasr_jax import config

@config.register("hopping", "own_kind:Hopping")
@dataclasses.dataclass(frozen=True)
class Options(config.Encoder):
    hop: int
"""


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("augment.noise=0.5", "ctc, sft, context_sft"),
        ("model.variant.labels=2", "ssl2"),
        ("eval.decode=beam2", "probe, ctc, sft, context_sft, rl"),
    ],
)
def test_a_default_that_reaches_some_says_which_not(text, kept, capsys):
    recipes.expand("commands", [text.split("=")])
    assert f"does not reach {kept}, which" in capsys.readouterr().err
    recipes.expand("commands", [("run.accum", "2"), ("seed", "5")])
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("stages.ctc.optim.weight_decy=0.1", ("config.stages.ctc.optim", "weight_decay")),
        ("stages.cct.steps=1", ("config.stages", "ctc")),
        ("stages.ctc.sed=1", ("config.stages.ctc", "seed")),
        ("stages.ctc.steps.more=1", ("config.stages.ctc.steps",)),
        ("sede=1", ("config has no key", "seed")),
        ("stages.ctc.name=x", ("config.stages.ctc", "name")),
        ("stages.ctc.steps=many", ("int", "many", "3000")),
        ("stages.ctc.steps=1.5", ("int", "1.5")),
        ("stages.ctc.trains=encoder", ("tuple", "('encoder', 'ctc_head')")),
        ("stages.lm.eval.tasks=a", ("tuple", "('TEXT',)")),
        ("stages.ctc.data.buckets=((2.0, 8),)", ("3 values", "((2.4, 8, 16)")),
        ("stages.ctc.optim.rates=3", ("group of keys", "{'KEY': VALUE}")),
        ("stages.ctc.optim.rates.encoder=x", ("float", "1.0")),
        ("stages.ctc.augment={'nois': 0.1}", ("noise",)),
        ("stages.sft.objective.ctc_wait=1", ("ctc_weight",)),
        ("optim.lr=1.0", ("--config.stages.lm.optim.lr",)),
        ("run.cache=None", ("str", "None", "'TEXT'")),
        ("stages.ctc.steps=None", ("int", "None", "3000")),
        ("augment.noise=0.0", ("has no effect", "ctc, sft", "--config.stages.ctc.augment.noise")),
        ("augment={'noise': 0.0}", ("augment.noise has no effect",)),
        ("eval.every=3", ("has no effect", "ctc, sft")),
        ("eval.tasks=('synth:digits',)", ("has no effect",)),
        ("stages.ctc.optim=3", ("group of keys", "warmup")),
        ("stages.ctc.optim={}", ("has no effect", "warmup", "{'KEY': VALUE}")),
        ("stages.ctc.optim.rates={[1]: 2}", ("group of keys", "{'KEY': VALUE}")),
        ("stages.ctc.optim.lr=1" + 400 * "0", ("a number above 1e308", "0.0015")),
        ("stages.ctc.lr=1", ("Did you mean optim.lr",)),
        ("model.encoder.mels=80", ("Did you mean frontend.mels", "Kind 'luise' has")),
        ("model.quantizer.codes=64", ("has no effect: no stage reads it",)),
    ],
)
def test_a_wrong_override_says_what_would_be_right(text, words):
    with pytest.raises(ConfigError) as raised:
        stage(text)
    assert "\n" not in str(raised.value)
    for word in (f"--config.{text.partition('=')[0]}", *words):
        assert word in str(raised.value)


def test_a_key_is_set_once():
    for twice in ("stages.ctc.steps=1", "stages.ctc={'steps': 1}"):
        given = [tuple(text.split("=")) for text in ("stages.ctc.steps=2", twice)]
        with pytest.raises(ConfigError, match=r"--config\.stages\.ctc\.steps is set twice"):
            recipes.expand("digits", given)
    rates = "stages.ctc.optim.rates"
    given = [(f"{rates}.encoder", "0.1"), (rates, "{'ctc_head': 0.2}")]
    with pytest.raises(ConfigError, match=rf"--config\.{rates}\.encoder is set twice"):
        recipes.expand("digits", given)  # the group would replace it
    assert recipes.expand("digits", given[::-1]).stages["ctc"].optim.rates == {
        "encoder": 0.1,
        "ctc_head": 0.2,
    }


def test_a_key_that_another_begins_with_is_a_key_of_its_own():
    stage = "stages.ctc"
    given = [
        (f"{stage}.augment.noise_snr_db", "(1.0, 2.0)"),
        (f"{stage}.augment.noise", "0.5"),
        (f"{stage}.optim.name", "adafactor"),
        (f"{stage}.optim.momentum", "0.0"),
        (f"{stage}.optim.decay_rate", "0.8"),
        (f"{stage}.optim.decay", "linear"),
        (f"{stage}.optim.lr", "0.5"),
        (f"{stage}.optim", "{'clip': 2}"),  # a group keeps its other keys
    ]
    ctc = recipes.expand("digits", given).stages["ctc"]
    assert (ctc.augment.noise_snr_db, ctc.augment.noise) == ((1.0, 2.0), 0.5)
    assert (ctc.optim.decay_rate, ctc.optim.decay) == (0.8, "linear")
    assert (ctc.optim.lr, ctc.optim.clip) == (0.5, 2)


def test_a_key_that_a_later_kind_lacks_is_refused():
    optim = "stages.ctc.optim"
    kinds = (f"{optim}.name", "adafactor"), (optim, "{'name': 'adafactor', 'momentum': 0.0}")
    for kind in kinds:
        with pytest.raises(ConfigError, match=rf"--config\.{optim}\.b1: a later --config"):
            recipes.expand("digits", [(f"{optim}.b1", "0.5"), kind])


def test_a_key_that_its_stage_does_not_read_is_said(capsys):
    for key in ("augment.noise=0.5", "eval.decode=ctc", "model.encoder.layers=2"):
        recipes.expand("digits", [tuple(f"stages.lm.{key}".split("="))])
        assert f"stages.lm.{key.split('=')[0]} has no effect: lm" in capsys.readouterr().err
        recipes.expand("digits", [tuple(f"stages.ctc.{key}".split("="))])
        assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("key", "value"),
    [("seed", -5), ("seed", "x"), ("seed", 2**31), ("name", b"x"), ("stages", 5), ("stages", ())],
)
def test_a_graph_of_another_form_is_refused_by_its_key(key, value):
    tree = recipes.load("digits").to_dict() | {key: value}
    with pytest.raises(ConfigError, match=rf"config\.{key}: expected"):
        config.expand(tree)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("lm:nothing", ("qwen3_8b", "nothing")),
        ("luise_ssl:7b", ("75m", "Did you mean")),
        ("seed_asr_cn:9b", ("Did you mean 8b",)),
        ("seed_asr_ml:8B", ("Did you mean 8b",)),
        ("commands:clok", ("Did you mean clock",)),
        ("digit", ("digit", "digits")),
        ("nowhere.py", ("nowhere.py", "digits")),
        ("common", ("a shipped recipe", "found 'common'")),
        ("plain.py:x", ("get_config()", "plain.py")),
        ("needs.py", ("get_config(manifest)", "needs.py:ARG")),
        ("empty.py", ("get_config",)),
        ("plain.py", ("a ConfigDict", "found a int")),
        ("broken.py", ("SyntaxError", "broken.py, line 1")),
        ("raises.py", ("ZeroDivisionError", "raises.py:2")),
        ("leaves.py", ("SystemExit: 3", "leaves.py:1")),
        ("sets.py", ("TypeError", "sets.py:3")),  # of ml_collections, by this line
        ("plan.py", ("Did you mean plain.py",)),
    ],
)
def test_a_wrong_recipe_says_what_would_be_right(spec, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("plain.py").write_text("def get_config():\n    return 1\n")
    pathlib.Path("needs.py").write_text("def get_config(manifest):\n    return 1\n")
    pathlib.Path("empty.py").write_text("")
    pathlib.Path("broken.py").write_text("def get_config(:")
    pathlib.Path("raises.py").write_text("def get_config():\n    return 1 / 0\n")
    pathlib.Path("leaves.py").write_text("raise SystemExit(3)\n")
    lines = "from seedasr_jax.configs.common import graph\nc = graph('x')\nc.seed = 'a'\n"
    pathlib.Path("sets.py").write_text(lines)
    with pytest.raises(ConfigError) as raised:
        recipes.expand(spec, [])
    assert "\n" not in str(raised.value)
    for word in words:
        assert word in str(raised.value)


def test_a_copied_recipe_is_the_recipe(tmp_path, capsys):
    path = tmp_path / "mine.py"
    assert cli.main(["configs", "digits", f"--copy={path}"]) == 0
    assert capsys.readouterr().out == f"recipe in {path}\n"
    copied = recipes.expand(f"{path}:train.jsonl", [])
    assert copied == recipes.expand("digits:train.jsonl", [])
    before = path.read_text()
    assert cli.main(["configs", "digits", f"--copy={path}"]) == 2
    assert "exists" in capsys.readouterr().err
    assert path.read_text() == before


def test_configs_lists_and_prints(capsys):
    assert cli.main(["configs"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed] == recipes.names()
    assert all(len(line.split()) > 3 for line in listed)
    assert cli.main(["configs", "digits", "--config.stages.lm.steps=55"]) == 0
    assert "stages.lm.steps = 55\n" in capsys.readouterr().out
    assert cli.main(["configs", "--copy=x.py"]) == 2
    assert cli.main(["configs", "digist"]) == 2
    assert "digits" in capsys.readouterr().err


def test_the_recipe_of_the_study_on_left_out_speakers():
    """It is opened by its path, so it imports nothing that stands beside it."""
    path = pathlib.Path(__file__).parent.parent / "benchmarks/digits_frames.py"
    graph = recipes.expand(f"{path}:train.jsonl", [])
    assert list(graph.stages) == ["lm", "ctc", "sft", "lm_frames", "sft_frames"]
    assert graph.stages["sft_frames"].model.variant.speech_positions == "frames"


def test_a_prompt_is_written_on_the_command_line():
    """Texts may contain commas and line breaks; a tuple may be longer than the recipe's."""
    changes = [
        ("model.prompt.plain", r"('<|im_start|>user\n', 'Listen, write:{speech}<|im_end|>\n')"),
        ("model.prompt.context", r"('{context}, {language}', '{speech}<|im_end|>\n')"),
        ("stages.sft.model.prompt.ends", "('<|im_end|>', '<|endoftext|>')"),
    ]
    stages = recipes.expand("digits", changes).stages
    prompt = stages["sft"].model.prompt
    assert prompt.plain == ("<|im_start|>user\n", "Listen, write:{speech}<|im_end|>\n")
    assert prompt.context == ("{context}, {language}", "{speech}<|im_end|>\n")
    assert prompt.ends == ("<|im_end|>", "<|endoftext|>") and not stages["lm"].model.prompt.ends
    with pytest.raises(ConfigError, match=r"prompt\.plain.*{speech} once"):
        recipes.expand("digits", [("model.prompt.plain", "('write',)")])
