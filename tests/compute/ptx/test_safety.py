"""No kernel touches what it was not given, whatever address it makes; and every fault names its witness."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from p2pcompute.compute import ptx
from tests.compute.ptx.running import body_kernel, kernel, launch, pack

BYTES = {"u8": 1, "u16": 2, "u32": 4, "u64": 8, "v2.u32": 8, "v4.u32": 16}
FILL = 0xAB


def three_neighbours(size: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Three buffers that touch each other in host memory."""
    whole = np.full(3 * size + 64, FILL, np.uint8)
    start = -whole.ctypes.data % 64
    return whole, [whole[start + n * size : start + (n + 1) * size] for n in range(3)]


def access(kind: str, operation: str, shape: str, offset: int) -> str:
    """Every lane touches its own element (affine), one for all (uniform) or a permuted one (gather), `offset`
    further.
    """
    size = BYTES[kind]
    index = {"affine": "mov.u32 %i, %t;", "uniform": "mov.u32 %i, 0;", "gather": "xor.b32 %i, %t, 5;"}[shape]
    count = int(kind[1]) if kind[0] == "v" else 1
    registers = ", ".join(f"%w{n}" if size == 8 and count == 1 else f"%v{n}" for n in range(count))
    value = "{" + registers + "}" if count > 1 else registers
    place = f"{index} mul.wide.u32 %a, %i, {size}; add.s64 %a, %a, %in1; add.s64 %a, %a, {offset};\n"
    if operation == "store":
        return f"{place}st.global.{kind} [%a], {value};"
    return (
        f"{place}ld.global.{kind} {value}, [%a];\nst.global.u8 [%in0], {'%w0' if size == 8 and count == 1 else '%v0'};"
    )


REGISTERS = ".reg .b64 %a; .reg .b32 %i; .reg .b32 %v<4>; .reg .b64 %w<1>;"


@pytest.mark.parametrize("shape", ["affine", "uniform", "gather"])
@pytest.mark.parametrize("operation", ["load", "store"])
@pytest.mark.parametrize("kind", sorted(BYTES))
@pytest.mark.parametrize("end", ["below", "above"])
def test_one_element_past_either_end_traps_and_leaves_the_neighbours(
    kind: str, operation: str, shape: str, end: str
) -> None:
    size = BYTES[kind]
    lanes = 1 if shape == "uniform" else 32
    whole, buffers = three_neighbours(32 * 16)
    middle = buffers[1][: lanes * size]
    offset = -size if end == "below" else size
    compiled = body_kernel(access(kind, operation, shape, offset), 3, REGISTERS)
    memory = ptx.Memory([buffers[0], middle, buffers[2]])
    result = compiled.launch(
        memory, pack(compiled, memory, [buffers[0], middle, buffers[2]]), (1, 1, 1), threads=1, abort=ptx.Abort()
    )
    assert result.status is ptx.Status.TRAP
    assert result.trap is not None
    assert result.trap.kind is ptx.TrapKind.OUT_OF_BOUNDS
    outside = np.ones(whole.size, bool)
    begin = middle.ctypes.data - whole.ctypes.data
    outside[begin : begin + middle.size] = False
    assert (whole[outside] == FILL).all()


@pytest.mark.parametrize("shape", ["affine", "uniform", "gather"])
@pytest.mark.parametrize("kind", sorted(BYTES))
def test_the_last_element_is_inside(kind: str, shape: str) -> None:
    lanes = 1 if shape == "uniform" else 32
    buffers = [np.zeros(64, np.uint8), np.zeros(BYTES[kind] * lanes, np.uint8)]
    result = launch(body_kernel(access(kind, "store", shape, 0), 2, REGISTERS), (1, 1, 1), *buffers)
    assert result.status is ptx.Status.OK


WILD = [0, 8, 1 << 40, 2 << 40, 3 << 40, 4 << 40, 7 << 40, 255 << 40, 256 << 40, 1 << 62, 2**64 - 8, 2**63]


@pytest.mark.parametrize("address", WILD)
@pytest.mark.parametrize("space", [".global", ""])
@pytest.mark.parametrize(
    "operation", ["ld.volatile{}.u64 %w, [%a+0]", "st{}.u64 [%a+0], %w", "atom{}.add.u64 %w, [%a+0], 1"]
)
@pytest.mark.parametrize("varies", [False, True])
def test_wild_pointers_trap(address: int, space: str, operation: str, varies: bool) -> None:
    lane = "xor.b32 %i, %t, 3; and.b32 %i, %i, 0; cvt.u64.u32 %a, %i;" if varies else "mov.u64 %a, 0;"
    body = f"{lane} add.s64 %a, %a, %in0; {operation.format(space)};\n"
    compiled = body_kernel(body, 1, ".reg .b64 %a, %w; .reg .b32 %i;")
    memory = ptx.Memory([np.zeros(64, np.uint8)])
    result = compiled.launch(memory, np.uint64(address).tobytes(), (1, 1, 1), threads=1, abort=ptx.Abort())
    assert result.status is ptx.Status.TRAP
    assert result.trap is not None
    assert result.trap.address == address


