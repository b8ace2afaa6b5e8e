"""Tagged groups: the keys of a group are those of its kind."""

import dataclasses
import sys

import pytest
from two_stages import fails, recipe

from seedasr_jax import config
from seedasr_jax.config import code
from seedasr_jax.configs import common
from seedasr_jax.errors import ConfigError
from seedasr_jax.models import parts
from seedasr_jax.train.objectives import registry


@config.register("short", "none:None")
@dataclasses.dataclass(frozen=True)
class Short(config.Encoder):
    """Options of a kind with a key of its own."""

    hop: int = config.at_least(1)


@config.register("plain", "none:None")
@dataclasses.dataclass(frozen=True)
class Plain(config.Frontend):
    """Options of a front end that applies no perturbation."""

    bands: int = config.at_least(1)

    @property
    def width(self):
        """As many as bands."""
        return self.bands


def test_a_group_is_checked_by_its_kind():
    short = dict(kind="short", frontend=common.log_mel(), layers=2, width=4, hop=160)
    graph = config.expand(recipe(model__encoder=short))
    assert config.to_dict(graph.stages["one"].model.encoder) == short
    assert config.build(config.to_dict(graph), config.Graph) == graph
    assert "encoder.hop: expected at least 1" in fails(recipe(model__encoder=short | dict(hop=0)))
    assert "encoder.heads is no key" in fails(recipe(model__encoder=short | dict(heads=1)))
    text = fails(recipe(model__encoder=short | dict(kind="shrt")))
    assert "encoder.kind: expected one of luise" in text and "Did you mean short" in text
    assert "config.imports register others, such as 'seedasr_jax.small'" in text
    text = fails(recipe(model__encoder=dict(layers=2)))
    assert "config.stages.one.model.encoder.kind is missing" in text


def test_a_stage_of_another_kind_keeps_the_keys_of_both():
    own = dict(encoder=dict(kind="short", hop=320))
    graph = config.expand(recipe(stages__two__model=own))
    one, two = (graph.stages[name].model.encoder for name in ("one", "two"))
    assert two == Short("short", one.frontend, one.layers, one.width, hop=320)
    del own["encoder"]["hop"]
    text = fails(recipe(stages__two__model=own))
    assert "config.stages.two.model.encoder.hop is missing" in text and "common.py" not in text
    alone = dict(kind="short", width=4)
    text = fails(recipe(model__encoder=alone))
    assert "config.stages.one.model.encoder.frontend, .layers, .hop are missing" in text


def test_a_perturbation_that_the_front_end_does_not_apply_is_refused():
    plain = dict(stages__two__model=dict(encoder=dict(frontend=dict(kind="plain", bands=3))))
    config.expand(recipe(**plain))
    for key, off in config.PERTURBATIONS.items():
        on = 0.5 if off == 0.0 else (1.0, 1.1)
        text = fails(recipe(**plain, stages__two__augment={key: on}))
        assert f"config.stages.two.augment.{key}: expected {off}" in text
        assert "kind 'plain' applies none" in text


