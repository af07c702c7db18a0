"""atom and red: lane by lane in order, each checked like a store; global ones are atomic between blocks too."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Final

from p2pcompute.compute.ptx import counters, layout, tally
from p2pcompute.compute.ptx.access import Access
from p2pcompute.compute.ptx.checked import FORMAL, row_lines, team_function
from p2pcompute.compute.ptx.counters import BYTE_MAX, Counter
from p2pcompute.compute.ptx.flow import Graph
from p2pcompute.compute.ptx.ir import Address, Instruction, Register
from p2pcompute.compute.ptx.llvmtext import each_lane, vector
from p2pcompute.compute.ptx.registers import SCALAR, VECTOR, Frame
from p2pcompute.compute.ptx.shapes import Shape
from p2pcompute.compute.ptx.types import TYPES
from p2pcompute.compute.ptx.uniform import WARP

_INTEGER: Final = {
    "add": "add",
    "exch": "xchg",
    "and": "and",
    "or": "or",
    "xor": "xor",
    "inc": "uinc_wrap",
    "dec": "udec_wrap",
}


class Atomics:
    def __init__(self, frame: Frame, access: Access, graph: Graph) -> None:
        self._frame = frame
        self._counters = counters.find(graph)
        self._code = frame.code
        self._access = access
        self._read = {r.name for i in frame.entry.instructions() for r in i.reads()}

    def emit(self, ins: Instruction) -> None:
        address = ins.sources[0]
        assert isinstance(address, Address)
        type_name, space = ins.types[0], ins.modifier("space") or "generic"
        llvm = TYPES[type_name].llvm
        shape = Shape(space, address, (), type_name)
        name = self._helper(ins, space, llvm)
        is_read = any(isinstance(t, Register) and t.name in self._read for t in ins.destinations)
        if tally.fits(ins, space, is_read=is_read):
            self._tally(ins, shape, name)
            return
        values = [self._frame.read(operand, type_name, VECTOR, ins) for operand in ins.sources[1:]]
        values += ["zeroinitializer"] * (2 - len(values))
        fixed = self._access.helper_arguments(space, ins.line)
        kind = self._code.vector(llvm)
        passed = f"{fixed}, {self._places(ins, shape)}, {kind} {values[0]}, {kind} {values[1]}"
        name = self._for_all(name, {"v": llvm, "w": llvm}, llvm)
        old = self._code.value(f"call {kind} @{name}({passed})")
        self._access.leave_if_trapped()
        for target in ins.destinations:
            self._frame.write(target, old, type_name, VECTOR, ins)

    def _tally(self, ins: Instruction, shape: Shape, others: str) -> None:
        frame, llvm, value = self._frame, TYPES[shape.type_name].llvm, ins.sources[1]
        is_uniform = frame.analysis.kind(value).is_uniform
        name = f"{others}_tally{'_uniform' if is_uniform else ''}"
        if name not in self._code.helpers:
            self._code.helpers[name] = tally.function(name, ins, others, is_uniform=is_uniform)
            declaration = tally.declaration(ins)
            self._code.declarations.update([declaration] if declaration else [])
        name = self._for_all(name, {}, "", f"{llvm} %s") if is_uniform else self._for_all(name, {"v": llvm})
        passed = frame.read(value, shape.type_name, SCALAR if is_uniform else VECTOR, ins)
        counter = self._counters.get(id(ins)) if is_uniform else None
        with self._counted(ins, shape, counter, passed):
            kind = llvm if is_uniform else self._code.vector(llvm)
            fixed = self._access.helper_arguments(shape.space, ins.line)
            self._code.do(f"call void @{name}({fixed}, {self._places(ins, shape)}, {kind} {passed})")
            self._access.leave_if_trapped()

    @contextlib.contextmanager
    def _counted(self, ins: Instruction, shape: Shape, counter: Counter | None, value: str) -> Iterator[None]:
        """Count in one go where all lanes are active and all counters inside; else as the block of this `with` does."""
        size, code, ops = TYPES[shape.type_name].size_bytes, self._code, self._frame.ops(SCALAR)
        if counter is None or counter.scale % size or not self._frame.kind(counter.base.name).is_uniform:
            yield
            return
        at = ops.by("add", "i64", self._word(counter.base, SCALAR), counter.offset_bytes)
        end = ops.by("add", "i64", at, counter.scale * BYTE_MAX + size)
        fits = ops.two("and", "i1", ops.compare("ule", "i64", end, "%shared.bytes"), ops.compare("ult", "i64", at, end))
        fits = ops.two("and", "i1", fits, ops.compare("eq", "i64", ops.by("and", "i64", at, size - 1), "0"))
        all_lanes = ops.compare("eq", code.word, code.word_of(self._frame.active(ins)), "-1")
        go, apart, done = code.fresh("count"), code.fresh("apart"), code.fresh("counted")
        code.do(f"br i1 {ops.two('and', 'i1', fits, all_lanes)}, label %{go}, label %{apart}, !prof !2")
        code.label(go)
        name, llvm = (
            f"count_{ins.modifier('op')}_{ins.types[0]}_{counter.scale}_{code.lanes}",
            TYPES[shape.type_name].llvm,
        )
        code.helpers.setdefault(name, tally.of_bytes(name, ins, counter.scale, code.lanes))
        index = self._word(counter.index, VECTOR)
        numbers = code.value(f"trunc {code.vector('i64')} {index} to {code.vector('i8')}")
        first = code.value(f"getelementptr i8, ptr %shared, i64 {at}")
        code.do(f"call void @{name}(ptr {first}, {code.vector('i8')} {numbers}, {llvm} {value})")
        code.do(f"br label %{done}")
        code.label(apart)
        yield
        code.do(f"br label %{done}")
        code.label(done)

    def _word(self, register: Register, mode: int) -> str:
        """An unsigned register as 64 bits."""
        name = f"u{TYPES[register.type_name].bits}"
        return self._frame.ops(mode).resize(TYPES[name].llvm, self._frame.read(register, name, mode), "i64")

    def _places(self, ins: Instruction, shape: Shape) -> str:
        """Addresses and mask, as helpers take them."""
        lanes = self._code.vector("i64"), self._code.vector("i1")
        return f"{lanes[0]} {self._access.address(shape, VECTOR)}, {lanes[1]} {self._frame.active(ins)}"

    def _for_all(self, name: str, values: Mapping[str, str], result: str = "", scalars: str = "") -> str:
        """The name of a warp's helper, or of one that calls it for both warps of a team."""
        if self._code.lanes == WARP:
            return name
        self._code.helpers.setdefault(f"{name}_team", team_function(name, values, result, scalars))
        return f"{name}_team"

    def _operation(self, ins: Instruction, llvm: str, space: str) -> str:
        """%old from %one and %x (and %y); the memory of a block belongs to one host thread, so shared needs no lock."""
        operation, kind = ins.modifier("op") or "", TYPES[ins.types[0]]
        scope = ' syncscope("singlethread")' if space == "shared" else ""
        if operation == "cas":
            return (
                f"  %pair = cmpxchg ptr %one, {llvm} %x, {llvm} %y{scope} seq_cst seq_cst\n"
                f"  %old = extractvalue {{ {llvm}, i1 }} %pair, 0\n"
            )
        if operation in ("min", "max"):
            name = ("" if kind.is_signed else "u") + operation
        elif kind.is_float:
            if kind.is_packed:
                return _add_halves(scope)
            name = "fadd" if operation == "add" else "xchg"
        else:
            name = _INTEGER[operation]
        return f"  %old = atomicrmw {name} ptr %one, {llvm} %x{scope} seq_cst\n"

    def _helper(self, ins: Instruction, space: str, llvm: str) -> str:
        name = f"atom_{space}_{ins.modifier('op')}_{ins.types[0]}"
        if name in self._code.helpers:
            return name
        size, kind = TYPES[ins.types[0]].size_bytes, vector(llvm)
        address, base, limit = _place(space)
        self._code.helpers[name] = f"""define internal {kind} @{name}({FORMAL}, {kind} %v, {kind} %w) #1 {{
entry:
  %out = alloca {kind}
  store {kind} zeroinitializer, ptr %out
{each_lane("use")}  %address = extractelement <{WARP} x i64> %a, i{WARP} %i
{address}  %end = add i64 %off, {size}
  %inside.0 = icmp ule i64 %end, {limit}
  %inside.1 = icmp ult i64 %off, {1 << layout.OFFSET_BITS}
  %inside = and i1 %inside.0, %inside.1
  %tail = and i64 %off, {size - 1}
  %even = icmp eq i64 %tail, 0
  %ok = and i1 %inside, %even
  br i1 %ok, label %use, label %fail
fail:
  %kind = select i1 %even, i32 {layout.TRAP_BOUNDS}, i32 {layout.TRAP_MISALIGNED}
  call void @trap(ptr %state, i32 %kind, i32 %line, i32 %i, i64 %address)
  ret {kind} zeroinitializer
use:
  %one = getelementptr i8, ptr {base}, i64 %off
  %x = extractelement {kind} %v, i{WARP} %i
  %y = extractelement {kind} %w, i{WARP} %i
{self._operation(ins, llvm, space)}  %slot = getelementptr {llvm}, ptr %out, i32 %i
  store {llvm} %old, ptr %slot
  br label %next
finish:
  %all = load {kind}, ptr %out
  ret {kind} %all
}}"""
        return name