def test_lanes_in_different_buffers_are_checked_one_by_one() -> None:
    body = """and.b32 %i, %t, 1; setp.eq.u32 %p, %i, 0; selp.b64 %a, %in0, %in1, %p;
    mul.wide.u32 %w, %t, 4; add.s64 %a, %a, %w; st.global.u32 [%a], %t;"""
    registers = ".reg .b64 %a, %w; .reg .b32 %i; .reg .pred %p;"
    even, odd = np.zeros(32, np.uint32), np.zeros(32, np.uint32)
    assert launch(body_kernel(body, 2, registers), (1, 1, 1), even, odd).status is ptx.Status.OK
    assert even.tolist() == [t if t % 2 == 0 else 0 for t in range(32)]
    assert odd.tolist() == [t if t % 2 else 0 for t in range(32)]
    result = launch(body_kernel(body, 2, registers), (1, 1, 1), even, np.zeros(29, np.uint32))
    assert result.trap is not None
    assert result.trap.thread == (29, 0, 0)


def test_trap_names_block_thread_and_address() -> None:
    x, y = np.zeros(100, np.float32), np.zeros(70, np.float32)
    compiled = kernel("saxpy", "saxpy", (32, 1, 1))
    memory = ptx.Memory([x, y])
    arguments = pack(compiled, memory, [np.float32(1), x, y, np.int32(100)])
    trap = compiled.launch(memory, arguments, (4, 1, 1), threads=1, abort=ptx.Abort()).trap
    assert trap is not None
    assert (trap.block, trap.thread) == ((2, 0, 0), (6, 0, 0))
    assert trap.address == memory.address(1) + 70 * 4
    assert "out of bounds" in str(trap)


@pytest.mark.parametrize(("kind", "offset"), [("u16", 1), ("u32", 2), ("u64", 4), ("v2.u32", 4), ("v4.u32", 8)])
@pytest.mark.parametrize("shape", ["affine", "uniform", "gather"])
def test_misaligned_access_traps(kind: str, offset: int, shape: str) -> None:
    result = launch(
        body_kernel(access(kind, "store", shape, offset), 2, REGISTERS),
        (1, 1, 1),
        np.zeros(64, np.uint8),
        np.zeros(1024, np.uint8),
    )
    assert result.trap is not None
    assert result.trap.kind is ptx.TrapKind.MISALIGNED


@pytest.mark.parametrize("offset", [-4, 128, 2**31 - 4])
def test_shared_memory_is_checked_against_static_and_dynamic_size(offset: int) -> None:
    extra = ".extern .shared .align 4 .b8 tile[];\n"
    body = f"mov.u32 %i, tile; mad.lo.u32 %i, %t, 4, %i; add.u32 %i, %i, {offset}; st.shared.u32 [%i], %t;"
    compiled = body_kernel(body, 1, ".reg .b32 %i;", extra=extra)
    result = launch(compiled, (1, 1, 1), np.zeros(4, np.uint8), shared=128)
    assert result.status is ptx.Status.TRAP
    inside = body_kernel(
        "mov.u32 %i, tile; mad.lo.u32 %i, %t, 4, %i; st.shared.u32 [%i], %t;", 1, ".reg .b32 %i;", extra=extra
    )
    assert launch(inside, (1, 1, 1), np.zeros(4, np.uint8), shared=128).status is ptx.Status.OK


def test_local_memory_of_another_lane_is_out_of_reach() -> None:
    body = "mov.u64 %a, stack; add.s64 %a, %a, %in0; st.local.u32 [%a], %t;"
    compiled = body_kernel(body, 1, ".local .align 16 .b8 stack[32]; .reg .b64 %a;")
    for offset, status in (
        (0, ptx.Status.OK),
        (28, ptx.Status.OK),
        (32, ptx.Status.TRAP),
        (2**64 - 4, ptx.Status.TRAP),
    ):
        result = compiled.launch(ptx.Memory([]), np.uint64(offset).tobytes(), (1, 1, 1), threads=1, abort=ptx.Abort())
        assert result.status is status, offset


def test_constants_and_read_only_buffers_cannot_be_written() -> None:
    extra = ".const .align 4 .b8 table[16] = {1};\n"
    compiled = body_kernel("mov.u64 %a, table; st.global.u32 [%a], %t;", 1, ".reg .b64 %a;", extra=extra)
    assert launch(compiled, (1, 1, 1), np.zeros(4, np.uint8)).status is ptx.Status.TRAP
    frozen = np.zeros(32, np.uint32)
    frozen.flags.writeable = False
    assert launch(body_kernel("st.global.u32 [%in0], %t;", 1, ""), (1, 1, 1), frozen).status is ptx.Status.TRAP
    assert not frozen.any()