def test_every_kind_names_what_is_built_from_it():
    for group in (config.Frontend, config.Encoder, config.Converter):
        ours = [own for own in group.kinds.values() if own.__module__.startswith("seedasr_jax.")]
        assert ours and all(callable(options.maker()) for options in ours)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1 / 0", r"ZeroDivisionError: .*own_target\.py:1"),
        ("a b", "SyntaxError"),
        ("from json import lods", "ImportError.*lods"),
        ("import no_such_module", "no_such_module.*own_target needs it: install it on every"),
        ("class Main: pass", "own_target has no 'Mine'. Did you mean Main?"),
    ],
)
def test_a_target_that_cannot_be_imported_is_one_line(text, words, tmp_path, monkeypatch):
    (tmp_path / "own_target.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(Short, "target", "own_target:Mine")
    monkeypatch.delitem(sys.modules, "own_target", raising=False)
    with pytest.raises(ConfigError, match=words) as raised:
        Short.maker()
    assert "Short is registered as 'own_target:Mine'" in str(raised.value)
    assert "\n" not in str(raised.value)
    sys.modules.pop("own_target", None)


def test_a_target_that_is_nowhere_is_looked_for_on_the_path(monkeypatch):
    monkeypatch.setattr(Short, "target", "own_target.models:Mine")
    with pytest.raises(ConfigError, match="'own_target'; is it on PYTHONPATH"):
        Short.maker()


REGISTRATIONS = {
    "kind": """
import dataclasses
from seedasr_jax import config
from seedasr_jax.config import code
@config.register("own", "none:None")
@dataclasses.dataclass(frozen=True)
class Own(config.Encoder):
    pass
""",
    "part": """
import functools
from seedasr_jax.models import parts
parts.register(parts.Part("own", functools.partial(dict), None))
""",
    "costs": """
import dataclasses
from seedasr_jax.models import parts
parts.register(dataclasses.replace(parts.lookup("ctc_head"), flops=lambda *_: 0.0))
""",
    "objective": """
from seedasr_jax.train import objectives
from seedasr_jax.train.objectives.ctc import Ctc
objectives.register("own")(Ctc)
""",
}


@pytest.fixture
def registries(monkeypatch):
    """Copies of all registries, which a test may change."""
    config.import_all_later()  # into the tables themselves
    monkeypatch.setattr(registry, "_OBJECTIVES", dict(registry._OBJECTIVES))
    monkeypatch.setattr(parts, "_PARTS", dict(parts._PARTS))
    monkeypatch.setattr(config.Encoder, "kinds", dict(config.Encoder.kinds))
    monkeypatch.setattr(code, "_origins", dict(code._origins))


def run_as(module, what):
    """Runs a registration as the code of a module."""
    text, file = REGISTRATIONS[what], f"/team/{module.rpartition('.')[2]}.py"
    exec(compile(text, file, "exec"), {"__name__": module, "__file__": file})


@pytest.mark.parametrize("what", REGISTRATIONS)
def test_two_users_do_not_register_one_name(what, registries):
    """Else the order of config.imports would choose between them, and nothing would record it."""
    run_as("team.one", what)
    run_as("team.one", what)  # loaded again
    run_as("one", what)  # the same file, run as a recipe
    with pytest.raises(
        ConfigError, match=r"is registered by two modules, one and team\.two: rename"
    ):
        run_as("team.two", what)


def _first(what):
    """What a registry holds under the name of a registration."""
    if what == "kind":
        return config.Encoder.kinds["own"]
    if what == "objective":
        return registry._OBJECTIVES["own"]
    return parts.lookup("own" if what == "part" else "ctc_head")


@pytest.mark.parametrize("what", REGISTRATIONS)
def test_what_is_built_in_and_imported_later_keeps_the_users(what, registries):
    run_as("seedasr_jax.own", what)
    built_in = _first(what)
    run_as("team.one", what)
    users = _first(what)
    run_as("seedasr_jax.own", what)
    assert _first(what) is users
    assert what == "objective" or users is not built_in  # there it is one class


class Bare(config.Encoder):
    """Options without their decorator."""

    patch: int = config.at_least(1)


@pytest.mark.parametrize(
    ("target", "cls", "message"),
    [
        ("models.Mine", Short, "'mine': expected a target MODULE:NAME, found 'models.Mine'"),
        ("models:Mine", object, "'mine': expected a dataclass that extends a group.*object"),
        ("models:Mine", Bare, "expected a dataclass.*Bare: write @dataclasses.dataclass"),
    ],
)
def test_a_wrong_registration_is_refused_at_once(target, cls, message):
    with pytest.raises(ConfigError, match=message):
        config.register("mine", target)(cls)


def test_one_class_is_not_registered_under_two_targets():
    with pytest.raises(ConfigError, match="register a subclass of it as 'shorter'"):
        config.register("shorter", "none:Other")(Short)
    assert "shorter" not in config.Encoder.kinds and Short.target == "none:None"
