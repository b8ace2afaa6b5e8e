"""Recipes by name or file, with overrides. Imports neither JAX nor TensorFlow."""

import importlib
import importlib.util
import inspect
import pathlib
import pkgutil

from ml_collections import ConfigDict

from seedasr_jax import config, configs
from seedasr_jax import workdir as disk
from seedasr_jax.config import code
from seedasr_jax.errors import ConfigError, UserError, nearest
from seedasr_jax.launch import overrides

HELPERS = ("common", "pods")  # modules of configs/ that are not recipes


def names() -> list[str]:
    """Names of the shipped recipes."""
    found = (module.name for module in pkgutil.iter_modules(configs.__path__))
    return sorted(name for name in found if name not in HELPERS)


def describe(name: str) -> str:
    """The docstring of a shipped recipe."""
    return (_shipped(name).__doc__ or "").strip()


def _shipped(name):
    return importlib.import_module(f"seedasr_jax.configs.{name}")


def load(spec: str) -> ConfigDict:
    """Loads NAME_OR_FILE[:ARG] by `get_config(ARG)` or `get_config()` of its module.

    Raises:
        ConfigError: no such file or recipe, or it does not accept the argument.
    """
    name, _, argument = spec.partition(":")
    if name.endswith(".py"):
        path = pathlib.Path(name).expanduser()
        if not path.is_file():
            near = nearest(path.name, [beside.name for beside in path.parent.glob("*.py")])
            known = ", ".join(names())
            raise ConfigError(f"--config: no file {name}; shipped recipes: {known}.{near}")
        source = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(source)
        with code.of_user(f"--config={name}"):
            source.loader.exec_module(module)
    elif name in names():
        module = _shipped(name)
    else:
        raise ConfigError(
            f"--config: expected a .py file or a shipped recipe ({', '.join(names())}), found"
            f" {name!r}.{nearest(name, names())}"
        )
    if not callable(getattr(module, "get_config", None)):
        raise ConfigError(f"--config: {name} defines no function get_config")
    arguments = [argument] if argument else []
    try:
        inspect.signature(module.get_config).bind(*arguments)
    except TypeError as error:
        raise ConfigError(
            f"--config={spec}: get_config{inspect.signature(module.get_config)}: {error}; write"
            f" {name} or {name}:ARG accordingly"
        ) from error
    with code.of_user(f"--config={spec}"):
        recipe = module.get_config(*arguments)
    if not isinstance(recipe, ConfigDict):
        raise ConfigError(
            f"--config={spec}: expected get_config to return a ConfigDict of configs.common.graph,"
            f" found a {type(recipe).__name__}"
        )
    return recipe


def expand(spec: str, given: list[tuple[str, str]]) -> config.Graph:
    """Expands and checks a recipe with overrides (key, text)."""
    recipe = load(spec)
    paths = overrides.apply(recipe, given)
    graph = config.expand(recipe)
    overrides.check_reach(recipe, paths)
    return graph


def stored(workdir: pathlib.Path) -> config.Graph:
    """The graph that a workdir was started with.

    Raises:
        ConfigError: the workdir has no graph, or an invalid one.
    """
    path = workdir / disk.CONFIG
    if not path.exists():
        raise ConfigError(f"{workdir} has no {disk.CONFIG}: name a recipe with --config")
    tree = disk.read_config(workdir)
    tree = {key: value for key, value in tree.items() if key != "format_version"}
    with code.of_user(str(path)):
        code.import_all(one for one in _listed(tree) if isinstance(one, str))
    try:
        graph = config.stored(tree, str(path))
        config.check(graph, str(path))
    except ConfigError as error:
        raise ConfigError(f"{error}{disk.NEW_CONFIG}") from error
    if not graph.stages:
        raise ConfigError(f"{path}: expected stages, found none{disk.NEW_CONFIG}")
    return graph


def stored_stages(workdir: pathlib.Path) -> dict[str, dict]:
    """{name: stage} of the workdir's config.json as stored, without importing its modules, which
    may be others than those of the job; {} if it cannot be read.
    """
    stages = _as_stored(workdir).get("stages")
    return stages if isinstance(stages, dict) else {}


def stored_imports(workdir: pathlib.Path) -> list[str]:
    """The modules that the workdir's config.json names; [] if it cannot be read."""
    return [one for one in _listed(_as_stored(workdir)) if isinstance(one, str)]


def _listed(tree) -> list:
    imports = tree.get("imports")
    return imports if isinstance(imports, list) else []


def _as_stored(workdir):
    try:
        return disk.read_config(workdir)
    except (UserError, OSError):
        return {}


def copy(spec: str, path: pathlib.Path):
    """Copies a shipped recipe's file for editing.

    Raises:
        ConfigError: no such recipe, or the file exists.
    """
    name = spec.partition(":")[0]
    if name not in names():
        raise ConfigError(f"no shipped recipe {name!r}.{nearest(name, names())}")
    if path.exists():
        raise ConfigError(f"--copy: {path} exists; choose another name")
    disk.write_text(path, pathlib.Path(_shipped(name).__file__).read_text("utf-8"))
