"""Tagged groups: the keys of a group are those of its kind."""

import dataclasses
import sys

import pytest
from two_stages import fails, recipe

from seedasr_jax import config
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


@pytest.mark.parametrize("register", ["kind", "part", "objective"])
def test_two_users_do_not_register_one_name(register, monkeypatch):
    """Else the order of config.imports would choose between them, and nothing would record it."""
    config.import_all_later()
    monkeypatch.setattr(registry, "_OBJECTIVES", dict(registry._OBJECTIVES))
    monkeypatch.setattr(parts, "_PARTS", dict(parts._PARTS))
    monkeypatch.setattr(config.Encoder, "kinds", dict(config.Encoder.kinds))

    def registered(module):
        def make():
            """Of the module."""

        cls = type("Own", (config.Encoder,), {"__module__": module})
        make.__module__ = module
        if register == "part":
            return parts.register(parts.Part("own", make, None))
        if register == "kind":
            return config.register("own", "none:None")(cls)
        return registry.register("own")(cls)

    registered("team.one")
    registered("team.one")  # loaded again
    with pytest.raises(ConfigError, match=r"'own': modules team\.one and team\.two .* both"):
        registered("team.two")


@pytest.mark.parametrize(
    ("target", "cls", "message"),
    [
        ("models.Mine", Short, "'mine': expected a target MODULE:NAME, found 'models.Mine'"),
        ("models:Mine", object, "'mine': expected a dataclass that extends a group.*object"),
    ],
)
def test_a_wrong_registration_is_refused_at_once(target, cls, message):
    with pytest.raises(ConfigError, match=message):
        config.register("mine", target)(cls)


def test_one_class_is_not_registered_under_two_targets():
    with pytest.raises(ConfigError, match="register a subclass of it as 'shorter'"):
        config.register("shorter", "none:Other")(Short)
    assert "shorter" not in config.Encoder.kinds and Short.target == "none:None"


def test_what_is_built_in_and_imported_later_keeps_the_users(monkeypatch):
    config.import_all_later()  # into the tables themselves
    monkeypatch.setattr(registry, "_OBJECTIVES", dict(registry._OBJECTIVES))
    monkeypatch.setattr(parts, "_PARTS", dict(parts._PARTS))
    monkeypatch.setattr(config.Encoder, "kinds", {})

    def make():
        """Of a user."""

    def made():
        """Of a module of the package that is imported later."""

    made.__module__ = "seedasr_jax.small.models.parts"
    own, built_in = type("Own", (), {}), type("Sft", (), {"__module__": "seedasr_jax.train.sft"})
    for cls, kept in ((built_in, built_in), (own, own), (built_in, own)):
        registry.register("sft")(cls)
        assert registry._OBJECTIVES["sft"] is kept
        parts.register(parts.Part("decoder", made if cls is built_in else make, None))
        assert parts.lookup("decoder").make is (made if kept is built_in else make)
        options = type("Options", (config.Encoder,), dict(__module__=cls.__module__))
        config.register("one", "none:None")(options)
        assert config.Encoder.kinds["one"].__module__ == kept.__module__
