"""Whether the thread indices of a launch wrap: intervals of integers, from parameters and shapes, before anything runs.

Code is first made on the assumption that no invariant line (see `uniform`, `invariants`) is broken where it is widened.
What that rests on is kept with it as a list of steps; `hold` computes them for one launch. An interval bounds an exact
integer that is congruent to the register modulo its width; sums and products need no more. A widening needs the integer
to lie in the range of its type: then the register, read as that type, *is* that integer, which is linear in the lane.
Where the steps do not hold, as with grids beyond 2**31 elements, slower code is made that looks at every warp.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from p2pcompute.compute.ptx.ir import Address, Entry, Immediate, Instruction, Operand, Register, Special, Symbol
from p2pcompute.compute.ptx.types import TYPES

Interval = tuple[int, int]


class Step(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One instruction. `sources`: the number of a step, or an interval that is known beforehand. `type_name` is that of
    the operands. `must_fit`: a source with a stride is widened here.
    """

    operation: str
    type_name: str
    sources: tuple[int | Interval | str, ...]
    must_fit: bool


_RING: Final = frozenset({"mov", "cvta", "add", "sub", "mul", "mad", "shl", "neg"})
_READ: Final = frozenset({"and", "or", "xor", "shr", "brev", "bfi", "cvt", "ld"})


def widens(ins: Instruction) -> bool:
    """Whether an integer operand is read as its own type and kept in a wider register."""
    if ins.opcode == "cvt":
        wide, narrow = (TYPES[name] for name in ins.types)
        return wide.bits > narrow.bits
    return ins.has("wide")


def provable(candidates: Sequence[Instruction]) -> frozenset[int]:
    """The widenings (by id) among invariant definitions that `hold` can judge."""
    known: set[str] = set()
    found: set[int] = set()
    for ins in candidates:
        if _is_known(ins) and all(_is_readable(operand, known) for operand in ins.sources):
            known.update(register.name for register in ins.writes())
            if widens(ins):
                found.add(id(ins))
    return frozenset(found)


def _is_known(ins: Instruction) -> bool:
    if any(TYPES[name].kind not in "bus" for name in ins.types) or ins.has("hi") or ins.has("sat"):
        return False
    return ins.opcode in _RING or ins.opcode in _READ


def _is_readable(operand: Operand, known: set[str]) -> bool:
    match operand:
        case Register(name):
            return name in known
        case Special(name):
            return name.partition(".")[0] in ("ctaid", "nctaid", "tid", "ntid", "laneid")
        case Immediate() | Address(Symbol()):
            return True
        case _:
            return False


def encode(entry: Entry, definitions: Sequence[Instruction], checked: frozenset[int]) -> bytes:
    """The steps that decide whether the widenings `checked` (by id) keep their lines; empty bytes if there are none."""
    needed = _needed(definitions, checked)
    places: dict[str, int] = {}
    steps: list[Step] = []
    for ins in needed:
        sources = tuple(_source(operand, entry, places) for operand in ins.sources)
        operation = f"{ins.opcode}.wide" if ins.has("wide") else ins.opcode
        if operation == "sub" and _clears(steps, *sources):
            operation = "clear"
        steps.append(Step(operation, ins.types[-1], sources, id(ins) in checked))
        (target,) = ins.writes()
        places[target.name] = len(steps) - 1
    return msgspec.msgpack.encode(steps) if steps else b""


def _clears(steps: Sequence[Step], left: int | Interval | str, right: int | Interval | str) -> bool:
    """x - (x & c): no more than x, and not negative."""
    if not isinstance(left, int) or not isinstance(right, int):
        return False
    return steps[right].operation == "and" and steps[right].sources[0] == left


def _needed(definitions: Sequence[Instruction], checked: frozenset[int]) -> list[Instruction]:
    kept: list[Instruction] = []
    names: set[str] = set()
    for ins in reversed(definitions):
        if id(ins) in checked or any(register.name in names for register in ins.writes()):
            kept.append(ins)
            names.update(register.name for register in ins.reads())
    return kept[::-1]


def _source(operand: Operand, entry: Entry, places: Mapping[str, int]) -> int | Interval | str:
    match operand:
        case Register(name):
            return places.get(name, "?")
        case Immediate(value):
            return (value, value)
        case Special(name):
            return name
        case Address(Symbol(name), offset):
            parameter = entry.parameter(name)
            return "?" if parameter is None else f"@{parameter.offset_bytes + offset}"
        case _:
            return "?"