def _add_halves(scope: str) -> str:
    """Each half is atomic by itself, which is all that PTX promises."""
    lines = ""
    for n in range(2):
        lines += f"""  %x.s{n} = lshr i32 %x, {16 * n}
  %x.i{n} = trunc i32 %x.s{n} to i16
  %x.h{n} = bitcast i16 %x.i{n} to half
  %one.{n} = getelementptr i8, ptr %one, i64 {2 * n}
  %old.h{n} = atomicrmw fadd ptr %one.{n}, half %x.h{n}{scope} seq_cst
  %old.i{n} = bitcast half %old.h{n} to i16
  %old.{n} = zext i16 %old.i{n} to i32
"""
    return lines + "  %old.top = shl i32 %old.1, 16\n  %old = or i32 %old.0, %old.top\n"


def _place(space: str) -> tuple[str, str, str]:
    """Lines that find one lane's memory, its base and its limit."""
    if space == "shared":
        return "  %off = add i64 %address, 0\n", "%base", "%limit"
    lines = f"""  %seg = lshr i64 %address, {layout.OFFSET_BITS}
  %off = and i64 %address, {(1 << layout.OFFSET_BITS) - 1}
{row_lines("%seg", layout.ROW_WRITABLE)}"""
    return lines, "%row.base", "%row.limit"
