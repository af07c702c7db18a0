"""Checked accesses of a warp: helper functions of the generated module, one per space and element type.

Each checks every active lane before it touches memory. Most addresses that the analysis could not prove regular are
consecutive all the same (or a single lane is active): that is tested first, and costs one masked vector access. Next,
all lanes name the same segment: one table row, one vector comparison, then a gather or scatter from its base. Lanes in
different segments are handled one at a time. The first lane that fails writes the trap record, and nothing of a store
is done for lanes behind it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from p2pcompute.compute.ptx import layout
from p2pcompute.compute.ptx.llvmtext import Code, each_lane, suffix, vector
from p2pcompute.compute.ptx.types import BITS_OF_LLVM
from p2pcompute.compute.ptx.uniform import TEAM_LANES_MAX, WARP

_A = f"<{WARP} x i64>"
_M = f"<{WARP} x i1>"
_P = f"<{WARP} x ptr>"

_FIXED = "ptr %table, ptr %base, i64 %limit, ptr %state, i32 %line"
FORMAL = f"{_FIXED}, {_A} %a, {_M} %m"
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


def _run_lines(size: int) -> str:
    """%is.run: the active lanes' addresses are those of consecutive elements; %start would be lane 0's, %first and
    %last are the least and the greatest active lane's.
    """
    steps = ", ".join(f"i64 {lane * size}" for lane in range(WARP))
    return f"""  %m.i = bitcast {_M} %m to i{WARP}
  %lead = call i{WARP} @llvm.cttz.i{WARP}(i{WARP} %m.i, i1 false)
  %lead.c = and i{WARP} %lead, {WARP - 1}
  %starts.v = sub {_A} %a, <{steps}>
  %start = extractelement {_A} %starts.v, i{WARP} %lead.c
{splat_lines("start.v", "i64", "%start")}  %off.v = icmp ne {_A} %starts.v, %start.v
  %off.m = and {_M} %off.v, %m
  %off.i = bitcast {_M} %off.m to i{WARP}
  %is.run = icmp eq i{WARP} %off.i, 0
  %tail = call i{WARP} @llvm.ctlz.i{WARP}(i{WARP} %m.i, i1 false)
  %last.lane = sub i{WARP} {WARP - 1}, %tail
  %last.w = sext i{WARP} %last.lane to i64
  %last.o = mul i64 %last.w, {size}
  %end.a = add i64 %start, %last.o
  %lead.w = zext i{WARP} %lead.c to i64
  %lead.o = mul i64 %lead.w, {size}
  %lead.a = add i64 %start, %lead.o
"""


def _run_test_lines(size: int, first: str, limit: str) -> str:
    """Whether a run from offset `first` (of the least active lane) is inside `limit` and aligned: %fine.run."""
    return f"""  %reach = sub i64 %end.a, %lead.a
  %run.last = add i64 {first}, %reach
  %run.end = add i64 %run.last, {size}
  %in.0 = icmp ule i64 %run.end, {limit}
  %in.1 = icmp ult i64 {first}, {1 << layout.OFFSET_BITS}
  %in.2 = and i1 %in.0, %in.1
  %low.bits = and i64 {first}, {size - 1}
  %in.3 = icmp eq i64 %low.bits, 0
  %in.4 = and i1 %in.2, %in.3
  %fine.run = and i1 %in.4, %is.run
