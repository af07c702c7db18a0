"""PTX registers as LLVM stack slots (which LLVM turns into values), read and written in a shape: lanes, scalar, or
the first lane of a segment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from p2pcompute.compute.ptx import nan
from p2pcompute.compute.ptx.ir import Entry, Immediate, Instruction, Module, Negated, Operand, Register, Special, Symbol
from p2pcompute.compute.ptx.layout import (
    CONST_SEGMENT,
    CONTEXT_REGISTERS,
    GLOBAL_SEGMENT,
    LOCAL_ALIGN,
    OFFSET_BITS,
    SHARED_ALIGN,
)
from p2pcompute.compute.ptx.llvmtext import Code, Ops, integer_of, literal, vector
from p2pcompute.compute.ptx.types import BITS_OF_LLVM, TYPES
from p2pcompute.compute.ptx.uniform import WARP, Analysis, Kind
from p2pcompute.errors import PtxError

VECTOR: Final = -1
SCALAR: Final = -2
FIRST_LANE: Final = 0
LAST_LANE: Final = WARP
"""Modes. From FIRST_LANE on: the first lane of each segment; from LAST_LANE on: the last one, if nothing wraps."""

WRAPPED_BYTES_MAX: Final = 8 * 1024 * 1024
"""Address space per warp for the lanes of wrapped registers; memory is used only where there are any."""

_FULL: Final = 2**WARP - 1
_LANE_CONSTANTS: Final[dict[str, Callable[[int], int]]] = {
    "laneid": lambda lane: lane,
    "lanemask_eq": lambda lane: 1 << lane,
    "lanemask_lt": lambda lane: (1 << lane) - 1,
    "lanemask_le": lambda lane: (2 << lane) - 1,
    "lanemask_gt": lambda lane: _FULL & ~((2 << lane) - 1),
    "lanemask_ge": lambda lane: _FULL & ~((1 << lane) - 1),
}


class Frame:
    """The registers of one warp while its function is being written. `mask` is the <32 x i1> of the lanes running
    now.
    """

    def __init__(
        self,
        code: Code,
        module: Module,
        entry: Entry,
        analysis: Analysis,
        plan: nan.NanPlan,
        invariant: frozenset[str],
    ) -> None:
        self.code = code
        self.module = module
        self.entry = entry
        self.analysis = analysis
        self.layout = analysis.layout
        self.plan = plan
        self.invariant = invariant
        self.mask = ""
        self._numbers: dict[str, int] = {}
        self._types: dict[str, str] = {}
        self._lanes: dict[str, int] = {}
        self._homes: Mapping[str, int] = {}
        self.context_end = CONTEXT_REGISTERS

    @property
    def local_bytes(self) -> int:
        """Stack per lane, rounded so that the stacks of all lanes are aligned."""
        return -(-self.entry.local_bytes // LOCAL_ALIGN) * LOCAL_ALIGN

    # Slots -------------------------------------------------------------------------------------------------------

    def allocate(self, registers: dict[str, str]) -> None:
        """Number the registers (name -> PTX type) and make room for the lanes of those that may leave their line."""
        for number, (name, type_name) in enumerate(registers.items()):
            self._numbers[name] = number
            self._types[name] = TYPES[type_name].llvm
            if self.kind(name).flagged:
                self._lanes[name] = self.context_end
                self.context_end += slot_bytes(self.code.vector(self._types[name]))
        if self.context_end > WRAPPED_BYTES_MAX:
            raise PtxError(f"'{self.entry.name}' (PTX line {self.entry.line}) has too many address registers.")

    def open(self, homes: Mapping[str, int]) -> None:
        """A slot for each register: in the context, where it has a home (slot -> offset); else in the function's
        frame, zeroed unless it is invariant, so that nothing a kernel reads is ever undefined.
        """
        self._homes = homes
        for name in self._numbers:
            for slot, kind in self.slots(name):
                if slot in homes:
                    self.code.do(f"{slot} = getelementptr i8, ptr %context, i64 {homes[slot]}")
                    continue
                for cell in (slot, self.loose_slot(name)):
                    if cell:
                        self.code.slot(cell, kind)
                    if cell and name not in self.invariant:
                        self.code.do(f"store {kind} zeroinitializer, ptr {cell}")

    def loose_slot(self, name: str) -> str:
        """Where lanes are kept beside `slots` as arithmetic left them, before their NaN was fixed; "" for most
        registers, and for those at home in the context. Arithmetic reads these, so that the fix is not in the way of
        a sum that a loop adds to.
        """
        kind, slot = self.kind(name), f"%r{self._numbers[name]}"
        is_loose = name in self.plan.fixed_at_write and not kind.is_uniform and not kind.is_affine
        return f"{slot}.u" if is_loose and slot not in self._homes else ""

    def slots(self, name: str) -> list[tuple[str, str]]:
        """(slot, LLVM type) of everything that holds this register."""
        llvm, kind = self._types[name], self.kind(name)
        slot = f"%r{self._numbers[name]}"
        if kind.is_uniform:
            return [(slot, llvm)]
        if not kind.is_affine:
            return [(slot, self.code.vector(llvm))]
        flag = [(f"{slot}.w", "i1")] if kind.flagged else []
        return [*((f"{slot}.s{segment}", llvm) for segment in self.firsts(kind)), *flag]

    def kind(self, name: str) -> Kind:
        return self.analysis.kinds.get(name, Kind("uniform"))

    def firsts(self, kind: Kind) -> range:
        """The modes in which a register of this kind is kept beside, or instead of, its lanes."""
        return range(self.layout.segments) if kind.is_affine else range(0)

    def is_affine(self, operand: Operand) -> bool:
        return isinstance(operand, Register) and self.kind(operand.name).is_affine

    def wrapped(self, name: str) -> str:
        """An i1: the lanes of this affine register are not first + lane * stride but in the context."""
        kind = self.kind(name)
        return self.code.value(f"load i1, ptr %r{self._numbers[name]}.w") if kind.flagged else "false"

    def set_wrapped(self, name: str, flag: str) -> None:
        self.code.do(f"store i1 {flag}, ptr %r{self._numbers[name]}.w")

    def ops(self, mode: int) -> Ops:
        return Ops(self.code, self.code.lanes if mode == VECTOR else 0)

    # Reading -----------------------------------------------------------------------------------------------------

    def read(self, operand: Operand, type_name: str, mode: int, observer: Instruction | None = None) -> str:
        """The operand as a value of the LLVM type of `type_name`."""
        llvm = TYPES[type_name].llvm
        match operand:
            case Register():
                return self._register(operand, type_name, mode, observer)
            case Negated(register):
                return self.ops(mode).negate_bit(self._register(register, "pred", mode, None))
            case Immediate():
                return self.ops(mode).const(llvm, literal(operand, llvm))
            case Special(name):
                return self._special(name, llvm, mode)
            case Symbol(name, offset):
                return self.ops(mode).const(llvm, self.symbol_address(name) + offset)
            case _:
                raise PtxError(f"An operand of '{observer.spelling if observer else '?'}' cannot be read.")

    def splat(self, llvm: str, value: str) -> str:
        if not value.startswith("%"):
            return f"splat ({llvm} {value})"
        kind = self.code.vector(llvm)
        first = self.code.value(f"insertelement {kind} poison, {llvm} {value}, i32 0")
        return self.code.value(
            f"shufflevector {kind} {first}, {kind} poison, {self.code.vector('i32')} zeroinitializer"
        )

    def _register(self, register: Register, type_name: str, mode: int, observer: Instruction | None) -> str:
        have, kind = self._types[register.name], self.kind(register.name)
        slot = f"%r{self._numbers[register.name]}"
        is_vector = mode == VECTOR and not kind.is_uniform
        ops = self.ops(VECTOR if is_vector else SCALAR)
        if kind.is_affine:
            value = self._affine(register.name, have, mode)
        else:
            loose = self.loose_slot(register.name) if observer is not None and nan.makes_nan(observer) else ""
            is_blind = loose and observer is not None and not nan.observes(observer, register, type_name)
            value = self.code.value(f"load {ops.type(have)}, ptr {loose if is_blind else slot}")
        is_fixed_here = register.name in self.plan.fixed_at_use and TYPES[register.type_name].is_float
        if observer is not None and is_fixed_here and nan.observes(observer, register, type_name):
            value = nan.fix(ops, have, value)
        want = TYPES[type_name].llvm
        value = self._retype(ops, have, value, want, signed=False)
        return self.splat(want, value) if mode == VECTOR and not is_vector else value

    def _affine(self, name: str, llvm: str, mode: int) -> str:
        kind, slot = self.kind(name), f"%r{self._numbers[name]}"
        if mode >= 0:
            value = self.code.value(f"load {llvm}, ptr {slot}.s{mode % LAST_LANE}")
            return self._at_last(value, llvm, kind) if mode >= LAST_LANE else value
        if not kind.flagged:
            return self._line(name, llvm)
        code, kept = self.code, self._lanes_cell(name)
        moved, plain, both = code.fresh("moved"), code.fresh("plain"), code.fresh("both")
        code.do(f"br i1 {self.wrapped(name)}, label %{moved}, label %{plain}, !prof !1")
        code.label(moved)
        value = code.value(f"load {code.vector(llvm)}, ptr {kept}")
        code.do(f"br label %{both}")
        code.label(plain)
        line = self._line(name, llvm)
        code.do(f"br label %{both}")
        code.label(both)
        return code.value(f"phi {code.vector(llvm)} [ {value}, %{moved} ], [ {line}, %{plain} ]")

    def _at_last(self, first: str, llvm: str, kind: Kind) -> str:
        last = kind.offsets(self.layout.segment)[-1]
        return self.ops(SCALAR).by("add", llvm, first, last) if last else first

    def _lanes_cell(self, name: str) -> str:
        return self.code.value(f"getelementptr i8, ptr %context, i64 {self._lanes[name]}")

    def _line(self, name: str, llvm: str) -> str:
        """First + offset, per segment."""
        kind, count, lanes = self.kind(name), self.layout.segments, self.layout.segment
        firsts = "poison"
        for segment in range(count):
            first = self._affine(name, llvm, segment)
            firsts = self.code.value(f"insertelement {vector(llvm, count)} {firsts}, {llvm} {first}, i32 {segment}")
        order = ", ".join(f"i32 {lane // lanes}" for lane in range(self.code.lanes))
        kinds = vector(llvm, count)
        spread = self.code.value(f"shufflevector {kinds} {firsts}, {kinds} poison, {self.code.vector('i32')} <{order}>")
        offsets = kind.offsets(lanes)
        if not any(offsets):
            return spread
        ops = self.ops(SCALAR)
        steps = ", ".join(f"{llvm} {ops.const(llvm, offsets[lane % lanes])}" for lane in range(self.code.lanes))
        return self.ops(VECTOR).two("add", llvm, spread, f"<{steps}>")

    def _retype(self, ops: Ops, have: str, value: str, want: str, *, signed: bool) -> str:
        if have == want:
            return value
        if BITS_OF_LLVM[have] == BITS_OF_LLVM[want]:
            return ops.cast("bitcast", have, value, want)
        if have != integer_of(have):
            value, have = ops.cast("bitcast", have, value, integer_of(have)), integer_of(have)
        resized = ops.resize(have, value, integer_of(want), signed=signed)
        return resized if want == integer_of(want) else ops.cast("bitcast", integer_of(want), resized, want)

    def symbol_address(self, name: str) -> int:
        """Address of a variable in its own state space; global and const ones are generic addresses already."""
        parameter = self.entry.parameter(name)
        if parameter is not None and name not in self.entry.variables:
            return parameter.offset_bytes
        variable = self.entry.variables.get(name) or self.module.variables[name]
        if variable.space == "global":
            return GLOBAL_SEGMENT << OFFSET_BITS | variable.offset_bytes
        if variable.space == "const":
            return CONST_SEGMENT << OFFSET_BITS | variable.offset_bytes
        if variable.space == "shared" and name not in self.entry.variables:
            return self.module_shared_offset(name)
        return variable.offset_bytes

    def module_shared_offset(self, name: str) -> int:
        """Module-level shared variables lie behind the entry's own: sized ones first, dynamic memory last."""
        return shared_layout(self.module, self.entry)[0][name]

    def _special(self, name: str, llvm: str, mode: int) -> str:
        head, _, axis = name.partition(".")
        kind = self.layout.special(name)
        if head == "tid":
            if kind.is_uniform:
                value = f"%{name}.u"
            else:
                if mode == VECTOR:
                    return f"%{name}.v"
                value = f"%{name}.s{mode % LAST_LANE}"
                return self._at_last(value, llvm, kind) if mode >= LAST_LANE else value
        elif head == "laneid" or head.startswith("lanemask"):
            return self._lane_constant(head, mode)
        elif head == "ntid":
            value = str(self.layout.block["xyz".index(axis)])
        elif head in ("ctaid", "nctaid", "warpid"):
            value = f"%{name}"
        elif head in ("clock", "clock_hi", "clock64", "globaltimer"):
            value = self._clock(head)
        else:
            value = str({"nwarpid": self.layout.warps, "nsmid": 1}.get(head, 0))
        return self.splat(llvm, value) if mode == VECTOR else value

    def _clock(self, head: str) -> str:
        cycles = self.code.intrinsic("llvm.readcyclecounter", "i64", [])
        ops = self.ops(SCALAR)
        if head == "clock_hi":
            cycles = ops.by("lshr", "i64", cycles, 32)
        return cycles if head in ("clock64", "globaltimer") else ops.resize("i64", cycles, "i32")

    def _lane_constant(self, head: str, mode: int) -> str:
        if mode >= 0:
            is_last, segment = divmod(mode, LAST_LANE)
            return str(segment * self.layout.segment + is_last * (self.layout.segment - 1))
        items = ", ".join(f"i32 {literal(Immediate(_LANE_CONSTANTS[head](lane)), 'i32')}" for lane in range(WARP))
        return f"<{items}>"

    # Writing -----------------------------------------------------------------------------------------------------

    def write(self, target: Operand, value: str, type_name: str, mode: int, instruction: Instruction) -> None:
        """Store a value of `type_name`'s LLVM type. A scalar written to a register of lanes goes to all of them."""
        if not isinstance(target, Register):
            return
        ops = self.ops(mode)
        given = value
        want, value = self.stored(target, value, type_name, instruction, mode)
        slot, kind = f"%r{self._numbers[target.name]}", self.kind(target.name)
        if kind.is_uniform:
            self._store(ops, slot, want, value, self.guard(instruction, SCALAR))
        elif kind.is_affine:
            self._store_affine(target.name, value, mode)
        else:
            lanes = self.ops(VECTOR)
            mask = self._write_mask(target.name, instruction)
            self._store(lanes, slot, want, value if mode == VECTOR else self.splat(want, value), mask)
            if self.loose_slot(target.name):
                raw = self._retype(ops, TYPES[type_name].llvm, given, want, signed=TYPES[type_name].is_signed)
                raw = raw if mode == VECTOR else self.splat(want, raw)
                self._store(lanes, self.loose_slot(target.name), want, raw, mask)

    def stored(
        self, target: Register, value: str, type_name: str, instruction: Instruction, mode: int = SCALAR
    ) -> tuple[str, str]:
        """The register's LLVM type, and the value as the register holds it."""
        have, want, ops = TYPES[type_name].llvm, self._types[target.name], self.ops(mode)
        if nan.makes_nan(instruction) and (
            target.name in self.plan.fixed_at_write or not TYPES[target.type_name].is_float
        ):
            value = nan.fix(ops, have, value)
        return want, self._retype(ops, have, value, want, signed=TYPES[type_name].is_signed)

    def store_lanes(self, name: str, value: str) -> None:
        self.code.do(f"store {self.code.vector(self._types[name])} {value}, ptr {self._lanes_cell(name)}")

    def lanes(self, name: str) -> str:
        """All lanes of a register, as its own type."""
        return self._affine(name, self._types[name], VECTOR)

    def _store_affine(self, name: str, value: str, mode: int) -> None:
        llvm, kind, slot = self._types[name], self.kind(name), f"%r{self._numbers[name]}"
        if mode == VECTOR:
            self.store_lanes(name, value)
            return
        for segment in self.firsts(kind) if mode == SCALAR else (mode,):
            self.code.do(f"store {llvm} {value}, ptr {slot}.s{segment}")
        if kind.flagged and mode == SCALAR:
            self.set_wrapped(name, "false")

    def _store(self, ops: Ops, slot: str, llvm: str, value: str, mask: str | None) -> None:
        kind = ops.type(llvm)
        if mask is not None:
            value = ops.select(mask, llvm, value, self.code.value(f"load {kind}, ptr {slot}"))
        self.code.do(f"store {kind} {value}, ptr {slot}")

    def guard(self, instruction: Instruction, mode: int) -> str | None:
        if instruction.guard is None:
            return None
        value = self._register(instruction.guard, "pred", mode, None)
        return self.ops(mode).negate_bit(value) if instruction.guard_negated else value

    def active(self, instruction: Instruction) -> str:
        """Lanes in which the instruction takes effect."""
        guard = self.guard(instruction, VECTOR)
        return self.mask if guard is None else self.ops(VECTOR).two("and", "i1", self.mask, guard)

    def _write_mask(self, name: str, instruction: Instruction) -> str | None:
        if instruction.guard is None and name not in self.analysis.blended:
            return None
        return self.active(instruction)


