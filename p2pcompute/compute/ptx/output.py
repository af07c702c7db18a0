"""What kernels print: records that generated code writes while a launch runs, and their text afterwards.

A record holds the addresses that device code passed and the bytes of its arguments. Each host thread has room for a
fixed number; later ones are counted, not kept. Strings are read from the task's memory when the launch has ended.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from p2pcompute.compute.ptx import layout
from p2pcompute.compute.ptx.access import Access
from p2pcompute.compute.ptx.ir import Instruction
from p2pcompute.compute.ptx.llvmtext import each_lane
from p2pcompute.compute.ptx.registers import SCALAR, VECTOR, Frame
from p2pcompute.compute.ptx.uniform import WARP

WIDTH_MAX: Final = 256
"""Of one printed number: `%999999999d` would fill the machine's memory."""
TEXT_BYTES_MAX: Final = 16_384
"""Of a launch's whole log."""

MORE: Final = "[more was printed]\n"

_HEAD: Final = struct.Struct("<QIIQQ")
_CONVERSION: Final = re.compile(
    r"%([-+ #0]*)(\d*|\*)(?:\.(\d*|\*))?(hh|h|ll|l|j|z|t|L)?([diouxXcsfFeEgGaAp%])", re.ASCII
)

String = Callable[[int], str]
"""The text at a device address."""


@dataclass(frozen=True, slots=True)
class Record:
    """One call: `text` is the address of the format, or of an assertion's message; `passed` the arguments' bytes."""

    text: int
    thread: int
    line: int
    block: int
    is_assertion: bool
    passed: bytes


def records(area: bytes, count: int) -> list[Record]:
    """The records in a host thread's log area, of `count` calls made."""
    found = []
    for place in range(min(count, layout.LOG_RECORDS)):
        piece = area[place * layout.LOG_RECORD_BYTES : (place + 1) * layout.LOG_RECORD_BYTES]
        text, thread, line, block, kind = _HEAD.unpack_from(piece)
        found.append(Record(text, thread, line, block, bool(kind), piece[layout.LOG_ARGUMENTS :]))
    return found


def were_lost(count: int) -> bool:
    """Whether there were more calls than room; generated code counts no further than one beyond."""
    return count > layout.LOG_RECORDS


def text(
    found: Iterable[Record],
    string: String,
    block_of: Callable[[int], tuple[int, int, int]],
    block: tuple[int, int, int],
    *,
    lost: bool,
) -> str:
    """All that was printed, by block, at most TEXT_BYTES_MAX bytes; `lost` adds a line that says so."""
    parts: list[str] = []
    size = 0
    for record in sorted(found, key=lambda r: r.block):  # stable: within a block in the order of the calls
        if record.is_assertion:
            part = _assertion(record, string, block_of(record.block), block)
        else:
            part = formatted(string(record.text), record.passed, string)
        size += len(part.encode(errors="replace"))
        if size > TEXT_BYTES_MAX:
            lost = True
            break
        parts.append(part)
    return "".join([*parts, MORE] if lost else parts)


