"""Parses the HLO text of a compiled program: its computations, and how often each is executed.

`cost_analysis` of a compiled program counts the body of a loop once; here every instruction counts
as often as it is executed, from which costs.py and traffic.py compute costs.
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
COPIES = ("bitcast", "copy")  # opcodes whose result is their operand
_SHAPE = re.compile(r"([a-z]\w*)\[([\d,]*)\](?:\{([^}]*)\})?")


@dataclasses.dataclass(frozen=True)
class Shape:
    """Shape of an array; `on_chip`: in the memory of a core instead of HBM."""

    dtype: str
    dims: tuple[int, ...]
    on_chip: bool

    @property
    def bytes(self) -> float:
        """Size without the padding of tiles."""
        return math.prod(self.dims) * BITS.get(self.dtype, 0) / 8


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One instruction: a line of HLO."""

    name: str
    opcode: str
    shapes: tuple[Shape, ...]  # of the result: one, or those of a tuple
    operands: tuple[str, ...]
    text: str  # between the parentheses of the operands
    attributes: str
    root: bool

    @property
    def bytes(self) -> float:
        """Size of the result."""
        return sum(shape.bytes for shape in self.shapes)


class Module:
    """A compiled module.

    Attributes:
        computations: name -> {name: instruction}.
        entry: name of the entry computation.
    """

    def __init__(self, text: str, max_trips: int = 0):
        """Parses a program; `max_trips`: assumed trips of a loop whose end depends on the data."""
        self._max_trips = max_trips
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
        """Executions of each computation in a step, including those inside fusions."""
        runs = collections.Counter()

        def walk(name, times):
            runs[name] += times
            for one in self.computations[name].values():
                if one.opcode == "while":
                    walk(called(one, "body")[0], times * self.trips(name, one))
                    continue
                branches = called(one, "branch_computations") or called(one, "true_computation")
                applied = called(one, "to_apply") if one.opcode == "call" else ()
                for callee in (*called(one, "calls"), *branches, *applied):
                    walk(callee, times)

        walk(self.entry, 1.0)
        return dict(runs)

    def executed(self):
        """Yields (name of its computation, instruction, executions in a step)."""
        for name, times in self.runs.items():
            for one in self.computations[name].values():
                yield name, one, times

    def trips(self, where: str, loop: Instruction) -> int:
        """Executions of the body of a `while` in computation `where`.

        Raises:
            ValueError: its condition does not compare a counter with a constant, and `max_trips`
                is not given.
        """
        condition = self.computations[called(loop, "condition")[0]]
        body = self.computations[called(loop, "body")[0]]
        root = next(one for one in condition.values() if one.root)
        if root.opcode == "fusion":
            root, condition = self._inside(root, condition)
        left, right = ([condition.get(name) for name in root.operands] + [None, None])[:2]
        if root.opcode != "compare" or right is None or right.opcode != "constant":
            if self._max_trips:
                return self._max_trips
            raise ValueError(
                f"{loop.name}: expected a condition that compares a counter with a constant, found"
                f" {root.name}: pass max_trips"
            )
        index = int(re.search(r"index=(\d+)", left.attributes)[1])
        first, end = _first(self.computations[where], loop.operands[0], index), int(right.text)
        step = _step(body, index)
        more = "LE" in root.attributes or "GE" in root.attributes
        return max(0, math.ceil((end + more * (1 if step > 0 else -1) - first) / step))

    def _inside(self, root, condition):
        """The comparison inside a fused condition, with its parameters replaced by the operands."""
        inner = dict(self.computations[called(root, "calls")[0]])
        for name, one in list(inner.items()):
            if one.opcode == "parameter":
                inner[name] = condition[root.operands[int(one.text)]]
        return next(one for one in inner.values() if one.root), inner


def _first(computation, name, index):
    """The constant at `index` of the tuple `name`; 0 if it is not constant."""
    one = computation.get(name)
    if one is not None and one.opcode == "tuple":
        name = one.operands[index]
    one = _copied(computation, name)
    constant = one is not None and one.opcode == "constant" and one.text.lstrip("-").isdigit()
    return int(one.text) if constant else 0


def _step(body, index):
    """The constant that a loop's body adds to the counter at `index` of its tuple."""
    root = next(one for one in body.values() if one.root)
    one = _copied(body, root.operands[index])
    if one is not None and one.opcode == "add":
        for name in one.operands:
            if name in body and body[name].opcode == "constant":
                return int(body[name].text)
    return 1


def _copied(computation, name):
    """The instruction `name` or, if it is a copy, the copied one; None: not in `computation`."""
    one = computation.get(name)
    while one is not None and one.opcode in COPIES:
        one = computation.get(one.operands[0])
    return one


def _instruction(line: str) -> Instruction:
    left, _, right = line.strip().partition(" = ")
    root = left.startswith("ROOT ")
    end = _closing(right, 0) + 1 if right.startswith("(") else right.index(" ")
    shapes = tuple(
        Shape(kind, tuple(map(int, filter(None, dims.split(",")))), "S(1)" in (layout or ""))
        for kind, dims, layout in _SHAPE.findall(right[:end])
    )
    rest = right[end:].lstrip()
    start = rest.index("(")
    close = _closing(rest, start)
    text = rest[start + 1 : close]
    operands = tuple(re.findall(r"%([\w.-]+)", text))
    name = left.removeprefix("ROOT ").lstrip("%")
    return Instruction(name, rest[:start], shapes, operands, text, rest[close + 1 :], root)


def _closing(text, start):
    depth = 0
    for at in range(start, len(text)):
        depth += (text[at] == "(") - (text[at] == ")")
        if depth == 0:
            return at
    raise ValueError(f"no closing bracket: {text[:80]}")


def called(one: Instruction, key: str) -> list[str]:
    """The computations that the attribute `key` of an instruction names, such as body or calls."""
    found = re.search(rf"\b{key}=(\{{[^}}]*\}}|%[\w.-]+)", one.attributes)
    return re.findall(r"%([\w.-]+)", found[1]) if found else []
