"""The canonical text of a module: the artifact that is signed, cached and loaded by every engine.

One module has one text, whatever comments, line information, register numbers, labels and scopes it came with. Two
things change besides spelling: every float add, sub and mul gets its rounding written out (without it the GPU assembler
may contract `mul` and `add` into `fma`), and registers that a path reads before it writes them start as zero. Canonical
text parses to itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from p2pcompute.compute.ptx import flow, system
from p2pcompute.compute.ptx.ir import (
    CARRY,
    Address,
    Entry,
    Group,
    Immediate,
    Instruction,
    Label,
    Module,
    Negated,
    Operand,
    Parameter,
    Register,
    Sink,
    Special,
    Statement,
    Symbol,
    Texel,
    Variable,
)
from p2pcompute.compute.ptx.types import TYPES

_ROUNDED: Final = frozenset({"add", "sub", "mul"})
_PREFIX: Final = {8: "%c", 16: "%h", 32: "%r", 64: "%d"}


def canonicalise(module: Module) -> str:
    """Deterministic text; `canonicalise(parse(canonicalise(m))) == canonicalise(m)`. Raises PtxError for irreducible
    control flow.
    """
    lines = [f".version {module.version}", f".target {module.target}", ".address_size 64"]
    every = [ins for entry in module.entries.values() for ins in entry.instructions()]
    lines.extend(system.declarations(every))
    lines.extend(_variable(variable) for variable in module.variables.values())
    for entry in module.entries.values():
        lines.extend(_entry(entry))
    return "\n".join(lines) + "\n"


def _variable(variable: Variable) -> str:
    linkage = ".extern " if variable.is_extern else ""
    count = variable.size_bytes // TYPES[variable.type_name].size_bytes
    size = "[]" if variable.is_extern else f"[{count}]"
    text = f"{linkage}.{variable.space} .align {variable.align_bytes} .{variable.type_name} {variable.name}{size}"
    if not any(variable.initial):
        return text + ";"
    width = TYPES[variable.type_name].size_bytes
    words = [int.from_bytes(variable.initial[i : i + width], "little") for i in range(0, len(variable.initial), width)]
    return f"{text} = {{{', '.join(map(_element(variable.type_name), words))}}};"


def _element(type_name: str) -> Callable[[int], str]:
    kind = TYPES[type_name]
    if kind.is_float and kind.bits >= 32:
        return lambda word: _float_bits(word, kind.bits)
    return str


def _float_bits(bits: int, width: int) -> str:
    return f"0f{bits:08X}" if width == 32 else f"0d{bits:016X}"


def _parameter(parameter: Parameter) -> str:
    kind = TYPES[parameter.type_name]
    count = parameter.size_bytes // kind.size_bytes
    align = f".align {parameter.align_bytes} " if count > 1 or parameter.align_bytes != kind.size_bytes else ""
    return f"\t.param {align}.{parameter.type_name} {parameter.name}{f'[{count}]' if count > 1 else ''}"


def _entry(entry: Entry) -> list[str]:
    body = [_rounded(s) if isinstance(s, Instruction) else s for s in entry.body]
    body = [*_initial_moves(entry, body), *body]
    names = _Names(body)
    parameters = ",\n".join(_parameter(parameter) for parameter in entry.parameters)
    lines = [f".visible .entry {entry.name}({chr(10) + parameters + chr(10) if parameters else ''})"]
    lines.extend(f".{name} {', '.join(map(str, values))}" for name, values in sorted(entry.tuning.items()))
    lines.append("{")
    lines.extend("\t" + _variable(variable) for variable in entry.variables.values() if variable.space != "param")
    lines.extend("\t" + declaration for declaration in names.declarations())
    lines.extend(_statement(statement, names) for statement in body)
    lines.append("}")
    return lines


def _rounded(ins: Instruction) -> Instruction:
    """`.rn` where PTX lets it default."""
    if ins.opcode not in _ROUNDED or not ins.types or not TYPES[ins.types[0]].is_float or ins.modifier("round"):
        return ins
    return replace(ins, modifiers=(("round", "rn"), *ins.modifiers))


def _initial_moves(entry: Entry, body: list[Statement]) -> list[Instruction]:
    live = flow.build(replace(entry, body=body)).live_in[0]
    moves: list[Instruction] = []
    seen: set[str] = set()
    for statement in body:
        if isinstance(statement, Instruction):
            for register in (*statement.reads(), *statement.writes()):
                if register.name in live and register.name not in seen and register.name != CARRY:
                    seen.add(register.name)
                    moves.append(_zero(register))
    return moves


def _zero(register: Register) -> Instruction:
    kind = TYPES[register.type_name]
    move_type = (
        "pred" if kind.kind == "p" else f"{'f' if kind.is_float and kind.bits > 16 else 'b'}{max(kind.bits, 16)}"
    )
    value = Immediate(0, f"f{kind.bits}" if kind.is_float and kind.bits > 16 else "int")
    return Instruction("mov", (), (move_type,), (register,), (value,), (move_type,), (move_type,), 0)


class _Names:
    """New names for registers and labels, by first appearance."""

    def __init__(self, body: Iterable[Statement]) -> None:
        self._registers: dict[str, str] = {}
        self._types: dict[str, str] = {}
        self._labels: dict[str, str] = {}
        counts: dict[str, int] = {}
        for statement in body:
            if isinstance(statement, Label):
                self._labels[statement.name] = f"$L{len(self._labels)}"
                continue
            for register in _in_order(statement):
                if register.name not in self._registers and register.name != CARRY:
                    prefix = _prefix(register.type_name)
                    number = counts[prefix] = counts.get(prefix, -1) + 1
                    self._registers[register.name] = f"{prefix}{number}"
                    self._types[f"{prefix}{number}"] = register.type_name

    def declarations(self) -> list[str]:
        by_type: dict[str, list[str]] = {}
        for name, type_name in self._types.items():
            by_type.setdefault(type_name, []).append(name)
        return [f".reg .{type_name} {', '.join(names)};" for type_name, names in sorted(by_type.items())]

    def register(self, name: str) -> str:
        return self._registers[name]

    def label(self, name: str) -> str:
        return self._labels[name]


def _prefix(type_name: str) -> str:
    kind = TYPES[type_name]
    if kind.kind == "p":
        return "%p"
    return {16: "%hf", 32: "%f", 64: "%fd"}[kind.bits] if kind.is_float else _PREFIX[kind.bits]


def _in_order(ins: Instruction) -> Iterable[Register]:
    """Registers as the text shows them."""
    if ins.guard is not None:
        yield ins.guard
    for operand in (*ins.destinations, *ins.sources):
        yield from _registers(operand)


def _registers(operand: Operand) -> Iterable[Register]:
    match operand:
        case Register():
            yield operand
        case Negated(register):
            yield register
        case Address(Register() as base):
            yield base
        case Group(items):
            for item in items:
                yield from _registers(item)
        case Texel(handle, coordinates):
            for item in (handle, *coordinates):
                yield from _registers(item)
        case _:
            return


def _statement(statement: Statement, names: _Names) -> str:
    if isinstance(statement, Label):
        return f"{names.label(statement.name)}:"
    return "\t" + _instruction(statement, names)


def _instruction(ins: Instruction, names: _Names) -> str:
    guard = ""
    if ins.guard is not None:
        guard = f"@{'!' if ins.guard_negated else ''}{names.register(ins.guard.name)} "
    operands = [_operand(o, t, names) for o, t in zip(ins.destinations, ins.destination_types, strict=True)]
    if system.is_system(ins):
        values = [_operand(o, t, names) for o, t in zip(ins.sources, ins.source_types, strict=True)]
        return system.call_text(ins, operands, values)
    if len(operands) == 2:
        operands = ["|".join(operands)]
    operands.extend(_operand(o, t, names) for o, t in zip(ins.sources, ins.source_types, strict=True))
    return f"{guard}{ins.spelling}{' ' if operands else ''}{', '.join(operands)};"


def _operand(operand: Operand, type_name: str, names: _Names) -> str:
    match operand:
        case Register(name):
            return names.register(name)
        case Negated(register):
            return "!" + names.register(register.name)
        case Immediate():
            return _immediate(operand, type_name)
        case Special(name):
            return f"%{name}"
        case Symbol(name, offset):
            return f"{name}+{offset}" if offset else name
        case Address(base, offset):
            inner = _operand(base, "b64", names)
            return f"[{inner}+{offset}]" if offset else f"[{inner}]"
        case Group(items):
            return "{" + ", ".join(_operand(item, type_name, names) for item in items) + "}"
        case Texel(handle, coordinates):
            place = ", ".join(_operand(item, "s32", names) for item in coordinates)
            return f"[{_operand(handle, 'u64', names)}, {{{place}}}]"
        case Label(name):
            return names.label(name)
        case Sink():
            return "_"


def _immediate(immediate: Immediate, type_name: str) -> str:
    """Integers wrap to the operand's width, signed as its type says."""
    if immediate.kind != "int":
        return _float_bits(immediate.value, 32 if immediate.kind == "f32" else 64)
    kind = TYPES[type_name]
    if kind.kind == "p":
        return "1" if immediate.value else "0"
    value = immediate.value % (1 << kind.bits)
    return str(value - (1 << kind.bits) if kind.is_signed and value >> (kind.bits - 1) else value)
