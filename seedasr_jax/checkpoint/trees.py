"""Trees as {name: leaf}, a name being the leaf's path joined by dots; parts of a tree."""

import jax

from seedasr_jax.models.names import LORA


def flat(tree) -> dict:
    """{"a.b.0": leaf} of any pytree (nnx.State, optax state, nested dicts), in its order."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {_name(path): leaf for path, leaf in leaves}


def nest(leaves: dict) -> dict:
    """{"a": {"b": leaf}} of {"a.b": leaf}: the inverse of `flat` for nested dicts."""
    out = {}
    for name, leaf in leaves.items():
        *groups, last = name.split(".")
        holder = out
        for group in groups:
            holder = holder.setdefault(group, {})
        holder[last] = leaf
    return out


def fill(tree, leaves):
    """`tree` with some leaves replaced by `leaves`, nested or by name; a KeyError for others."""
    leaves = flat(leaves)
    paths, structure = jax.tree_util.tree_flatten_with_path(tree)
    filled = [leaves.pop(_name(path), leaf) for path, leaf in paths]
    if leaves:
        raise KeyError(f"the tree has no {', '.join(leaves)}")
    return jax.tree.unflatten(structure, filled)


def part_of(name: str) -> str:
    """The part of a parameter: `lora` for an adapter in any module, else its top-level module."""
    module, _, rest = name.partition(".")
    return LORA if rest.rpartition(".")[2] in ("lora_a", "lora_b") else module


def parts(tree) -> tuple[str, ...]:
    """Names of the parts of a tree of parameters, in the tree's order."""
    return tuple(dict.fromkeys(part_of(name) for name in flat(tree)))


def select(tree, part: str) -> dict:
    """{name: leaf} of one part; names include the module."""
    return {name: leaf for name, leaf in flat(tree).items() if part_of(name) == part}


def renamed(name: str, old: str, new: str) -> str:
    """The name of a parameter after its part was renamed from `old` to `new`."""
    return new + name.removeprefix(old) if name.startswith(f"{old}.") else name


def with_shardings(leaves: dict, shardings) -> dict:
    """{name: ShapeDtypeStruct} of leaves by name, each with its sharding in a tree; None: none."""
    found = dict.fromkeys(leaves) if shardings is None else flat(shardings)
    return {
        name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=found[name])
        for name, x in leaves.items()
    }


def groups(shapes: dict, limit: int) -> list[dict]:
    """Splits {name: shape} by sorted name into groups of at most `limit` bytes or one array."""
    groups, room = [], 0
    for name in sorted(shapes):
        size = shapes[name].size * shapes[name].dtype.itemsize
        if not groups or size > room:
            groups.append({})
            room = limit
        groups[-1][name] = shapes[name]
        room -= size
    return groups


def _name(path) -> str:
    if path and path[-1] == jax.tree_util.GetAttrKey("value"):  # inside an nnx.Variable
        path = path[:-1]
    return jax.tree_util.keystr(path, simple=True, separator=".")