def slot_bytes(kind: str) -> int:
    """Memory that a slot of this LLVM type takes."""
    lanes, element = kind.strip("<>").split(" x ") if kind.startswith("<") else ("1", kind)
    return max(1, BITS_OF_LLVM[element] * int(lanes) // 8)


def shared_layout(module: Module, entry: Entry) -> tuple[dict[str, int], int]:
    """Offsets of module-level shared variables for one entry, and where dynamic shared memory begins."""
    end = entry.shared_bytes
    offsets: dict[str, int] = {}
    dynamic: list[str] = []
    used = _symbols_used(entry)
    for name, variable in module.variables.items():
        if variable.space != "shared" or name not in used:
            continue
        if variable.is_extern:
            dynamic.append(name)
            continue
        end = -(-end // variable.align_bytes) * variable.align_bytes
        offsets[name] = end
        end += variable.size_bytes
    start = -(-end // SHARED_ALIGN) * SHARED_ALIGN
    offsets.update(dict.fromkeys(dynamic, start))
    return offsets, start if dynamic else end


def _symbols_used(entry: Entry) -> set[str]:
    used: set[str] = set()
    for instruction in entry.instructions():
        for operand in (*instruction.sources, *instruction.destinations):
            symbol = getattr(operand, "base", operand)
            if isinstance(symbol, Symbol):
                used.add(symbol.name)
    return used
