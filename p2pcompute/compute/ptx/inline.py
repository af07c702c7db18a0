"""Calls of `.func` are expanded in place, so that later passes see kernels only.

NVRTC passes arguments through `.param` variables that it only ever touches by constant offsets, so each touched offset
becomes a register. Recursion, indirect calls and parameters whose address is taken are refused.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from p2pcompute.compute.ptx.ir import (
    Address,
    Entry,
    Group,
    Instruction,
    Label,
    Module,
    Negated,
    Operand,
    Register,
    Statement,
    Symbol,
    Texel,
)
from p2pcompute.compute.ptx.types import TYPES
from p2pcompute.errors import PtxError

DEPTH_MAX: Final = 128
"""Well below Python's own limit; real code calls through 3 or 4."""
EXPANDED_MAX: Final = 100_000
"""Instructions of one kernel after expansion."""


def inline_calls(module: Module, entry: Entry) -> None:
    """Replace the body of `entry`. Raises PtxError naming the line of a call that cannot be expanded."""
    expansion = _Expansion(module, entry)
    expansion.expand(entry, _Frame(entry, "", {}, ""), 0)
    entry.body = expansion.body


@dataclass(frozen=True, slots=True)
class _Frame:
    """One activation: the suffix of its names, what its parameters are bound to, and where `ret` goes."""

    function: Entry
    suffix: str
    bindings: dict[str, str]
    end: str
    callers: frozenset[str] = frozenset()

    def rename(self, operand: Operand) -> Operand:
        match operand:
            case Register(name, type_name):
                return Register(name + self.suffix, type_name)
            case Negated(register):
                return Negated(Register(register.name + self.suffix, register.type_name))
            case Address(base, offset):
                renamed = self.rename(base)
                assert isinstance(renamed, type(base))
                return Address(renamed, offset)
            case Group(items):
                return Group(tuple(self.rename(item) for item in items))
            case Texel(handle, coordinates):
                return Texel(self.rename(handle), tuple(self.rename(item) for item in coordinates))
            case Symbol(name, offset) if name in self.function.variables:
                return Symbol(name + self.suffix, offset)
            case Label(name):
                return Label(name + self.suffix)
            case _:
                return operand

    def cell_of(self, address: Operand) -> tuple[str, int] | None:
        """The parameter variable that an access means, unless it is a kernel's own parameter."""
        if not isinstance(address, Address) or not isinstance(address.base, Symbol):
            return None
        name = address.base.name
        if name in self.bindings:
            return self.bindings[name], address.offset_bytes
        variable = self.function.variables.get(name)
        if variable is not None and variable.space == "param":
            return name + self.suffix, address.offset_bytes
        return None


