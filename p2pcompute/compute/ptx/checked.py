"""Checked accesses of a warp: helper functions of the generated module, one per space and element type.

Each checks every active lane before it touches memory. The common case is that all lanes name the same segment: one
table row, one vector comparison, then a gather or scatter from its base. Lanes in different segments are handled one at
a time. The first lane that fails writes the trap record, and nothing of a store is done for lanes behind it.
"""

from __future__ import annotations

from p2pcompute.compute.ptx import layout
from p2pcompute.compute.ptx.llvmtext import Code, suffix, vector
from p2pcompute.compute.ptx.types import BITS_OF_LLVM
from p2pcompute.compute.ptx.uniform import WARP

_A = f"<{WARP} x i64>"
_M = f"<{WARP} x i1>"
_P = f"<{WARP} x ptr>"

FORMAL = f"ptr %table, ptr %base, i64 %limit, ptr %state, i32 %line, {_A} %a, {_M} %m"
"""For global and const accesses `table` counts; for shared `base` and `limit`; for local too, per lane; for generic
ones `table` counts, and `base` and `limit` are those of the local window.
"""

TRAP_FUNCTION = f"""define internal void @trap(ptr %state, i32 %kind, i32 %line, i32 %lane, i64 %address) #1 {{
entry:
  %old = load i32, ptr %state
  %fresh = icmp eq i32 %old, 0
  br i1 %fresh, label %write, label %done
write:
  store i32 %kind, ptr %state
  %pl = getelementptr i8, ptr %state, i64 {layout.STATE_LINE}
  store i32 %line, ptr %pl
  %pn = getelementptr i8, ptr %state, i64 {layout.STATE_LANE}
  store i32 %lane, ptr %pn
  %pa = getelementptr i8, ptr %state, i64 {layout.STATE_ADDRESS}
  store i64 %address, ptr %pa
  br label %done
done:
  ret void
}}"""


def splat_lines(name: str, llvm: str, value: str, lanes: int = WARP) -> str:
    kind = vector(llvm, lanes)
    return (
        f"  %{name}.i = insertelement {kind} poison, {llvm} {value}, i32 0\n"
        f"  %{name} = shufflevector {kind} %{name}.i, {kind} poison, <{lanes} x i32> zeroinitializer\n"
    )


def row_lines(segment: str, column: int) -> str:
    """Host base and limit of the row that a segment number (any i64) names: %row.base, %row.limit."""
    return f"""  %row.c = icmp ult i64 {segment}, {layout.TABLE_ROWS - 1}
  %row.s = select i1 %row.c, i64 {segment}, i64 {layout.TABLE_ROWS - 1}
  %row.o = shl i64 %row.s, {layout.ROW_BYTES.bit_length() - 1}
  %row.p = getelementptr i8, ptr %table, i64 %row.o
  %row.base = load ptr, ptr %row.p
  %row.q = getelementptr i8, ptr %row.p, i64 {column}
  %row.limit = load i64, ptr %row.q
"""


def vector_check_lines(offset: str, base: str, limit: str, size: int) -> str:
    """%good: all active lanes lie inside [0, limit) with `size` bytes, aligned to their size; %ptrs their host
    addresses.
    """
    return (
        f"  %roomy = icmp uge i64 {limit}, {size}\n  %last = sub i64 {limit}, {size}\n"
        + splat_lines("lasts", "i64", "%last")
        + splat_lines("roomies", "i1", "%roomy")
        + f"""  %fits = icmp ule {_A} {offset}, %lasts
  %low = and {_A} {offset}, splat (i64 {size - 1})
  %even = icmp eq {_A} %low, zeroinitializer
  %fine.0 = and {_M} %fits, %even
  %fine = and {_M} %fine.0, %roomies
  %bad.v = xor {_M} %fine, splat (i1 true)
  %bad = and {_M} %bad.v, %m
  %bad.i = bitcast {_M} %bad to i{WARP}
  %good = icmp eq i{WARP} %bad.i, 0
  %ptrs = getelementptr i8, ptr {base}, {_A} {{place}}
"""
    )


