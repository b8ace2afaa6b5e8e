"""Tagged groups: one key, such as `kind`, says which dataclass the other keys are of.

    @config.register("luise", "seedasr_jax.models.luise:Luise")
    @dataclasses.dataclass(frozen=True)
    class Luise(Encoder):
        ...

A module of `config.imports` registers its own kinds in the same way. Options are read without JAX;
what is built from them is named by its place, which is imported when it is built.
"""

import dataclasses
import functools
import importlib
import typing
from typing import Any, ClassVar

from seedasr_jax.errors import ConfigError, nearest


class Tagged:
    """A group of a config whose keys depend on its kind.

    A direct subclass is the group: it declares the key of its tag and the keys that all kinds have.
    Its own subclasses, each under a name of `register`, add those of one kind.
    """

    tag: ClassVar[str] = "kind"
    kinds: ClassVar[dict[str, type]]  # of a group
    place: ClassVar[str]  # of a kind

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        if Tagged in cls.__bases__:
            cls.kinds = {}

    @classmethod
    def maker(cls):
        """What this kind is registered with.

        Raises:
            ConfigError: there is no such module, or it has no such name.
        """
        module, _, name = cls.place.partition(":")
        try:
            return getattr(importlib.import_module(module), name)
        except (ModuleNotFoundError, AttributeError) as error:
            raise ConfigError(f"{cls.__name__} is registered as {cls.place!r}: {error}") from error


_later: list[str] = []  # modules that are yet to be imported


def import_later(*modules: str) -> None:
    """Names modules that register parts or objectives: `import_all_later` imports them, so that
    configs are read without JAX.
    """
    _later.extend(modules)


def import_all_later() -> None:
    """Imports what `import_later` named."""
    while _later:
        importlib.import_module(_later.pop(0))


def register(kind: str, place: str):
    """Decorator: a dataclass holds the options of a kind of its group.

    Args:
        kind: the value of the group's tag; one that exists is replaced.
        place: MODULE:NAME of what is built from the options. Each group says how it is called.
    """

    def add(cls):
        cls.kinds[kind], cls.place = cls, place
        return cls

    return add


def is_tagged(kind) -> bool:
    """Whether a type of the schema is a tagged group as a whole."""
    return isinstance(kind, type) and Tagged in kind.__bases__


def find(group: type[Tagged], tag, where: str) -> type:
    """The dataclass of a kind.

    Raises:
        ConfigError: the group has no such kind; names the nearest.
    """
    if tag not in group.kinds:
        raise ConfigError(
            f"{where}.{group.tag}: expected one of {', '.join(group.kinds)}, found {tag!r}."
            f"{nearest(tag, group.kinds) or ' Modules of config.imports register others'}"
        )
    return group.kinds[tag]


@functools.cache
def fields(kind: type) -> dict[str, Any]:
    """The keys of a dataclass with their types."""
    types = typing.get_type_hints(kind)
    return {field.name: types[field.name] for field in dataclasses.fields(kind)}


def fields_at(kind, tree) -> dict[str, Any]:
    """As `fields`, of the kind that nested dicts state; of a group, where they state none."""
    if is_tagged(kind):
        kind = kind.kinds.get(tree.get(kind.tag), kind)
    return fields(kind)