def test_shared_and_local_memory_start_as_zeroes_in_every_block() -> None:
    body = """mov.u32 %i, tile; mad.lo.u32 %i, %t, 4, %i; ld.shared.u32 %v, [%i]; st.shared.u32 [%i], 7;
    mov.u64 %a, stack; ld.local.u32 %w, [%a]; st.local.u32 [%a], 9; add.u32 %v, %v, %w;
    red.global.add.u32 [%in0], %v;"""
    registers = ".shared .align 4 .b8 tile[128]; .local .align 4 .b8 stack[4]; .reg .b32 %i, %v, %w; .reg .b64 %a;"
    total = np.zeros(4, np.uint32)
    assert launch(body_kernel(body, 1, registers), (9, 1, 1), total).status is ptx.Status.OK
    assert total[0] == 0


@pytest.mark.parametrize("threads", [1, 2])
def test_endless_kernel_stops_when_aborted(threads: int) -> None:
    flag, abort = np.zeros(1, np.int32), ptx.Abort()
    compiled = kernel("control", "forever", (32, 1, 1))
    memory = ptx.Memory([flag])
    timer = threading.Timer(0.05, abort.set)
    timer.start()
    result = compiled.launch(memory, pack(compiled, memory, [flag]), (4, 1, 1), threads=threads, abort=abort)
    timer.join()
    assert result.status is ptx.Status.ABORTED


def test_set_abort_stops_a_launch_before_it_begins() -> None:
    x, y, abort = np.ones(32, np.float32), np.zeros(32, np.float32), ptx.Abort()
    abort.set()
    compiled = kernel("saxpy", "saxpy", (32, 1, 1))
    memory = ptx.Memory([x, y])
    arguments = pack(compiled, memory, [np.float32(1), x, y, np.int32(32)])
    assert compiled.launch(memory, arguments, (1, 1, 1), threads=1, abort=abort).status is ptx.Status.ABORTED
    assert not y.any()


def test_trap_instruction_and_partial_barrier_are_reported() -> None:
    out = np.zeros(32, np.int32)
    trap = launch(kernel("control", "stop", (32, 1, 1)), (1, 1, 1), out).trap
    assert trap is not None
    assert (trap.kind, trap.thread) == (ptx.TrapKind.TRAP_INSTRUCTION, (5, 0, 0))
    trap = launch(kernel("control", "half_barrier", (32, 1, 1)), (1, 1, 1), out).trap
    assert trap is not None
    assert trap.kind is ptx.TrapKind.PARTIAL_BARRIER


@pytest.mark.parametrize("guilty", [7, 99])
def test_guarded_trap_before_the_end_stops_who_meets_it(guilty: int) -> None:
    body = f"setp.eq.u32 %p, %t, {guilty}; @%p trap;"
    trap = launch(body_kernel(body, 1, ".reg .pred %p;"), (1, 1, 1), np.zeros(1, np.uint32)).trap
    assert (None if trap is None else trap.thread) == ((guilty, 0, 0) if guilty < 32 else None)


def test_division_by_zero_in_inactive_lanes_does_nothing() -> None:
    body = """mul.wide.u32 %o, %t, 4; add.s64 %a, %in0, %o; ld.global.s32 %v, [%a];
    setp.eq.s32 %p, %v, 0; @%p bra $end; div.s32 %v, -2147483648, %v; st.global.s32 [%a], %v;\n$end:"""
    values = np.array([0, -1, 3, 0] * 8, np.int32)
    assert (
        launch(body_kernel(body, 1, ".reg .b64 %a, %o; .reg .b32 %v; .reg .pred %p;"), (1, 1, 1), values).status
        is ptx.Status.OK
    )
    assert values.tolist() == [0, -(2**31), -715827882, 0] * 8


def test_two_jumps_of_an_affine_address_are_not_mistaken_for_a_range() -> None:
    """(zext(x + 3) - zext(x)) is 3 in the first and last lane and far away where only one of them has wrapped."""
    body = """add.u32 %i, %t, -18; add.u32 %j, %i, 3; cvt.u64.u32 %a, %j; cvt.u64.u32 %b, %i; sub.s64 %a, %a, %b;
    mul.wide.u32 %b, %t, 4; shl.b64 %a, %a, 2; add.s64 %a, %a, %b; add.s64 %a, %a, %in0; st.global.u32 [%a], %t;"""
    values = np.zeros(64, np.uint32)
    result = launch(body_kernel(body, 1, ".reg .b64 %a, %b; .reg .b32 %i, %j;"), (1, 1, 1), values)
    assert result.trap is not None
    assert result.trap.thread == (15, 0, 0)