"""


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


@dataclass(frozen=True, slots=True)
class _Kind:
    """What differs between loading and storing. `run` accesses the active lanes from %place on and returns; `whole` all
    at %ptrs; `one` lane %i at %one.
    """

    result: str
    extra: str
    passed: str
    column: int
    nothing: str
    begin: str
    run: str
    whole: str
    one: str
    finish: str


def _loading(llvm: str, size: int) -> _Kind:
    kind = vector(llvm)
    gather = (
        f"@llvm.masked.gather.{suffix(llvm, WARP)}.v{WARP}p0({_P} %ptrs, i32 {size}, {_M} %m, {kind} zeroinitializer)"
    )
    return _Kind(
        result=kind,
        extra="",
        passed="",
        column=layout.ROW_READABLE,
        nothing=f"{kind} zeroinitializer",
        begin=f"  %out = alloca {kind}\n  store {kind} zeroinitializer, ptr %out\n",
        run=(
            f"  %c = call {kind} @llvm.masked.load.{suffix(llvm, WARP)}.p0(ptr %place, i32 {size}, {_M} %m, "
            f"{kind} zeroinitializer)\n  ret {kind} %c\n"
        ),
        whole=f"  %r = call {kind} {gather}\n  ret {kind} %r\n",
        one=(
            f"  %x = load {llvm}, ptr %one, align {size}\n"
            f"  %slot = getelementptr {llvm}, ptr %out, i32 %i\n  store {llvm} %x, ptr %slot\n"
        ),
        finish=f"  %all = load {kind}, ptr %out\n  ret {kind} %all\n",
    )


def _storing(llvm: str, size: int) -> _Kind:
    kind = vector(llvm)
    scatter = f"@llvm.masked.scatter.{suffix(llvm, WARP)}.v{WARP}p0({kind} %v, {_P} %ptrs, i32 {size}, {_M} %m)"
    return _Kind(
        result="void",
        extra=f", {kind} %v",
        passed=f", {kind} %v",
        column=layout.ROW_WRITABLE,
        nothing="void",
        begin=f"  %out = alloca {kind}\n  store {kind} %v, ptr %out\n",
        run=(
            f"  call void @llvm.masked.store.{suffix(llvm, WARP)}.p0({kind} %v, ptr %place, i32 {size}, {_M} %m)\n"
            "  ret void\n"
        ),
        whole=f"  call void {scatter}\n  ret void\n",
        one=(
            f"  %slot = getelementptr {llvm}, ptr %out, i32 %i\n"
            f"  %x = load {llvm}, ptr %slot\n  store {llvm} %x, ptr %one, align {size}\n"
        ),
        finish="  ret void\n",
    )


class Checked:
    """Makes the helpers on demand and returns their names."""

    def __init__(self, code: Code) -> None:
        self._code = code
        code.helpers["trap"] = TRAP_FUNCTION
        code.declarations.add(f"declare i{WARP} @llvm.cttz.i{WARP}(i{WARP}, i1)")
        code.declarations.add(f"declare i{WARP} @llvm.ctlz.i{WARP}(i{WARP}, i1)")

    def load(self, space: str, llvm: str) -> str:
        kind, sfx = vector(llvm), suffix(llvm, WARP)
        self._code.declarations.add(f"declare {kind} @llvm.masked.load.{sfx}.p0(ptr, i32, {_M}, {kind})")
        self._code.declarations.add(f"declare {kind} @llvm.masked.gather.{sfx}.v{WARP}p0({_P}, i32, {_M}, {kind})")
        return self._helper(f"load_{space}_{llvm}", space, llvm, _loading(llvm, BITS_OF_LLVM[llvm] // 8))

    def store(self, space: str, llvm: str) -> str:
        kind, sfx = vector(llvm), suffix(llvm, WARP)
        self._code.declarations.add(f"declare void @llvm.masked.store.{sfx}.p0({kind}, ptr, i32, {_M})")
        self._code.declarations.add(f"declare void @llvm.masked.scatter.{sfx}.v{WARP}p0({kind}, {_P}, i32, {_M})")
        return self._helper(f"store_{space}_{llvm}", space, llvm, _storing(llvm, BITS_OF_LLVM[llvm] // 8))

    def _helper(self, name: str, space: str, llvm: str, kind: _Kind) -> str:
        if name not in self._code.helpers:
            size = BITS_OF_LLVM[llvm] // 8
            if space in ("shared", "local"):
                self._code.helpers[name] = _window_function(name, space, size, kind)
            else:
                self._code.helpers[name] = _table_function(name, size, kind)
                self._code.helpers[f"{name}_mixed"] = _mixed_function(name, space, size, kind)
        if self._code.lanes == WARP:
            return name
        values, result = ({"v": llvm}, "") if kind.passed else ({}, llvm)
        self._code.helpers.setdefault(f"{name}_team", team_function(name, values, result))
        return f"{name}_team"


def team_function(name: str, values: Mapping[str, str], result: str = "", scalars: str = "") -> str:
    """The two warps of a team, one after the other, each by the function for a warp; a trap's lane is the team's. The
    function takes these vectors (names and LLVM's types of their elements) and scalars beside addresses and mask, and
    gives a vector of `result`, or nothing.
    """
    order = ", ".join(f"i32 {lane}" for lane in range(TEAM_LANES_MAX))
    one, whole, nothing, done = "void", "void", "void", "  ret void\n"
    if result:
        one, whole = vector(result), vector(result, TEAM_LANES_MAX)
        nothing = f"{whole} zeroinitializer"
        done = f"  %all = shufflevector {one} %r.0, {one} %r.{WARP}, <{TEAM_LANES_MAX} x i32> <{order}>\n"
        done += f"  ret {whole} %all\n"
    parts = {"a": "i64", "m": "i1", **values}
    formal = ", ".join(f"{vector(llvm, TEAM_LANES_MAX)} %{part}" for part, llvm in parts.items())
    formal = ", ".join([formal, scalars] if scalars else [formal])
    calls = [_one_warp(name, parts, one, scalars, first) for first in (0, WARP)]
    return f"""define internal {whole} @{name}_team({_FIXED}, {formal}) #3 {{
entry:
{calls[0]}  br i1 %fine.0, label %second, label %out, !prof !2
second:
{calls[1]}  br i1 %fine.{WARP}, label %whole, label %failed, !prof !2
failed:
  %lane.p = getelementptr i8, ptr %state, i64 {layout.STATE_LANE}
  %lane = load i32, ptr %lane.p
  %lane.t = add i32 %lane, {WARP}
  store i32 %lane.t, ptr %lane.p
  br label %out
out:
  ret {nothing}
whole:
{done}}}"""


def _one_warp(name: str, parts: Mapping[str, str], result: str, scalars: str, first: int) -> str:
    """Call the function for a team's lanes from `first` on: %r.first, and %fine.first if none trapped."""
    order = ", ".join(f"i32 {lane}" for lane in range(first, first + WARP))
    lines, passed = "", [_FIXED]
    for part, element in parts.items():
        every = vector(element, TEAM_LANES_MAX)
        lines += f"  %{part}.{first} = shufflevector {every} %{part}, {every} poison, <{WARP} x i32> <{order}>\n"
        passed.append(f"{vector(element)} %{part}.{first}")
    passed += [scalars] if scalars else []
    target = "" if result == "void" else f"%r.{first} = "
    return f"""{lines}  {target}call {result} @{name}({", ".join(passed)})
  %kind.{first} = load i32, ptr %state
  %fine.{first} = icmp eq i32 %kind.{first}, 0
"""


