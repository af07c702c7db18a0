"""atom and red: lane by lane in order, each checked like a store; global ones are atomic between blocks too."""

from __future__ import annotations

from typing import Final

from p2pcompute.compute.ptx import layout, tally
from p2pcompute.compute.ptx.access import Access
from p2pcompute.compute.ptx.checked import FORMAL, row_lines
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
    def __init__(self, frame: Frame, access: Access) -> None:
        self._frame = frame
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
        places = f"<{WARP} x i64> {self._access.address(shape, VECTOR)}, <{WARP} x i1> {self._frame.active(ins)}"
        passed = f"{fixed}, {places}, {vector(llvm)} {values[0]}, {vector(llvm)} {values[1]}"
        old = self._code.value(f"call {vector(llvm)} @{name}({passed})")
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
        passed = frame.read(value, shape.type_name, SCALAR if is_uniform else VECTOR, ins)
        kind = llvm if is_uniform else vector(llvm)
        places = f"<{WARP} x i64> {self._access.address(shape, VECTOR)}, <{WARP} x i1> {frame.active(ins)}"
        fixed = self._access.helper_arguments(shape.space, ins.line)
        self._code.do(f"call void @{name}({fixed}, {places}, {kind} {passed})")
        self._access.leave_if_trapped()

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
