"""Whether accesses lie inside of their segment: the tests of windows.

An address that was made from a pointer parameter is compared with that parameter's segment, which is looked up once.
Its offset there is turned right by the bits that must be zero: a crooked one then exceeds every limit, so that one
comparison tests both.
"""

from __future__ import annotations

from dataclasses import dataclass

from p2pcompute.compute.ptx import layout, provenance
from p2pcompute.compute.ptx.registers import SCALAR, Frame
from p2pcompute.compute.ptx.shapes import Window
from p2pcompute.compute.ptx.types import TYPES


@dataclass(frozen=True, slots=True)
class Place:
    """A segment: device address of its first byte, host address of it, and how many bytes there are."""

    origin: str
    base: str
    limit: str


class Bounds:
    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._code = frame.code
        self.origins = provenance.guess(frame.entry)
        """The pointer parameters that registers were probably made from."""

    def test(self, window: Window) -> str:
        """An i1: the window's whole range is inside one segment and aligned. Sets `window.pointers`."""
        ops = self._frame.ops(SCALAR)
        conditions: list[str] = []
        kind, lanes = window.kind, self._frame.layout.segment
        offsets = kind.offsets(lanes)
        lowest, highest = min(offsets), max(offsets)
        if kind.flagged:
            conditions.append(ops.negate_bit(self._frame.wrapped(window.base.name)))
        for segment in range(1 if kind.is_uniform else self._frame.layout.segments):
            first = self._shadow(window, SCALAR if kind.is_uniform else segment)
            start = ops.by("add", "i64", first, lowest) if lowest else first
            low = ops.by("add", "i64", start, window.low)
            span = highest - lowest + window.high - window.low
            if window.space == "global" and window.base.name in self.origins and window.element_bytes:
                host, inside = self._range_of_parameter(window, low, span)
            else:
                host, inside = self._range(window, low, span)
                conditions.extend(self._aligned(window, first))
            conditions.append(inside)
            if lowest:
                host = self._code.value(f"getelementptr i8, ptr {host}, i64 {-lowest}")
            window.pointers.append(host)
        result = conditions[0]
        for condition in conditions[1:]:
            result = ops.two("and", "i1", result, condition)
        return result

    def _shadow(self, window: Window, mode: int) -> str:
        name = "u64" if TYPES[window.base.type_name].bits == 64 else "u32"
        value = self._frame.read(window.base, name, mode)
        return self._frame.ops(SCALAR).resize(TYPES[name].llvm, value, "i64")

    def _range(self, window: Window, low: str, span: int) -> tuple[str, str]:
        """Host pointer of `low`, and whether [low, low + span) is inside its segment."""
        ops = self._frame.ops(SCALAR)
        if window.space == "shared":
            base, limit, offset = "%shared", "%shared.bytes", low
            roomy = ops.compare("ult", "i64", offset, str(1 << layout.OFFSET_BITS))
        else:
            base, limit, offset = self.row(low, writable=window.needs_writable)
            roomy = ""
        inside = ops.compare("ule", "i64", ops.by("add", "i64", offset, span), limit)
        if roomy:
            inside = ops.two("and", "i1", roomy, inside)
        return self._code.value(f"getelementptr i8, ptr {base}, i64 {offset}"), inside

    def _range_of_parameter(self, window: Window, low: str, span: int) -> tuple[str, str]:
        """As `_range`, and whether it is aligned, in the segment of the parameter that the address was made from."""
        once, ops, shift = self._code.once, self._frame.ops(SCALAR), window.element_bytes.bit_length() - 1
        place = self.of_parameter(window.base.name, writable=window.needs_writable)
        count = once(f"lshr i64 {place.limit}, {shift}")
        room = once(f"call i64 @llvm.usub.sat.i64(i64 {count}, i64 {(span >> shift) - 1})")
        self._code.declarations.add("declare i64 @llvm.usub.sat.i64(i64, i64)")
        offset = ops.two("sub", "i64", low, place.origin)
        number = ops.call("fshr", "i64", offset, offset, str(shift)) if shift else offset
        inside = ops.compare("ult", "i64", number, room)
        return self._code.value(f"getelementptr i8, ptr {place.base}, i64 {offset}"), inside

    def of_parameter(self, name: str, *, writable: bool) -> Place:
        """The segment of the pointer parameter that a register was made from, looked up once."""
        once = self._code.once
        cell = once(f"getelementptr i8, ptr %parameters, i64 {self.origins[name]}")
        pointer = once(f"load i64, ptr {cell}, align 1, !invariant.load !0")
        number = once(f"lshr i64 {pointer}, {layout.OFFSET_BITS}")
        origin = once(f"shl i64 {number}, {layout.OFFSET_BITS}")
        segment = once(f"call i64 @llvm.umin.i64(i64 {number}, i64 {layout.TABLE_ROWS - 1})")
        place = once(f"shl i64 {segment}, {layout.ROW_BYTES.bit_length() - 1}")
        row = once(f"getelementptr i8, ptr %table, i64 {place}")
        base = once(f"load ptr, ptr {row}, !invariant.load !0")
        column = layout.ROW_WRITABLE if writable else layout.ROW_READABLE
        limit = once(f"load i64, ptr {once(f'getelementptr i8, ptr {row}, i64 {column}')}, !invariant.load !0")
        self._code.declarations.add("declare i64 @llvm.umin.i64(i64, i64)")
        return Place(origin, base, limit)

    def _aligned(self, window: Window, first: str) -> list[str]:
        """One test per access size; offsets of equal size must then agree modulo the size, else the test is `false`."""
        ops = self._frame.ops(SCALAR)
        tests = []
        for size in sorted({shape.size_bytes for shape in window.members.values()}):
            offsets = {
                shape.address.offset_bytes % size for shape in window.members.values() if shape.size_bytes == size
            }
            if len(offsets) > 1:
                tests.append("false")
            elif size > 1:
                low = ops.by("and", "i64", ops.by("add", "i64", first, offsets.pop()), size - 1)
                tests.append(ops.compare("eq", "i64", low, "0"))
        return tests

    def row(self, address: str, *, writable: bool) -> tuple[str, str, str]:
        """Host base, limit and offset of a global address."""
        ops = self._frame.ops(SCALAR)
        segment = ops.call(
            "umin", "i64", ops.by("lshr", "i64", address, layout.OFFSET_BITS), str(layout.TABLE_ROWS - 1)
        )
        row = self._code.value(
            f"getelementptr i8, ptr %table, i64 {ops.by('shl', 'i64', segment, layout.ROW_BYTES.bit_length() - 1)}"
        )
        column = layout.ROW_WRITABLE if writable else layout.ROW_READABLE
        base = self._code.value(f"load ptr, ptr {row}, !invariant.load !0")
        cell = self._code.value(f"getelementptr i8, ptr {row}, i64 {column}")
        limit = self._code.value(f"load i64, ptr {cell}, !invariant.load !0")
        return base, limit, ops.by("and", "i64", address, (1 << layout.OFFSET_BITS) - 1)
