"""The access log in generated code: before each access, every active lane enters its bytes in the maps of its thread.

Only code compiled for the log has these calls. A row of the segment table then holds, in its last word, the address of
a pair of host pointers: a map with one byte per byte of the segment, and one byte per page of that map, which holds the
bits of all its bytes. Accesses that are about to trap are not entered; the others are aligned, so none lies in two
pages.
"""

from __future__ import annotations

from typing import Final

from p2pcompute.compute.ptx import effects, layout
from p2pcompute.compute.ptx.access import Access
from p2pcompute.compute.ptx.checked import row_lines
from p2pcompute.compute.ptx.ir import Address, Instruction
from p2pcompute.compute.ptx.registers import VECTOR, Frame
from p2pcompute.compute.ptx.shapes import Shape, shape_of
from p2pcompute.compute.ptx.uniform import WARP
from p2pcompute.errors import PtxError

LOADED: Final = 1
STORED: Final = 2
"""Bits of a map's bytes, and of its pages."""
PAGE_BITS: Final = 12
_MEMORY: Final = effects.ACCESSES
_KNOWN: Final = effects.PURE | effects.EXCHANGES | effects.CONTROL


class Touch:
    """Writes the calls of one kernel, and the helpers they need."""

    def __init__(self, frame: Frame, access: Access) -> None:
        self._frame = frame
        self._code = frame.code
        self._access = access

    def emit(self, ins: Instruction) -> None:
        """Raises PtxError for an instruction whose accesses nobody knows."""
        if ins.opcode in _KNOWN:
            return
        if ins.opcode not in _MEMORY:
            raise PtxError(f"PTX line {ins.line}: the accesses of '{ins.spelling}' cannot be logged.")
        shape = _shape(ins)
        if shape.space in effects.OFF_DEVICE:
            return
        bits = {"ld": LOADED, "st": STORED}.get(ins.opcode, LOADED | STORED)
        address = self._access.address(shape, VECTOR)
        name = self._helper(bits, shape.size_bytes)
        mask = self._frame.active(ins)
        self._code.do(f"call void @{name}(ptr %table, <{WARP} x i64> {address}, <{WARP} x i1> {mask})")

    def _helper(self, bits: int, size: int) -> str:
        name = f"touch_{bits}_{size}"
        if name not in self._code.helpers:
            self._code.helpers[name] = _function(name, bits, size)
        return name


def _shape(ins: Instruction) -> Shape:
    if ins.opcode in ("ld", "st"):
        return shape_of(ins)
    address = ins.sources[0]
    assert isinstance(address, Address)
    return Shape(ins.modifier("space") or "generic", address, (address.base,), ins.types[0])


def _function(name: str, bits: int, size: int) -> str:
    word = f"i{8 * size}"
    pattern = int.from_bytes(bytes([bits]) * size, "little")
    return f"""define internal void @{name}(ptr %table, <{WARP} x i64> %a, <{WARP} x i1> %m) #3 {{
entry:
  %m.i = bitcast <{WARP} x i1> %m to i{WARP}
  br label %next
next:
  %left = phi i{WARP} [ %m.i, %entry ], [ %rest, %entered ], [ %rest, %lane ]
  %none = icmp eq i{WARP} %left, 0
  br i1 %none, label %finish, label %lane
lane:
  %i = call i{WARP} @llvm.cttz.i{WARP}(i{WARP} %left, i1 true)
  %less = sub i{WARP} %left, 1
  %rest = and i{WARP} %left, %less
  %address = extractelement <{WARP} x i64> %a, i{WARP} %i
  %seg = lshr i64 %address, {layout.OFFSET_BITS}
  %off = and i64 %address, {(1 << layout.OFFSET_BITS) - 1}
{row_lines("%seg", layout.ROW_READABLE)}  %end = add i64 %off, {size}
  %inside = icmp ule i64 %end, %row.limit
  %pair.p = getelementptr i8, ptr %row.p, i64 {layout.ROW_LOG}
  %pair = load ptr, ptr %pair.p
  %is.logged = icmp ne ptr %pair, null
  %good = and i1 %inside, %is.logged
  br i1 %good, label %entered, label %next
entered:
  %map = load ptr, ptr %pair
  %pages.p = getelementptr i8, ptr %pair, i64 8
  %pages = load ptr, ptr %pages.p
  %place = getelementptr i8, ptr %map, i64 %off
  %old = load {word}, ptr %place, align 1
  %new = or {word} %old, {pattern}
  store {word} %new, ptr %place, align 1
  %page.n = lshr i64 %off, {PAGE_BITS}
  %page = getelementptr i8, ptr %pages, i64 %page.n
  %page.old = load i8, ptr %page
  %page.new = or i8 %page.old, {bits}
  store i8 %page.new, ptr %page
  br label %next
finish:
  ret void
}}"""
