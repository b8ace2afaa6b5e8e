"""Tagged groups: one key, such as `kind`, selects the dataclass of the other keys.

    @config.register("luise", "seedasr_jax.models.luise:Luise")
    @dataclasses.dataclass(frozen=True)
    class Luise(Encoder):
        ...

Modules of `config.imports` register their own kinds in the same way. Options are read without JAX:
the class to build from them is given as MODULE:NAME and imported only when it is built.
"""

import dataclasses
import functools
import importlib
import typing
from typing import Any, ClassVar

from seedasr_jax.errors import ConfigError, nearest


class Tagged:
    """A group of a config whose keys depend on its kind.

    A direct subclass is the group: it declares the key of its tag and the keys of all kinds. Its
    subclasses, each registered under a name, add the keys of one kind.
    """

    tag: ClassVar[str] = "kind"
    kinds: ClassVar[dict[str, type]]  # of a group, by the tag's value
    place: ClassVar[str]  # of a kind: MODULE:NAME

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        if Tagged in cls.__bases__:
            cls.kinds = {}

    @classmethod
    def maker(cls):
        """The class or function that this kind is registered with.

        Raises:
            ConfigError: the module, or the name in it, does not exist.
        """
        module, _, name = cls.place.partition(":")
        try:
            return getattr(importlib.import_module(module), name)
        except (ModuleNotFoundError, AttributeError) as error:
            raise ConfigError(f"{cls.__name__} is registered as {cls.place!r}: {error}") from error


_later: list[str] = []  # modules not imported yet


def import_later(*modules: str) -> None:
    """Leaves the import of modules that register parts or objectives to `import_all_later`, so that
    configs are read without JAX.
    """
    _later.extend(modules)


def import_all_later() -> None:
    """Imports the modules named to `import_later`."""
    while _later:
        importlib.import_module(_later.pop(0))


def register(kind: str, place: str):
    """Decorator: registers a dataclass as the options of one kind of its group.

    Args:
        kind: the value of the group's tag; an existing kind is replaced.
        place: MODULE:NAME of the class or function to build; its signature depends on the group.
    """

    def add(cls):
        cls.kinds[kind], cls.place = cls, place
        return cls

    return add


def is_tagged(kind) -> bool:
    """Whether a type of the schema is a tagged group, not one of its kinds."""
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
    """`fields` of the kind that nested dicts state, or of the group if they state none."""
    if is_tagged(kind):
        kind = kind.kinds.get(tree.get(kind.tag), kind)
    return fields(kind)