def _assertion(record: Record, string: String, place: tuple[int, int, int], block: tuple[int, int, int]) -> str:
    """As CUDA words it."""
    file, line, function = struct.unpack_from("<QQQ", record.passed)
    x, y, _ = block
    thread = [record.thread % x, record.thread // x % y, record.thread // x // y]
    where = f"block: {list(place)}, thread: {thread}"
    return f"{string(file)}:{line}: {string(function)}: {where} Assertion `{string(record.text)}` failed.\n"


def formatted(form: str, passed: bytes, string: String) -> str:
    """C's printf. Arguments that are not there show as `?`."""
    cursor = _Cursor(passed)

    def one(match: re.Match[str]) -> str:
        flags, width, precision, length, kind = match.groups()
        if kind == "%":
            return "%"
        try:
            if width == "*":
                width = str(cursor.integer(4, signed=True))
            if precision == "*":
                precision = str(max(0, cursor.integer(4, signed=True)))
            return _converted(flags, width, precision, length or "", kind, cursor, string)
        except struct.error:
            return "?"

    return _CONVERSION.sub(one, form)


class _Cursor:
    """Walks the argument bytes; each argument is aligned to its size."""

    def __init__(self, passed: bytes) -> None:
        self._passed = passed
        self._place = 0

    def _take(self, code: str, size: int) -> tuple[int | float, ...]:
        self._place = -(-self._place // size) * size
        value = struct.unpack_from(f"<{code}", self._passed, self._place)
        self._place += size
        return value

    def integer(self, size: int, *, signed: bool) -> int:
        code = {4: "i", 8: "q"}[size]
        return int(self._take(code if signed else code.upper(), size)[0])

    def real(self) -> float:
        return float(self._take("d", 8)[0])


def _converted(
    flags: str, width: str, precision: str | None, length: str, kind: str, cursor: _Cursor, string: String
) -> str:
    if width.startswith("-"):
        flags, width = flags + "-", width[1:]
    head = f"%{flags}{min(int(width or 0), WIDTH_MAX) or ''}"
    digits = "" if precision is None else f".{min(int(precision or 0), WIDTH_MAX)}"
    if kind in "aA":
        shown = cursor.real().hex()
        return f"{head}s" % (shown.upper() if kind == "A" else shown)
    if kind in "fFeEgG":
        return f"{head}{digits}{kind}" % cursor.real()
    if kind == "p":
        return f"{head}s" % hex(cursor.integer(8, signed=False))
    if kind == "s":
        return f"{head}{digits}s" % string(cursor.integer(8, signed=False))
    if kind == "c":
        return f"{head}s" % chr(cursor.integer(4, signed=False) & 255)
    size = 8 if length in ("l", "ll", "j", "z", "t") else 4
    value = cursor.integer(size, signed=kind in "di")
    bits = {"hh": 8, "h": 16}.get(length, 64)
    if bits < 64:
        value &= (1 << bits) - 1
        value -= (value >> (bits - 1) << bits) if kind in "di" else 0
    if kind == "o" and "#" in flags:  # Python would write 0o17
        return f"{head.replace('#', '')}s" % f"0{value:o}"
    return f"{head}{digits}{'d' if kind == 'u' else kind}" % value


class Output:
    """Writes the code of vprintf and __assertfail."""

    def __init__(self, frame: Frame, access: Access) -> None:
        self._frame = frame
        self._access = access
        self._code = frame.code

    def emit(self, ins: Instruction) -> None:
        """One record per active lane."""
        vectors = [self._frame.read(o, t, VECTOR, ins) for o, t in zip(ins.sources, ins.source_types, strict=True)]
        mask = self._frame.active(ins)
        is_assertion = ins.opcode == "__assertfail"
        self._code.helpers.setdefault("log", _FUNCTION)
        self._code.declarations.add("declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)")
        ops = self._frame.ops(SCALAR)
        row = ops.two("add", "i32", ops.two("mul", "i32", "%ctaid.z", "%nctaid.y"), "%ctaid.y")
        row, column = ops.resize("i32", row, "i64"), ops.resize("i32", "%ctaid.x", "i64")
        block = ops.two("mul", "i64", row, ops.resize("i32", "%nctaid.x", "i64"))
        block = ops.two("add", "i64", block, column)
        passed = vectors[1]
        if is_assertion:
            passed = self._assertion_arguments(vectors)
        self._code.do(
            f"call void @log(ptr %state, ptr %local, i64 {self._frame.local_bytes}, i32 {ins.line}, "
            f"i32 {int(is_assertion)}, i32 %warpid, i64 {block}, <{WARP} x i64> {vectors[0]}, "
            f"{'ptr ' + passed if is_assertion else 'ptr null'}, "
            f"<{WARP} x i64> {'zeroinitializer' if is_assertion else passed}, <{WARP} x i1> {mask})"
        )
        for target in ins.destinations:
            self._frame.write(target, "0", "b32", SCALAR, ins)

    def _assertion_arguments(self, vectors: list[str]) -> str:
        """File, line and function of the first active lane, as a record keeps them."""
        place = f"%{self._code.fresh('witness')}"
        self._code.slot(place, "[3 x i64]")
        lead = self._access.lead()
        ops = self._frame.ops(VECTOR)
        line = ops.resize("i32", vectors[2], "i64")
        for number, lanes in enumerate((vectors[1], line, vectors[3])):
            value = self._code.value(f"extractelement <{WARP} x i64> {lanes}, i32 {lead}")
            cell = self._code.value(f"getelementptr i64, ptr {place}, i32 {number}")
            self._code.do(f"store i64 {value}, ptr {cell}")
        return place


_A = f"<{WARP} x i64>"
_FUNCTION: Final = f"""define internal void @log(ptr %state, ptr %local, i64 %limit, i32 %line, i32 %kind, i32 %warp, \
i64 %block, {_A} %text, ptr %own, {_A} %passed, <{WARP} x i1> %m) #1 {{
entry:
  %log.p = getelementptr i8, ptr %state, i64 {layout.STATE_LOG}
  %log = load ptr, ptr %log.p
  %count.p = getelementptr i8, ptr %state, i64 {layout.STATE_LOG_COUNT}
{each_lane("counted")}  %count = load i32, ptr %count.p
  %room = icmp ult i32 %count, {layout.LOG_RECORDS}
  %count.1 = add i32 %count, 1
  %count.2 = select i1 %room, i32 %count.1, i32 {layout.LOG_RECORDS + 1}
  store i32 %count.2, ptr %count.p
  br i1 %room, label %write, label %counted
write:
  %offset = mul i32 %count, {layout.LOG_RECORD_BYTES}
  %record = getelementptr i8, ptr %log, i32 %offset
  %t = extractelement {_A} %text, i{WARP} %i
  store i64 %t, ptr %record
  %thread.0 = mul i32 %warp, {WARP}
  %thread = add i32 %thread.0, %i
  %p8 = getelementptr i8, ptr %record, i64 8
  store i32 %thread, ptr %p8
  %p12 = getelementptr i8, ptr %record, i64 12
  store i32 %line, ptr %p12
  %p16 = getelementptr i8, ptr %record, i64 16
  store i64 %block, ptr %p16
  %p24 = getelementptr i8, ptr %record, i64 24
  %kind.w = zext i32 %kind to i64
  store i64 %kind.w, ptr %p24
  %p32 = getelementptr i8, ptr %record, i64 {layout.LOG_ARGUMENTS}
  %is.own = icmp ne i32 %kind, 0
  br i1 %is.own, label %assertion, label %arguments
assertion:
  call void @llvm.memcpy.p0.p0.i64(ptr %p32, ptr %own, i64 24, i1 false)
  br label %finish
arguments:
  %a = extractelement {_A} %passed, i{WARP} %i
  %segment = lshr i64 %a, {layout.OFFSET_BITS}
  %is.local = icmp eq i64 %segment, {layout.LOCAL_SEGMENT}
  %start = and i64 %a, {(1 << layout.OFFSET_BITS) - 1}
  %inside = icmp ult i64 %start, %limit
  %good = and i1 %is.local, %inside
  br i1 %good, label %copy, label %counted
copy:
  %there = sub i64 %limit, %start
  %few = icmp ult i64 %there, {layout.LOG_RECORD_BYTES - layout.LOG_ARGUMENTS}
  %size = select i1 %few, i64 %there, i64 {layout.LOG_RECORD_BYTES - layout.LOG_ARGUMENTS}
  %i.w = zext i32 %i to i64
  %stack = mul i64 %i.w, %limit
  %from.0 = add i64 %stack, %start
  %from = getelementptr i8, ptr %local, i64 %from.0
  call void @llvm.memcpy.p0.p0.i64(ptr %p32, ptr %from, i64 %size, i1 false)
  br label %counted
counted:
  br label %next
finish:
  ret void
}}"""