def _trap_lines(size: int) -> str:
    """Report the first bad lane of %bad.i and leave through %out."""
    return f"""  %lane = call i{WARP} @llvm.cttz.i{WARP}(i{WARP} %bad.i, i1 false)
  %lane.c = and i{WARP} %lane, {WARP - 1}
  %address = extractelement {_A} %a, i{WARP} %lane.c
  %address.low = and i64 %address, {size - 1}
  %is.even = icmp eq i64 %address.low, 0
  %kind = select i1 %is.even, i32 {layout.TRAP_BOUNDS}, i32 {layout.TRAP_MISALIGNED}
  call void @trap(ptr %state, i32 %kind, i32 %line, i32 %lane.c, i64 %address)
"""


class Checked:
    """Makes the helpers on demand and returns their names."""

    def __init__(self, code: Code) -> None:
        self._code = code
        code.helpers["trap"] = TRAP_FUNCTION
        code.declarations.add(f"declare i{WARP} @llvm.cttz.i{WARP}(i{WARP}, i1)")

    def load(self, space: str, llvm: str) -> str:
        name = f"load_{space}_{llvm}"
        if name not in self._code.helpers:
            sfx = suffix(llvm, WARP)
            size = BITS_OF_LLVM[llvm] // 8
            self._code.declarations.add(
                f"declare {vector(llvm)} @llvm.masked.gather.{sfx}.v{WARP}p0({_P}, i32, {_M}, {vector(llvm)})"
            )
            touch = (
                f"  %r = call {vector(llvm)} @llvm.masked.gather.{sfx}.v{WARP}p0({_P} %ptrs, i32 {size}, {_M} %m, "
                f"{vector(llvm)} zeroinitializer)\n  ret {vector(llvm)} %r\n"
            )
            one = f"  %x = load {llvm}, ptr %one, align {size}\n  %slot = getelementptr {llvm}, ptr %out, i32 %i\n  store {llvm} %x, ptr %slot\n"
            finish = f"  %all = load {vector(llvm)}, ptr %out\n  ret {vector(llvm)} %all\n"
            begin = f"  %out = alloca {vector(llvm)}\n  store {vector(llvm)} zeroinitializer, ptr %out\n"
            self._code.helpers[name] = self._function(
                name,
                space,
                size,
                layout.ROW_READABLE,
                vector(llvm),
                "",
                begin,
                touch,
                one,
                finish,
                f"{vector(llvm)} zeroinitializer",
            )
        return name

    def store(self, space: str, llvm: str) -> str:
        name = f"store_{space}_{llvm}"
        if name not in self._code.helpers:
            sfx = suffix(llvm, WARP)
            size = BITS_OF_LLVM[llvm] // 8
            self._code.declarations.add(
                f"declare void @llvm.masked.scatter.{sfx}.v{WARP}p0({vector(llvm)}, {_P}, i32, {_M})"
            )
            touch = f"  call void @llvm.masked.scatter.{sfx}.v{WARP}p0({vector(llvm)} %v, {_P} %ptrs, i32 {size}, {_M} %m)\n  ret void\n"
            one = f"  %slot = getelementptr {llvm}, ptr %out, i32 %i\n  %x = load {llvm}, ptr %slot\n  store {llvm} %x, ptr %one, align {size}\n"
            begin = f"  %out = alloca {vector(llvm)}\n  store {vector(llvm)} %v, ptr %out\n"
            self._code.helpers[name] = self._function(
                name,
                space,
                size,
                layout.ROW_WRITABLE,
                "void",
                f", {vector(llvm)} %v",
                begin,
                touch,
                one,
                "  ret void\n",
                "void",
            )
        return name

    def _function(
        self, name: str, space: str, size: int, column: int, result: str, extra: str,
        begin: str, touch: str, one: str, finish: str, nothing: str,
    ) -> str:  # fmt: skip
        """`touch` accesses all lanes at %ptrs, `one` lane %i at %one; `begin` and `finish` frame the lane-by-lane
        way.
        """
        head = f"define internal {result} @{name}({FORMAL}{extra}) #1 {{\nentry:\n{begin}"
        trap = f"fail:\n{_trap_lines(size)}  ret {nothing}\n}}"
        if space in ("shared", "local"):
            place = "%a"
            lines = ""
            if space == "local":
                lanes = ", ".join(f"i64 {lane}" for lane in range(WARP))
                lines = (
                    splat_lines("limits", "i64", "%limit")
                    + f"  %starts = mul {_A} %limits, <{lanes}>\n  %placed = add {_A} %a, %starts\n"
                )
                place = "%placed"
            lines += vector_check_lines("%a", "%base", "%limit", size).format(place=place)
            return f"{head}{lines}  br i1 %good, label %touch, label %fail\ntouch:\n{touch}{trap}"
        first = f"""  %m.i = bitcast {_M} %m to i{WARP}
  %lead = call i{WARP} @llvm.cttz.i{WARP}(i{WARP} %m.i, i1 false)
  %lead.c = and i{WARP} %lead, {WARP - 1}
  %lead.a = extractelement {_A} %a, i{WARP} %lead.c
  %segment = lshr i64 %lead.a, {layout.OFFSET_BITS}
  %origin = shl i64 %segment, {layout.OFFSET_BITS}
{row_lines("%segment", column)}{splat_lines("origins", "i64", "%origin")}  %offsets = sub {_A} %a, %origins
{vector_check_lines("%offsets", "%row.base", "%row.limit", size).format(place="%offsets")}  br i1 %good, label %touch, label %mixed
touch:
{touch}"""
        return head + first + self._mixed(space, size, column, one, finish, nothing) + "\n}"

    def _mixed(self, space: str, size: int, column: int, one: str, finish: str, nothing: str) -> str:
        """Lane by lane: its own row, its own check."""
        rows = row_lines("%seg", column).replace("%row.", "%my.")
        local = ""
        target = "%my.base", "%my.limit"
        if space == "generic":
            local = f"""  %is.local = icmp eq i64 %seg, {layout.LOCAL_SEGMENT}
  %i.w = zext i32 %i to i64
  %mine.o = mul i64 %i.w, %limit
  %mine = getelementptr i8, ptr %base, i64 %mine.o
  %any.base = select i1 %is.local, ptr %mine, ptr %my.base
  %any.limit = select i1 %is.local, i64 %limit, i64 %my.limit
"""
            target = "%any.base", "%any.limit"
        return f"""mixed:
  br label %next
next:
  %left = phi i{WARP} [ %m.i, %mixed ], [ %rest, %use ]
  %none = icmp eq i{WARP} %left, 0
  br i1 %none, label %finish, label %lane
lane:
  %i = call i{WARP} @llvm.cttz.i{WARP}(i{WARP} %left, i1 true)
  %less = sub i{WARP} %left, 1
  %rest = and i{WARP} %left, %less
  %address = extractelement {_A} %a, i{WARP} %i
  %seg = lshr i64 %address, {layout.OFFSET_BITS}
  %off = and i64 %address, {(1 << layout.OFFSET_BITS) - 1}
{rows}{local}  %end = add i64 %off, {size}
  %inside = icmp ule i64 %end, {target[1]}
  %tail = and i64 %off, {size - 1}
  %even.1 = icmp eq i64 %tail, 0
  %ok = and i1 %inside, %even.1
  br i1 %ok, label %use, label %fail
fail:
  %kind = select i1 %even.1, i32 {layout.TRAP_BOUNDS}, i32 {layout.TRAP_MISALIGNED}
  call void @trap(ptr %state, i32 %kind, i32 %line, i32 %i, i64 %address)
  ret {nothing}
use:
  %one = getelementptr i8, ptr {target[0]}, i64 %off
{one}  br label %next
finish:
{finish}"""
