"""Bytes that a compiled program transfers between HBM and the cores."""

import collections

from seedasr_jax.plan.hlo import COPIES, Module, called

_FREE = (
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "conditional"),
    *("call", "after-all", "partition-id", "replica-id", "iota", "opt-barrier"),
)


def hbm_bytes(module: Module) -> float:
    """Bytes read from and written to HBM; of a slice or an update only the slice counts."""
    total = 0.0
    for where, one, times in module.executed():
        fused = "fused" in where or "fusion" in where  # counted by the fusion instruction
        if not (fused or one.opcode in _FREE or one.opcode.endswith("-done")):
            total += times * _accessed(module, one, module.computations[where])
    return total


def _accessed(module, one, computation):
    def in_hbm(shapes):
        return sum(shape.bytes for shape in shapes if not shape.on_chip)

    def operand_bytes(name):
        return in_hbm(computation[name].shapes) if name in computation else 0.0

    if one.opcode in ("dynamic-slice", "slice", "gather"):
        return 2 * in_hbm(one.shapes)
    if one.opcode in ("dynamic-update-slice", "scatter"):
        return 2 * operand_bytes(one.operands[1])
    read = [operand_bytes(name) for name in one.operands]
    if one.opcode == "copy-start":  # the result is a tuple (copy, source, context)
        return sum(read) + in_hbm(one.shapes[:1])
    written = in_hbm(one.shapes)
    if one.opcode == "fusion":
        inner = module.computations[called(one, "calls")[0]]
        users = _users(inner)
        for other in inner.values():
            if other.opcode == "parameter":
                number, needed = int(other.text), _needed(module, other, users)
                if needed is not None:
                    read[number] = min(read[number], needed)
        written = in_hbm(_written(one, inner))
    return sum(read) + written


def _written(one, inner):
    """Yields the shapes that a fusion writes: for an array updated in place, only the update."""
    root = next(other for other in inner.values() if other.root)
    if root.opcode != "tuple" and len(one.shapes) > 1:  # a sort, or a reduction of several arrays
        yield from one.shapes
        return
    names = root.operands if root.opcode == "tuple" else (root.name,)
    for name, shape in zip(names, one.shapes, strict=True):
        at = inner[name]
        while at.opcode in COPIES and at.operands[0] in inner:
            at = inner[at.operands[0]]
        updates = at.opcode == "dynamic-update-slice" and not shape.on_chip
        yield inner[at.operands[1]].shapes[0] if updates else shape


def _needed(module, one, users):
    """Bytes of an operand that a fusion reads; None: all of it."""
    total = 0.0
    for user in users[one.name]:
        if user.opcode in COPIES or (user.opcode == "fusion" and _only_copies(module, user)):
            needed = _needed(module, user, users)
        elif user.opcode == "fusion":
            needed = _needed_inside(module, one, user)
        elif user.opcode in ("dynamic-slice", "slice", "gather") and user.operands[0] == one.name:
            needed = user.bytes
        elif user.opcode == "dynamic-update-slice" and user.operands[0] == one.name:
            needed = 0.0
        else:
            return None
        if needed is None:
            return None
        total += needed
    return total if users[one.name] else None


def _needed_inside(module, one, fusion):
    """`_needed` for an operand of a fusion that is inside another fusion."""
    inner = module.computations[called(fusion, "calls")[0]]
    users = _users(inner)
    needed = [
        _needed(module, other, users)
        for other in inner.values()
        if other.opcode == "parameter" and fusion.operands[int(other.text)] == one.name
    ]
    return None if None in needed else sum(needed)


def _users(computation):
    """{name: the instructions that read it} of a computation."""
    users = collections.defaultdict(list)
    for one in computation.values():
        for operand in one.operands:
            users[operand].append(one)
    return users


def _only_copies(module, one):
    inner = module.computations[called(one, "calls")[0]].values()
    return all(other.opcode in ("parameter", *COPIES) for other in inner)
