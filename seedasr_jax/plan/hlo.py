"""A compiled program read from its HLO text: computations, and how often each of them runs.

`cost_analysis` of a compiled program counts the body of a loop once; here every instruction counts
as often as it runs. costs.py says what that takes.
"""

import collections
import dataclasses
import functools
import math
import re

BITS = {
    **dict.fromkeys(("pred", "s8", "u8", "f8e4m3fn", "f8e5m2"), 8),
    **dict.fromkeys(("s16", "u16", "f16", "bf16"), 16),
    **dict.fromkeys(("s32", "u32", "f32"), 32),
    **dict.fromkeys(("s64", "u64", "f64", "c64"), 64),
    **dict.fromkeys(("s4", "u4"), 4),
}
_SHAPE = re.compile(r"([a-z]\w*)\[([\d,]*)\](?:\{([^}]*)\})?")


@dataclasses.dataclass(frozen=True)
class Shape:
    """Shape of an array; `near`: in a core's own memory and not in HBM."""

    dtype: str
    dims: tuple[int, ...]
    near: bool

    @property
    def bytes(self) -> float:
        """Without padding of tiles."""
        return math.prod(self.dims) * BITS.get(self.dtype, 0) / 8


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line."""

    name: str
    opcode: str
    shapes: tuple[Shape, ...]  # one, or those of a tuple
    operands: tuple[str, ...]
    text: str  # between the brackets of the operands
    attributes: str
    root: bool

    @property
    def bytes(self) -> float:
        """Of what it makes."""
        return sum(shape.bytes for shape in self.shapes)


class Program:
    """A compiled module.

    Attributes:
        computations: name -> its instructions by name.
        entry: name of the computation that runs.
    """

    def __init__(self, text: str, most: int = 0):
        """Reads a program; `most`: how often a loop is taken to run whose end the data decides."""
        self._most = most
        self.computations, self.entry = {}, ""
        current = None
        for line in text.splitlines():
            if line.startswith(("%", "ENTRY")) and line.rstrip().endswith("{"):
                name = line.removeprefix("ENTRY ").split(" ", 1)[0].lstrip("%")
                current = self.computations[name] = {}
                if line.startswith("ENTRY"):
                    self.entry = name
            elif current is not None and " = " in line:
                found = _instruction(line)
                current[found.name] = found

    @functools.cached_property
    def runs(self) -> dict[str, float]:
        """How often each computation runs in a step, those inside of fusions too."""
        runs = collections.Counter()

        def walk(name, times):
            runs[name] += times
            for one in self.computations[name].values():
                if one.opcode == "while":
                    more = times * self.trips(name, one)
                    walk(called(one, "body")[0], more)
                    continue
                branches = called(one, "branch_computations") or called(one, "true_computation")
                for callee in (*called(one, "calls"), *branches):
                    walk(callee, times)
                if one.opcode == "call":
                    for callee in called(one, "to_apply"):
                        walk(callee, times)

        walk(self.entry, 1.0)
        return dict(runs)

    def trips(self, where: str, loop: Instruction) -> int:
        """How often the body of a `while` in computation `where` runs.

        Raises:
            ValueError: its condition is not a comparison of a counter with a constant, and no
                `most` is known.
        """
        condition = self.computations[called(loop, "condition")[0]]
        body = self.computations[called(loop, "body")[0]]
        root = next(one for one in condition.values() if one.root)
        if root.opcode == "fusion":
            root, condition = self._inside(root, condition)
        left, right = ([condition.get(name) for name in root.operands] + [None, None])[:2]
        if root.opcode != "compare" or right is None or right.opcode != "constant":
            if self._most:
                return self._most
            raise ValueError(f"{loop.name}: its condition {root.name} counts to no constant")
        index = int(re.search(r"index=(\d+)", left.attributes)[1])
        end = int(right.text)
        step = self._step(body, index)
        first = self._number(self.computations[where], loop.operands[0], index)
        more = "LE" in root.attributes or "GE" in root.attributes
        return max(0, math.ceil((end + more * (1 if step > 0 else -1) - first) / step))

    def _inside(self, root, condition):
        """The comparison in a condition that is a fusion, its parameters as what they stand for."""
        inner = dict(self.computations[called(root, "calls")[0]])
        for name, one in list(inner.items()):
            if one.opcode == "parameter":
                inner[name] = condition[root.operands[int(one.text)]]
        return next(one for one in inner.values() if one.root), inner

    def _step(self, body, index):
        root = next(one for one in body.values() if one.root)
        one = body.get(root.operands[index])
        while one is not None and one.opcode in ("copy", "bitcast"):
            one = body.get(one.operands[0])
        if one is not None and one.opcode == "add":
            for name in one.operands:
                if name in body and body[name].opcode == "constant":
                    return int(body[name].text)
        return 1

    def _number(self, computation, name, index):
        """The constant at `index` of a tuple; 0 where it is none."""
        one = computation.get(name)
        if one is not None and one.opcode == "tuple":
            one = computation.get(one.operands[index])
        while one is not None and one.opcode in ("copy", "bitcast"):
            one = computation.get(one.operands[0])
        if one is None or one.opcode != "constant" or not one.text.lstrip("-").isdigit():
            return 0
        return int(one.text)


def _instruction(line: str) -> Instruction:
    left, _, right = line.strip().partition(" = ")
    root = left.startswith("ROOT ")
    end = _closing(right, 0) + 1 if right.startswith("(") else right.index(" ")
    shapes = tuple(
        Shape(kind, tuple(map(int, filter(None, dims.split(",")))), "S(1)" in (layout or ""))
        for kind, dims, layout in _SHAPE.findall(right[:end])
    )
    rest = right[end:].lstrip()
    opcode, _, _ = rest.partition("(")
    start = len(opcode)
    close = _closing(rest, start)
    text = rest[start + 1 : close]
    operands = tuple(re.findall(r"%([\w.-]+)", text))
    name = left.removeprefix("ROOT ").lstrip("%")
    return Instruction(name, opcode, shapes, operands, text, rest[close + 1 :], root)


def _closing(text, start):
    depth = 0
    for at in range(start, len(text)):
        depth += (text[at] == "(") - (text[at] == ")")
        if depth == 0:
            return at
    raise ValueError(f"no closing bracket: {text[:80]}")


def called(one: Instruction, key: str) -> list[str]:
    """The computations that an instruction names under `key`, such as body or calls."""
    found = re.search(rf"\b{key}=(\{{[^}}]*\}}|%[\w.-]+)", one.attributes)
    return re.findall(r"%([\w.-]+)", found[1]) if found else []