def _window_function(name: str, space: str, size: int, kind: _Kind) -> str:
    """Shared memory, or the stack of each lane: one base and one limit for all."""
    lines, place = "", "%a"
    run = ""
    if space == "shared":
        tests = _run_lines(size) + _run_test_lines(size, "%lead.a", "%limit")
        run = f"""{tests}  br i1 %fine.run, label %run, label %each
run:
  %place = getelementptr i8, ptr %base, i64 %start
{kind.run}each:
"""
    if space == "local":
        lanes = ", ".join(f"i64 {lane}" for lane in range(WARP))
        lines = splat_lines("limits", "i64", "%limit")
        lines += f"  %starts = mul {_A} %limits, <{lanes}>\n  %placed = add {_A} %a, %starts\n"
        place = "%placed"
    lines += vector_check_lines("%a", "%base", "%limit", size).format(place=place)
    return f"""define internal {kind.result} @{name}({FORMAL}{kind.extra}) #3 {{
entry:
{run}{lines}  br i1 %good, label %touch, label %fail, !prof !2
touch:
{kind.whole}fail:
{_trap_lines(size)}  ret {kind.nothing}
}}"""


def _table_function(name: str, size: int, kind: _Kind) -> str:
    """All lanes in the segment of the first active one; else the other function decides."""
    check = vector_check_lines("%offsets", "%row.base", "%row.limit", size).format(place="%offsets")
    call = f"call {kind.result} @{name}_mixed({FORMAL}{kind.passed})"
    mixed = f"  {call}\n  ret void\n" if kind.result == "void" else f"  %o = {call}\n  ret {kind.result} %o\n"
    return f"""define internal {kind.result} @{name}({FORMAL}{kind.extra}) #3 {{
entry:
{_run_lines(size)}  %segment = lshr i64 %lead.a, {layout.OFFSET_BITS}
  %origin = shl i64 %segment, {layout.OFFSET_BITS}
{row_lines("%segment", kind.column)}  %lead.offset = sub i64 %lead.a, %origin
{_run_test_lines(size, "%lead.offset", "%row.limit")}  br i1 %fine.run, label %run, label %each
run:
  %start.o = sub i64 %start, %origin
  %place = getelementptr i8, ptr %row.base, i64 %start.o
{kind.run}each:
{splat_lines("origins", "i64", "%origin")}  %offsets = sub {_A} %a, %origins
{check}  br i1 %good, label %touch, label %mixed, !prof !2
touch:
{kind.whole}mixed:
{mixed}}}"""


_LOCAL_LANE = f"""  %is.local = icmp eq i64 %seg, {layout.LOCAL_SEGMENT}
  %i.w = zext i32 %i to i64
  %mine.o = mul i64 %i.w, %limit
  %mine = getelementptr i8, ptr %base, i64 %mine.o
  %at.base = select i1 %is.local, ptr %mine, ptr %row.base
  %at.limit = select i1 %is.local, i64 %limit, i64 %row.limit
"""


def _mixed_function(name: str, space: str, size: int, kind: _Kind) -> str:
    """Lane by lane: its own row, its own check."""
    local, base, limit = "", "%row.base", "%row.limit"
    if space == "generic":
        local, base, limit = _LOCAL_LANE, "%at.base", "%at.limit"
    return f"""define internal {kind.result} @{name}_mixed({FORMAL}{kind.extra}) #1 {{
entry:
{kind.begin}{each_lane("use")}  %address = extractelement {_A} %a, i{WARP} %i
  %seg = lshr i64 %address, {layout.OFFSET_BITS}
  %off = and i64 %address, {(1 << layout.OFFSET_BITS) - 1}
{row_lines("%seg", kind.column)}{local}  %end = add i64 %off, {size}
  %inside = icmp ule i64 %end, {limit}
  %tail = and i64 %off, {size - 1}
  %even = icmp eq i64 %tail, 0
  %ok = and i1 %inside, %even
  br i1 %ok, label %use, label %fail
fail:
  %kind = select i1 %even, i32 {layout.TRAP_BOUNDS}, i32 {layout.TRAP_MISALIGNED}
  call void @trap(ptr %state, i32 %kind, i32 %line, i32 %i, i64 %address)
  ret {kind.nothing}
use:
  %one = getelementptr i8, ptr {base}, i64 %off
{kind.one}  br label %next
finish:
{kind.finish}}}"""
