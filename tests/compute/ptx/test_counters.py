"""Counters whose numbers are bytes: found, counted right, and checked like any other access."""

from __future__ import annotations

import numpy as np
import pytest

from p2pcompute.compute import ptx
from p2pcompute.compute.ptx import counters, flow
from tests.compute.ptx.running import Array, launch, pack, run
from tests.compute.ptx.vector import HEADER

BINS = 256
BYTE_OF = {
    "ld.global.u8 %i, [%at];": ("u1", 0),
    "ld.global.u32 %w, [%at]; and.b32 %i, %w, 255;": ("u4", 0),
    "ld.global.u32 %w, [%at]; shr.u32 %i, %w, 24;": ("u4", 24),
    "ld.global.u32 %w, [%at]; bfe.u32 %i, %w, 7, 8;": ("u4", 7),
    "ld.global.u32 %w, [%at]; cvt.u32.u8 %i, %w;": ("u4", 0),
}
PLACE_OF = (
    "mul.wide.u32 %m, %i, 4; add.s64 %p, %b, %m;",
    "mul.wide.u32 %m, %i, 4; add.s64 %p, %m, %b;",
    "cvt.u64.u32 %m, %i; shl.b64 %l, %m, 2; add.s64 %p, %b, %l;",
    "mad.wide.u32 %p, %i, 4, %b;",
)
OPERATIONS = {"add.u32": np.add, "or.b32": np.bitwise_or, "max.s32": np.maximum, "min.u32": np.minimum}


def text(
    byte: str = "ld.global.u8 %i, [%at];",
    place: str = PLACE_OF[0],
    *,
    element: int = 1,
    operation: str = "add.u32",
    value: str = "3",
    bins: int = BINS,
    offset: int = 0,
) -> str:
    """`k(x, out, n)`: each block counts x[i], i from the thread to n in steps of its size; each of its counters
    begins with 100 and goes to out.
    """
    return f"""{HEADER}
.visible .entry k(.param .u64 x, .param .u64 out, .param .u32 n)
{{
.shared .align 4 .b8 s[{4 * bins}];
.reg .b32 %t, %n, %i, %w, %z, %o, %size;
.reg .b64 %x, %out, %at, %b, %m, %l, %p, %q, %r;
.reg .pred %more, %mine;
ld.param.u64 %x, [x];
ld.param.u64 %out, [out];
ld.param.u32 %n, [n];
mov.u32 %t, %tid.x;
mov.u32 %size, %ntid.x;
mov.u32 %z, %t;
mov.u64 %b, s;
fill:
mul.wide.u32 %q, %z, 4;
add.s64 %q, %q, %b;
setp.lt.u32 %mine, %z, {bins};
@%mine st.shared.u32 [%q], 100;
add.u32 %z, %z, %size;
setp.lt.u32 %more, %z, {bins};
@%more bra fill;
bar.sync 0;
setp.ge.u32 %more, %t, %n;
@%more bra done;
loop:
mul.wide.u32 %at, %t, {element};
add.s64 %at, %at, %x;
{byte}
{place}
red.shared.{operation} [%p{offset:+d}], {value};
add.u32 %t, %t, %size;
setp.lt.u32 %more, %t, %n;
@%more bra loop;
done:
bar.sync 0;
mov.u32 %z, %tid.x;
drain:
mul.wide.u32 %r, %z, 4;
add.s64 %q, %r, %b;
add.s64 %r, %r, %out;
setp.lt.u32 %mine, %z, {bins};
@%mine ld.shared.u32 %o, [%q];
@%mine st.global.u32 [%r], %o;
add.u32 %z, %z, %size;
setp.lt.u32 %more, %z, {bins};
@%more bra drain;
ret;
}}
"""


def compiled(source: str, block: int, processor: ptx.Processor | None = None) -> ptx.CompiledKernel:
    return ptx.compile_entry(ptx.parse(source), "k", (block, 1, 1), processor=processor)


def found(source: str) -> list[counters.Counter]:
    module = ptx.parse(ptx.canonicalise(ptx.parse(source)))
    return list(counters.find(flow.build(module.entries["k"])).values())


def data(dtype: str, count: int) -> Array:
    return np.random.default_rng(count).integers(0, np.iinfo(dtype).max, count, dtype, endpoint=True)


def counted(numbers: Array, operation: str = "add.u32", value: int = 3, bins: int = BINS) -> Array:
    kind = np.int32 if operation.endswith("s32") else np.uint32
    out = np.full(bins, 100, kind)
    OPERATIONS[operation].at(out, numbers, kind(value))
    return out.view(np.uint32)


@pytest.mark.parametrize("place", PLACE_OF)
@pytest.mark.parametrize("byte", BYTE_OF)
def test_bytes_are_found_however_they_are_spelled(byte: str, place: str) -> None:
    dtype, shift = BYTE_OF[byte]
    source = text(byte, place, element=np.dtype(dtype).itemsize)
    (counter,) = found(source)
    assert (counter.scale, counter.offset_bytes) == (4, 0)
    x, out = data(dtype, 1000), np.zeros(BINS, np.uint32)
    run(compiled(source, 64), (1, 1, 1), x, out, np.uint32(1000))
    assert np.array_equal(out, counted(x >> shift & 255))