@dataclass(frozen=True, slots=True)
class _Launch:
    parameters: bytes
    grid: tuple[int, int, int]
    block: tuple[int, int, int]

    def source(self, source: int | Interval | str, step: Step, done: list[Interval | None]) -> Interval | None:
        if isinstance(source, int):
            return done[source]
        if not isinstance(source, str):
            return (source[0], source[1])
        if source.startswith("@"):
            return self._parameter(int(source[1:]), step.type_name)
        head, _, axis = source.partition(".")
        shape = {"ctaid": self.grid, "nctaid": self.grid, "tid": self.block, "ntid": self.block}.get(head)
        if shape is None:
            return (0, 31) if head == "laneid" else None
        size = shape["xyz".index(axis)]
        return (size, size) if head.startswith("n") else (0, size - 1)

    def _parameter(self, offset: int, type_name: str) -> Interval:
        kind = TYPES[type_name]
        raw = self.parameters[offset : offset + kind.size_bytes]
        value = int.from_bytes(raw, "little", signed=kind.kind != "u")
        return (value, value)


def decode(steps: bytes) -> list[Step]:
    """What `encode` gave, for `hold`."""
    return msgspec.msgpack.decode(steps, type=list[Step]) if steps else []


def hold(steps: Sequence[Step], parameters: bytes, grid: tuple[int, int, int], block: tuple[int, int, int]) -> bool:
    """Whether no line is broken in a launch with these parameters and shapes."""
    launch = _Launch(parameters, grid, block)
    done: list[Interval | None] = []
    for step in steps:
        sources = [launch.source(source, step, done) for source in step.sources]
        known = [source for source in sources if source is not None]
        result = _compute(step, known) if len(known) == len(sources) else None
        if step.must_fit and result is None:
            return False
        done.append(result)
    return True


def _compute(step: Step, sources: list[Interval]) -> Interval | None:
    match step.operation:
        case "mov" | "cvta" | "ld":
            return sources[0]
        case "add":
            return _add(*sources)
        case "sub":
            return _add(sources[0], _negated(sources[1]))
        case "neg":
            return _negated(sources[0])
        case "mul":
            return _product(*sources)
        case "mad":
            return _add(_product(*sources[:2]), sources[2])
        case "shl":
            low, high = sources[1]
            return _product(sources[0], (1 << low, 1 << low)) if low == high and 0 <= low < 64 else None
    return _read(step, sources)


def _read(step: Step, sources: list[Interval]) -> Interval | None:
    """Operations that read the register as a number of its type."""
    value = _as_type(sources[0], step.type_name)
    if value is None:
        return None
    if step.operation == "cvt":
        return value
    if step.operation == "brev":
        return (0, (1 << TYPES[step.type_name].bits) - 1)
    other = sources[1] if step.operation == "shr" else _as_type(sources[1], step.type_name)
    if other is None:
        return None
    if step.operation in ("mul.wide", "mad.wide"):
        product = _product(value, other)
        return product if step.operation == "mul.wide" else _add(product, sources[2])
    is_constant = other[0] == other[1] >= 0
    if step.operation == "shr" and is_constant and other[0] < 64:
        return (value[0] >> other[0], value[1] >> other[0])
    if value[0] < 0 or other[0] < 0:
        return None
    match step.operation:
        case "and":
            return (0, min(value[1], other[1]))
        case "clear":
            return (0, value[1])
        case "or" | "xor":
            return (0, _filled(max(value[1], other[1])))
        case "bfi":
            place, width = min(sources[2][1], 64), min(sources[3][1], 64)
            field = min(value[1], (1 << width) - 1) << place
            return (0, _filled(other[1] | field))
    return None


def _filled(value: int) -> int:
    """The largest number of as many bits."""
    return (1 << value.bit_length()) - 1


def _as_type(value: Interval, type_name: str) -> Interval | None:
    """The interval as the type reads the register: moved by a multiple of 2**bits, if it then lies in the range."""
    kind = TYPES[type_name]
    lowest = -(1 << (kind.bits - 1)) if kind.kind == "s" else 0
    moved = (value[0] - lowest) % (1 << kind.bits) + lowest
    highest = moved + value[1] - value[0]
    return (moved, highest) if highest < lowest + (1 << kind.bits) else None


def _add(left: Interval, right: Interval) -> Interval:
    return (left[0] + right[0], left[1] + right[1])


def _negated(value: Interval) -> Interval:
    return (-value[1], -value[0])


def _product(left: Interval, right: Interval) -> Interval:
    every = [a * b for a in left for b in right]
    return (min(every), max(every))
