"""The typed intermediate form of a PTX module: what the parser makes and every later pass reads.

All of it is immutable except `Module` and `Entry`, which the parser fills and nobody changes afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from p2pcompute.compute.ptx.isa import TRAILING

CARRY: Final = "%cc"
"""The condition code register, modelled as a predicate named like no PTX register can be."""


@dataclass(frozen=True, slots=True)
class Register:
    name: str
    type_name: str


@dataclass(frozen=True, slots=True)
class Immediate:
    """`value` is the integer, or for `kind` f32 and f64 the IEEE bits."""

    value: int
    kind: str = "int"


@dataclass(frozen=True, slots=True)
class Special:
    """A read-only hardware register, such as `tid.x`, without the percent sign."""

    name: str


@dataclass(frozen=True, slots=True)
class Symbol:
    """The address of a variable, or the variable itself in `ld.param`."""

    name: str
    offset_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Address:
    """`[base + offset]`."""

    base: Register | Symbol | Immediate
    offset_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Group:
    """`{a, b}`: the elements of a vector access, or the halves of a packing move."""

    items: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class Texel:
    """`[handle, {x, y}]`: a place in a texture; the layer, if there is one, comes first."""

    handle: Operand
    coordinates: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class Label:
    name: str


@dataclass(frozen=True, slots=True)
class Sink:
    """`_`: a result nobody wants."""


@dataclass(frozen=True, slots=True)
class Negated:
    """`!p`, where an instruction takes a negated predicate as a source."""

    register: Register


Operand = Register | Immediate | Special | Symbol | Address | Group | Texel | Label | Sink | Negated


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction. `modifiers` maps slot name to suffix, in the order in which PTX spells them."""

    opcode: str
    modifiers: tuple[tuple[str, str], ...]
    types: tuple[str, ...]
    destinations: tuple[Operand, ...]
    sources: tuple[Operand, ...]
    destination_types: tuple[str, ...]
    source_types: tuple[str, ...]
    line: int
    guard: Register | None = None
    guard_negated: bool = False
    _read: tuple[Register, ...] | None = field(default=None, init=False, repr=False, compare=False)
    _written: tuple[Register, ...] | None = field(default=None, init=False, repr=False, compare=False)
    """What `reads` and `writes` found: every analysis asks, again and again."""

    def modifier(self, slot: str) -> str | None:
        for name, value in self.modifiers:
            if name == slot:
                return value
        return None

    def has(self, suffix: str) -> bool:
        return any(value == suffix for _, value in self.modifiers)

    @property
    def spelling(self) -> str:
        before = [value for slot, value in self.modifiers if slot not in TRAILING]
        behind = [value for slot, value in self.modifiers if slot in TRAILING]
        return ".".join((self.opcode, *before, *self.types, *behind))

    def reads(self) -> tuple[Register, ...]:
        """Registers whose value matters, the guard and the base of a stored-to address included."""
        if self._read is None:
            object.__setattr__(self, "_read", tuple(self._reads()))
        return self._read or ()

    def writes(self) -> tuple[Register, ...]:
        if self._written is None:
            object.__setattr__(self, "_written", tuple(self._writes()))
        return self._written or ()

    def _reads(self) -> Iterator[Register]:
        if self.guard is not None:
            yield self.guard
        for operand in self.sources:
            yield from registers_of(operand)
        for operand in self.destinations:
            if isinstance(operand, Address):
                yield from registers_of(operand)
        if self.opcode in READS_CARRY:
            yield CARRY_REGISTER

    def _writes(self) -> Iterator[Register]:
        for operand in self.destinations:
            if not isinstance(operand, Address):
                yield from registers_of(operand)
        if self.modifier("carry") is not None:
            yield CARRY_REGISTER


CARRY_REGISTER: Final = Register(CARRY, "pred")
READS_CARRY: Final = frozenset({"addc", "subc", "madc"})


def registers_of(operand: Operand) -> Iterator[Register]:
    match operand:
        case Register():
            yield operand
        case Negated(register):
            yield register
        case Address(base):
            if isinstance(base, Register):
                yield base
        case Group(items):
            for item in items:
                yield from registers_of(item)
        case Texel(handle, coordinates):
            for item in (handle, *coordinates):
                yield from registers_of(item)
        case _:
            return


@dataclass(frozen=True, slots=True)
class Parameter:
    """A kernel parameter; `offset_bytes` is its place in the parameter block."""

    name: str
    type_name: str
    size_bytes: int
    align_bytes: int
    offset_bytes: int


@dataclass(frozen=True, slots=True)
class Variable:
    """A named piece of memory: `space` is global, const, shared or local; `initial` is empty for zeroes."""

    name: str
    space: str
    type_name: str
    size_bytes: int
    align_bytes: int
    offset_bytes: int
    initial: bytes = b""
    is_extern: bool = False


Statement = Label | Instruction
"""A body is a flat list of these."""


@dataclass(slots=True)
class Entry:
    """One kernel, or a function before `inline` has expanded it (only functions have `returns`).

    `shared_bytes` is the static shared memory, `local_bytes` the stack per thread.
    """

    name: str
    line: int
    parameters: tuple[Parameter, ...] = ()
    parameter_bytes: int = 0
    variables: dict[str, Variable] = field(default_factory=dict)
    shared_bytes: int = 0
    local_bytes: int = 0
    body: list[Statement] = field(default_factory=list)
    returns: tuple[Parameter, ...] = ()
    tuning: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def instructions(self) -> Iterator[Instruction]:
        return (statement for statement in self.body if isinstance(statement, Instruction))

    def parameter(self, name: str) -> Parameter | None:
        return next((parameter for parameter in (*self.returns, *self.parameters) if parameter.name == name), None)


@dataclass(slots=True)
class Module:
    """A parsed file. Offsets of global and const variables are inside their own segment."""

    version: str
    target: str
    entries: dict[str, Entry] = field(default_factory=dict)
    functions: dict[str, Entry] = field(default_factory=dict)
    variables: dict[str, Variable] = field(default_factory=dict)
    text: str = field(default="", compare=False, repr=False)
    """What it was parsed from."""
    canonical: tuple[str, str] | None = field(default=None, compare=False, repr=False)
    """Canonical text and digest, once somebody asked for them."""

    def space_bytes(self, space: str) -> int:
        ends = [v.offset_bytes + v.size_bytes for v in self.variables.values() if v.space == space]
        return max(ends, default=0)

    def space_image(self, space: str) -> bytes:
        """Initial content of the module's global or const segment."""
        image = bytearray(self.space_bytes(space))
        for variable in self.variables.values():
            if variable.space == space:
                image[variable.offset_bytes : variable.offset_bytes + len(variable.initial)] = variable.initial
        return bytes(image)