@pytest.mark.parametrize(
    ("byte", "place"),
    [
        ("ld.global.u32 %w, [%at]; and.b32 %i, %w, 256;", PLACE_OF[0]),
        ("ld.global.u32 %w, [%at]; shr.u32 %i, %w, 23;", PLACE_OF[0]),
        ("ld.global.u32 %w, [%at]; shr.s32 %i, %w, 24;", PLACE_OF[0]),
        ("ld.global.u32 %w, [%at]; bfe.u32 %i, %w, 0, 9;", PLACE_OF[0]),
        ("ld.global.s8 %i, [%at];", PLACE_OF[0]),
        ("ld.global.u8 %i, [%at]; add.u32 %i, %i, 1;", PLACE_OF[0]),
        ("ld.global.u8 %i, [%at];", "mul.wide.u32 %m, %i, 4; mul.wide.u32 %m, %t, 4; add.s64 %p, %b, %m;"),
        ("ld.global.u8 %i, [%at];", "mul.wide.u32 %m, %i, %n; add.s64 %p, %b, %m;"),
    ],
)
def test_what_may_be_more_than_a_byte_is_not_taken_for_one(byte: str, place: str) -> None:
    assert found(text(byte, place)) == []


@pytest.mark.parametrize("processor", [None, ptx.Processor("haswell"), ptx.Processor("x86-64-v2")])
@pytest.mark.parametrize("block", [32, 48, 64, 192])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_lane_counts_once_in_warps_and_teams_whole_or_not(
    operation: str, block: int, processor: ptx.Processor | None
) -> None:
    value = {"add.u32": 3, "or.b32": 3, "max.s32": 101, "min.u32": 7}[operation]
    x, out = data("u1", 1000), np.zeros(BINS, np.uint32)
    run(compiled(text(operation=operation, value=str(value)), block, processor), (1, 1, 1), x, out, np.uint32(1000))
    assert np.array_equal(out, counted(x, operation, value))


def test_blocks_count_apart() -> None:
    x, out = data("u1", 5000), np.zeros(BINS, np.uint32)
    run(compiled(text(), 256), (7, 1, 1), x, out, np.uint32(5000))
    assert np.array_equal(out, counted(x))


@pytest.mark.parametrize("block", [32, 64])
def test_fewer_counters_than_bytes_will_do_if_no_byte_is_larger(block: int) -> None:
    x, out = data("u1", 700) % 100, np.zeros(100, np.uint32)
    run(compiled(text(bins=100), block), (1, 1, 1), x.astype(np.uint8), out, np.uint32(700))
    assert np.array_equal(out, counted(x, bins=100))


@pytest.mark.parametrize("block", [32, 64])
@pytest.mark.parametrize(("offset", "kind"), [(0, ptx.TrapKind.OUT_OF_BOUNDS), (2, ptx.TrapKind.MISALIGNED)])
def test_a_counter_that_is_not_there_is_a_trap_of_its_thread(block: int, offset: int, kind: ptx.TrapKind) -> None:
    x, out = np.zeros(block, np.uint8), np.zeros(100, np.uint32)
    culprit = block - 5 if kind is ptx.TrapKind.OUT_OF_BOUNDS else 0
    x[culprit] = 200 if kind is ptx.TrapKind.OUT_OF_BOUNDS else 0
    result = launch(compiled(text(bins=100, offset=offset), block), (1, 1, 1), x, out, np.uint32(block))
    assert result.trap is not None
    assert (result.trap.kind, result.trap.thread) == (kind, (culprit, 0, 0))


def test_a_counter_before_the_memory_is_a_trap() -> None:
    x, out = np.ones(64, np.uint8), np.zeros(BINS, np.uint32)
    x[33] = 0
    result = launch(compiled(text(offset=-4), 64), (1, 1, 1), x, out, np.uint32(64))
    assert result.trap is not None
    assert (result.trap.kind, result.trap.thread) == (ptx.TrapKind.OUT_OF_BOUNDS, (33, 0, 0))


def test_a_value_of_each_lane_counts_too() -> None:
    source = text(value="%t")
    x, out = data("u1", 640), np.zeros(BINS, np.uint32)
    kernel = compiled(source, 64)
    memory = ptx.Memory([x, out])
    parameters = pack(kernel, memory, [x, out, np.uint32(640)])
    done = kernel.launch(memory, parameters, (1, 1, 1), threads=1, abort=ptx.Abort())
    assert done.status is ptx.Status.OK
    expected = np.full(BINS, 100, np.uint32)
    np.add.at(expected, x, np.arange(640, dtype=np.uint32))
    assert np.array_equal(out, expected)
