"""Tagged groups: one key, such as `kind`, selects the dataclass of the other keys.

    @config.register("luise", "seedasr_jax.models.luise:Luise")
    @dataclasses.dataclass(frozen=True)
    class Luise(Encoder): ...

Modules of `config.imports` register their own kinds in the same way. Options are read without JAX:
the class to build from them is given as MODULE:NAME and imported only when it is built.
"""

import dataclasses
import functools
import importlib
import typing
from typing import Any, ClassVar

from seedasr_jax import errors
from seedasr_jax.config import code
from seedasr_jax.errors import ConfigError


class Tagged:
    """A group of a config whose keys depend on its kind.

    A direct subclass is the group: it declares the key of its tag and the keys of all kinds. Its
    subclasses, each registered under a name, add the keys of one kind.
    """

    tag: ClassVar[str] = "kind"
    kinds: ClassVar[dict[str, type]]  # of a group, by the tag's value
    target: ClassVar[str]  # of a kind: MODULE:NAME of the class or function to build

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        if is_tagged(cls):
            cls.kinds = {}

    @classmethod
    def maker(cls):
        """Imports the target of this kind; a ConfigError if its module raises or lacks the name."""
        module, _, name = cls.target.partition(":")
        with code.of_user(f"{cls.__name__} is registered as {cls.target!r}"):
            found = code.load(module)
            if not hasattr(found, name):
                near = errors.nearest(name, vars(found))
                raise ConfigError(f"{module} has no {name!r}.{near}")
            return getattr(found, name)


def register(kind: str, target: str):
    """Decorator: registers a dataclass as the options of one kind of its group, or replaces it.

    A built-in one never replaces another module's.

    `target`: MODULE:NAME of the class or function to build; its signature depends on the group.

    Raises:
        ConfigError: the class belongs to no group; it has another target, as another kind: the two
            would share one; a module of another user has registered the kind.
    """
    if ":" not in target:
        raise ConfigError(f"{kind!r}: expected a target MODULE:NAME, found {target!r}")

    def add(cls):
        undecorated = "__annotations__" in vars(cls) and "__dataclass_fields__" not in vars(cls)
        if not (issubclass(cls, Tagged) and dataclasses.is_dataclass(cls)) or undecorated:
            raise ConfigError(
                f"{kind!r}: expected a dataclass that extends a group, such as config.Encoder,"
                f" found {cls.__module__}.{cls.__name__}: write @dataclasses.dataclass(frozen=True)"
                " between @config.register and the class"
            )
        others = [other for other, known in cls.kinds.items() if known is cls and other != kind]
        if others and cls.target != target:
            raise ConfigError(
                f"{cls.__name__} is registered as {others[0]!r} with target {cls.target!r}, found"
                f" {kind!r} with {target!r}: register a subclass of it as {kind!r}"
            )
        replaces = code.replaces(f"{_group(cls).__name__}.{cls.tag} {kind!r}")
        cls.target = target
        if replaces:
            cls.kinds[kind] = cls
        return cls

    return add


_later: list[str] = []  # modules not imported yet


def import_later(*modules: str) -> None:
    """Defers the import of modules that register parts or objectives: configs need no JAX."""
    _later.extend(modules)


def import_all_later() -> None:
    """Imports the modules that `import_later` deferred."""
    while _later:
        importlib.import_module(_later.pop(0))


def _group(cls) -> type[Tagged]:
    """The group that a kind belongs to."""
    return next(base for base in cls.__mro__ if is_tagged(base))


def is_tagged(kind) -> bool:
    """Whether a type of the schema is a tagged group, not one of its kinds."""
    return isinstance(kind, type) and Tagged in kind.__bases__


def find(group: type[Tagged], tag, where: str) -> type:
    """The dataclass of a kind; a ConfigError with the nearest if the group has no such kind."""
    if tag not in group.kinds:
        raise errors.unregistered(f"{where}.{group.tag}", tag, group.kinds)
    return group.kinds[tag]


@functools.cache
def fields(kind: type) -> dict[str, Any]:
    """The keys of a dataclass with their types."""
    types = typing.get_type_hints(kind)
    return {field.name: types[field.name] for field in dataclasses.fields(kind)}


def fields_at(kind, tree) -> dict[str, Any]:
    """`fields` of the kind that nested dicts state, or of the group if they state none."""
    return fields(kind.kinds.get(tree.get(kind.tag), kind) if is_tagged(kind) else kind)