class _Expansion:
    def __init__(self, module: Module, entry: Entry) -> None:
        self._module = module
        self._entry = entry
        self._calls = 0
        self._bits: dict[tuple[str, int], int] = {}
        self.body: list[Statement] = []

    def expand(self, function: Entry, frame: _Frame, depth: int) -> None:
        for statement in function.body:
            if isinstance(statement, Label):
                self._emit(Label(statement.name + frame.suffix))
            elif statement.opcode == "call":
                self._call(statement, frame, depth)
            elif statement.opcode == "ret" and frame.end:
                self._emit(self._jump(statement, frame))
            elif statement.opcode in ("ld", "st") and statement.modifier("space") == "param":
                self._parameter_access(statement, frame)
            else:
                _check_addresses(statement, frame)
                self._emit(_renamed(statement, frame))

    def _emit(self, statement: Statement) -> None:
        if len(self.body) >= EXPANDED_MAX:
            raise PtxError(
                f"Kernel '{self._entry.name}' has more than {EXPANDED_MAX} instructions with its calls expanded."
            )
        self.body.append(statement)

    def _jump(self, ins: Instruction, frame: _Frame) -> Instruction:
        jump = Instruction(
            "bra", (), (), (), (Label(frame.end),), (), ("label",), ins.line, ins.guard, ins.guard_negated
        )
        return replace(_renamed(jump, frame), sources=(Label(frame.end),))

    def _call(self, ins: Instruction, frame: _Frame, depth: int) -> None:
        target, *arguments = ins.sources
        assert isinstance(target, Label)
        callee = self._module.functions.get(target.name)
        if callee is None:
            raise PtxError(f"PTX line {ins.line}: function '{target.name[:60]}' is not defined.")
        if target.name in frame.callers:
            raise PtxError(f"PTX line {ins.line}: '{target.name[:60]}' calls itself; recursion is not supported.")
        if depth >= DEPTH_MAX:
            raise PtxError(f"PTX line {ins.line}: calls nest deeper than {DEPTH_MAX}.")
        formal = [parameter.name for parameter in (*callee.returns, *callee.parameters)]
        actual = [_cell_name(operand, frame, ins) for operand in (*ins.destinations, *arguments)]
        if len(ins.destinations) != len(callee.returns) or len(formal) != len(actual):
            raise PtxError(f"PTX line {ins.line}: '{target.name[:60]}' is called with the wrong number of arguments.")
        self._calls += 1
        suffix = f"$call{self._calls}"
        self._adopt_variables(callee, suffix)
        end = f"$return{self._calls}"
        bindings = dict(zip(formal, actual, strict=True))
        self.expand(callee, _Frame(callee, suffix, bindings, end, frame.callers | {target.name}), depth + 1)
        self._emit(Label(end))

    def _adopt_variables(self, callee: Entry, suffix: str) -> None:
        """Each activation has its own stack variables; shared ones would be one for all calls and are refused."""
        for variable in callee.variables.values():
            if variable.space == "param":
                continue
            if variable.space == "shared":
                raise PtxError(
                    f"PTX line {callee.line}: shared variable '{variable.name}' inside a function is not supported."
                )
            start = -(-self._entry.local_bytes // variable.align_bytes) * variable.align_bytes
            self._entry.local_bytes = start + variable.size_bytes
            name = variable.name + suffix
            self._entry.variables[name] = replace(variable, name=name, offset_bytes=start)

    def _parameter_access(self, ins: Instruction, frame: _Frame) -> None:
        """A load from or store to a parameter variable is a move from or to its register."""
        is_load = ins.opcode == "ld"
        address, value = (ins.sources[0], ins.destinations[0]) if is_load else (ins.destinations[0], ins.sources[0])
        cell = frame.cell_of(address)
        if cell is None:
            if not is_load:
                raise PtxError(f"PTX line {ins.line}: '{ins.spelling}' writes a parameter of the kernel.")
            self._emit(_renamed(ins, frame))
            return
        name, offset = cell
        for index, item in enumerate(value.items if isinstance(value, Group) else (value,)):
            register = self._cell(name, offset + index * TYPES[ins.types[0]].size_bytes, ins)
            guard = frame.rename(ins.guard) if ins.guard else None
            assert guard is None or isinstance(guard, Register)
            target, source = (frame.rename(item), register) if is_load else (register, frame.rename(item))
            self._emit(_transfer(ins, target, source, guard))

    def _cell(self, name: str, offset: int, ins: Instruction) -> Register:
        """The register of an offset, as wide as its first access: small integers are written as b32."""
        bits = TYPES[ins.types[0]].bits
        written = self._bits.setdefault((name, offset), bits)
        if bits > written or (bits < written and ins.opcode == "st"):
            raise PtxError(f"PTX line {ins.line}: '{ins.spelling}' uses another width than the parameter has.")
        return Register(f"%{name}+{offset}", f"b{max(written, 16)}")


def _cell_name(operand: Operand, frame: _Frame, ins: Instruction) -> str:
    cell = frame.cell_of(Address(operand)) if isinstance(operand, Symbol) else None
    if cell is None:
        raise PtxError(f"PTX line {ins.line}: an argument of a call is not a '.param' variable.")
    return cell[0]


def _check_addresses(ins: Instruction, frame: _Frame) -> None:
    """A function's parameters are registers here and have no addresses; a kernel's have."""
    for operand in ins.sources:
        if isinstance(operand, Symbol) and operand.name in frame.bindings:
            raise PtxError(f"PTX line {ins.line}: the address of '{operand.name}' does not fit in '{ins.spelling}'.")


def _renamed(ins: Instruction, frame: _Frame) -> Instruction:
    guard = frame.rename(ins.guard) if ins.guard is not None else None
    assert guard is None or isinstance(guard, Register)
    destinations = tuple(frame.rename(operand) for operand in ins.destinations)
    return replace(ins, destinations=destinations, sources=tuple(frame.rename(o) for o in ins.sources), guard=guard)


def _transfer(ins: Instruction, target: Operand, source: Operand, guard: Register | None) -> Instruction:
    """A move, or a conversion where the register is wider than the parameter."""
    kind = TYPES[ins.types[0]]
    widths = [TYPES[o.type_name].bits for o in (target, source) if isinstance(o, Register)]
    if all(width == kind.bits for width in widths):
        name = f"b{kind.bits}"
        return Instruction(
            "mov", (), (name,), (target,), (source,), (name,), (name,), ins.line, guard, ins.guard_negated
        )
    sign = "s" if kind.is_signed else "u"
    assert isinstance(target, Register)
    types = (f"{sign}{TYPES[target.type_name].bits}", f"{sign}{kind.bits}")
    return Instruction("cvt", (), types, (target,), (source,), types[:1], types[1:], ins.line, guard, ins.guard_negated)
