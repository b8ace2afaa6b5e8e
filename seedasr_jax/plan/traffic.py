"""Bytes that a compiled program moves between HBM and the cores."""

import collections
import collections.abc

from seedasr_jax.plan.hlo import Instruction, Program, called

_FREE = (
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "conditional"),
    *("call", "after-all", "partition-id", "replica-id", "iota", "opt-barrier"),
)
_MOVES = ("bitcast", "copy")  # what is needed of their results is needed of what they are given


def of(program: Program) -> float:
    """Bytes that instructions read from HBM and write to it, slices counted as slices."""
    total = 0.0
    for name, times in program.runs.items():
        if any(char in name for char in ("fused", "fusion")):
            continue
        of = program.computations[name]
        for one in of.values():
            if one.opcode in _FREE or one.opcode.endswith("-done"):
                continue
            total += times * _accessed(program, one, of)
    return total


def _accessed(program, one: Instruction, of: collections.abc.Mapping) -> float:
    def far(shapes):
        return sum(shape.bytes for shape in shapes if not shape.near)

    if one.opcode in ("dynamic-slice", "slice", "gather"):
        return 2 * far(one.shapes)
    if one.opcode in ("dynamic-update-slice", "scatter"):
        return 2 * far(of[one.operands[1]].shapes) if one.operands[1] in of else 0.0
    read = [far(of[operand].shapes) if operand in of else 0.0 for operand in one.operands]
    if one.opcode == "copy-start":  # (copy, what is copied, context)
        return sum(read) + far(one.shapes[:1])
    written = far(one.shapes)
    if one.opcode == "fusion":
        inner = program.computations[called(one, "calls")[0]]
        users = _users(inner)
        for other in inner.values():
            if other.opcode == "parameter":
                number, needed = int(other.text), _needed(program, other, users)
                if needed is not None:
                    read[number] = min(read[number], needed)
        written = far(_made(one, inner))
    return sum(read) + written


def _made(one, inner):
    """What a fusion writes: of an array that is updated in place, the update."""
    root = next(other for other in inner.values() if other.root)
    if root.opcode != "tuple" and len(one.shapes) > 1:  # a sort, or sums taken together
        yield from one.shapes
        return
    names = root.operands if root.opcode == "tuple" else (root.name,)
    for name, shape in zip(names, one.shapes, strict=True):
        at = inner[name]
        while at.opcode in _MOVES and at.operands[0] in inner:
            at = inner[at.operands[0]]
        updates = at.opcode == "dynamic-update-slice" and not shape.near
        yield inner[at.operands[1]].shapes[0] if updates else shape


def _needed(program, one, users):
    """Bytes that a fusion needs of what it is given; None: all of it."""
    total = 0.0
    for user in users[one.name]:
        if user.opcode in _MOVES or (user.opcode == "fusion" and _only_moves(program, user)):
            part = _needed(program, user, users)
        elif user.opcode == "fusion":
            part = _needed_inside(program, one, user)
        elif user.opcode in ("dynamic-slice", "slice", "gather") and user.operands[0] == one.name:
            part = user.bytes
        elif user.opcode == "dynamic-update-slice" and user.operands[0] == one.name:
            part = 0.0
        else:
            return None
        if part is None:
            return None
        total += part
    return total if users[one.name] else None


def _needed_inside(program, one, fusion):
    """As `_needed`, of what a fusion inside of a fusion is given."""
    inner = program.computations[called(fusion, "calls")[0]]
    users = _users(inner)
    parts = [
        _needed(program, other, users)
        for other in inner.values()
        if other.opcode == "parameter" and fusion.operands[int(other.text)] == one.name
    ]
    return None if None in parts else sum(parts)


def _users(computation):
    """Name -> the instructions that read it."""
    users = collections.defaultdict(list)
    for one in computation.values():
        for operand in one.operands:
            users[operand].append(one)
    return users


def _only_moves(program, one):
    inner = program.computations[called(one, "calls")[0]].values()
    return all(other.opcode in ("parameter", *_MOVES) for other in inner)
