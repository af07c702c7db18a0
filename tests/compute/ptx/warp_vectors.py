"""What lanes, warps and blocks do together, as conformance vectors: shfl, vote, match, activemask, barriers, special
registers, address conversions, packing moves, guards and indexed branches.

Nothing is asked that PTX leaves open: no lane reads one that is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from tests.compute.ptx.vector import Array, Vector, kernel_text, vector

LANES = 32
BLOCK = 96
WIDTHS = (1, 2, 4, 8, 16, 32)
_REGISTERS = """.reg .b64 %a, %o, %out, %x<4>; .reg .b32 %w<9>, %lane; .reg .b16 %h<4>; .reg .pred %p, %q, %r;
.reg .f32 %f<2>; .reg .f64 %g<2>;"""
_START = """mov.u32 %lane, %laneid; mul.wide.u32 %o, %t, 4; add.s64 %a, %in0, %o; add.s64 %out, %in1, %o;
ld.global.u32 %w0, [%a];"""
SPECIAL = (
    *(f"{name}.{axis}" for name in ("tid", "ntid", "ctaid", "nctaid") for axis in "xyz"),
    *("laneid", "lanemask_eq", "lanemask_lt", "lanemask_le", "lanemask_gt", "lanemask_ge"),
)


def vectors() -> Iterator[Vector]:
    for mode in ("up", "down", "bfly", "idx"):
        yield _shuffles(mode)
    yield _shuffles_of_some()
    yield _votes(0xFFFFFFFF)
    yield _votes(0x0FF0A5C3)
    yield _matches("b32")
    yield _matches("b64")
    yield _activemask()
    yield _barriers()
    yield _named_barriers()
    yield _special()
    yield _conversions()
    yield _moves()
    yield _control()


def _per_warp(values: Array, function: Callable[[list[int]], Sequence[int]]) -> list[int]:
    """`function` of the lanes of each warp."""
    return [int(result) for row in values.reshape(-1, LANES).tolist() for result in function(row)]


def _vector(
    name: str, body: Sequence[str], values: Array, rows: Sequence[Sequence[int]], cases: Sequence[str]
) -> Vector:
    """One word per thread in, a row of words per case out; blocks of len(values) threads."""
    after = np.array(rows, np.uint32)
    text = kernel_text("\n".join([_START, *body]), 2, _REGISTERS)
    buffers = [(values, values), (np.zeros_like(after), after)]
    return vector(name, text, buffers, cases, block=(len(values), 1, 1))


def _stored(row: int, register: str, threads: int) -> str:
    return f"st.global.u32 [%out+{4 * threads * row}], {register};"


def _words(threads: int, seed: int) -> Array:
    return np.random.default_rng(seed).integers(0, 1 << 32, threads, np.uint32)


# Warps ---------------------------------------------------------------------------------------------------------------


def source_lane(mode: str, lane: int, step: int, control: int) -> tuple[int, bool]:
    """PTX ISA 9.7.9.6: the lane that is read, and the predicate."""
    step, clamp, segment = step & 31, control & 31, control >> 8 & 31
    last = (lane & segment) | (clamp & ~segment & 31)
    first = lane & segment
    if mode == "up":
        source, is_inside = lane - step, lane - step >= last
    elif mode == "down":
        source, is_inside = lane + step, lane + step <= last
    elif mode == "bfly":
        source, is_inside = lane ^ step, lane ^ step <= last
    else:
        source = first | (step & ~segment & 31)
        is_inside = source <= last
    return (source if is_inside else lane), is_inside


def _shuffles(mode: str) -> Vector:
    """Every width; steps that agree and that differ between lanes."""
    values = _words(LANES, 1)
    body, rows, cases = [], [], []
    for width in WIDTHS:
        control = (LANES - width) << 8 | (0 if mode == "up" else 31)
        for step in (*range(0, 32, 3), 33, "differing"):
            number = "%w2" if step == "differing" else str(step)
            row = len(rows)
            body.append("shr.u32 %w2, %w0, 7;")
            body.append(f"shfl.sync.{mode}.b32 %w1|%p, %w0, {number}, {control}, -1; selp.u32 %w3, 1, 0, %p;")
            body.append(f"{_stored(row, '%w1', LANES)} {_stored(row + 1, '%w3', LANES)}")
            steps = [int(v) >> 7 if step == "differing" else int(step) for v in values]
            found = [source_lane(mode, lane, steps[lane], control) for lane in range(LANES)]
            rows += [[int(values[source]) for source, _ in found], [int(inside) for _, inside in found]]
            cases.append(f"shfl.sync.{mode}.b32 width {width} step {step}")
    return _vector(f"shfl-{mode}", body, values, rows, cases)


def _shuffles_of_some() -> Vector:
    """Odd lanes alone, behind a branch."""
    values = _words(LANES, 2)
    body = ["and.b32 %w2, %lane, 1; setp.eq.u32 %q, %w2, 0; mov.u32 %w1, 5; mov.u32 %w3, 5; @%q bra $even;"]
    body += ["xor.b32 %w4, %lane, 6; shfl.sync.idx.b32 %w1, %w0, %w4, 31, 0xAAAAAAAA;"]
    body += ["shfl.sync.bfly.b32 %w3, %w0, 2, 31, 0xAAAAAAAA; $even:"]
    body += [_stored(0, "%w1", LANES), _stored(1, "%w3", LANES)]
    rows = [[int(values[lane ^ n]) if lane & 1 else 5 for lane in range(LANES)] for n in (6, 2)]
    return _vector("shfl-odd-lanes", body, values, rows, ["shfl.sync.idx of some", "shfl.sync.bfly of some"])


def _votes(members: int) -> Vector:
    """Words with a low bit that is mostly set, all set, never set; only `members` vote, the others pass by."""
    threads = 4 * LANES
    values = _words(threads, members)
    values[LANES : 2 * LANES] |= 1
    values[2 * LANES : 3 * LANES] &= ~np.uint32(1)
    inside = [members >> lane & 1 for lane in range(LANES)]
    body = [f"shl.b32 %w1, 1, %lane; and.b32 %w1, %w1, {members:#x}; setp.eq.u32 %q, %w1, 0; and.b32 %w2, %w0, 1;"]
    body += ["setp.ne.u32 %p, %w2, 0; mov.u32 %w3, 9; mov.u32 %w4, 9; mov.u32 %w5, 9; mov.u32 %w6, 9; @%q bra $out;"]
    for register, mode in (("%w3", "all"), ("%w4", "any"), ("%w5", "uni")):
        body.append(f"vote.sync.{mode}.pred %r, %p, {members:#x}; selp.u32 {register}, 1, 0, %r;")
    body.append(f"vote.sync.ballot.b32 %w6, %p, {members:#x}; $out:")
    body += [_stored(row, f"%w{row + 3}", threads) for row in range(4)]

    def outcome(function: Callable[[list[int]], int]) -> list[int]:
        def warp(words: list[int]) -> list[int]:
            result = function([word & 1 for word, here in zip(words, inside, strict=True) if here])
            return [result if here else 9 for here in inside]

        return _per_warp(values, warp)

    def ballot(words: list[int]) -> list[int]:
        lanes = sum((word & 1) << lane for lane, word in enumerate(words)) & members
        return [lanes if here else 9 for here in inside]

    rows = [outcome(lambda bits: int(all(bits))), outcome(lambda bits: int(any(bits)))]
    rows += [outcome(lambda bits: int(len(set(bits)) == 1)), _per_warp(values, ballot)]
    cases = [f"vote.sync.{mode} of {members:#x}" for mode in ("all", "any", "uni", "ballot")]
    return _vector(f"vote-{members:08x}", body, values, rows, cases)


def _matches(kind: str) -> Vector:
    """Few different words, one warp with only one."""
    threads = 3 * LANES
    values = _words(threads, 4) & np.uint32(0x80000003)
    values[LANES : 2 * LANES] = 0xDEADBEEF
    register = "%w0" if kind == "b32" else "%x0"
    body = ["cvt.u64.u32 %x0, %w0; shl.b64 %x1, %x0, 32; or.b64 %x0, %x0, %x1;"]
    body += [f"match.any.sync.{kind} %w1, {register}, -1; match.all.sync.{kind} %w2|%p, {register}, -1;"]
    body += ["selp.u32 %w3, 1, 0, %p;", *(_stored(row, f"%w{row + 1}", threads) for row in range(3))]

    def same(words: list[int]) -> list[int]:
        return [sum(1 << lane for lane, other in enumerate(words) if other == word) for word in words]

    def everybody(words: list[int]) -> list[int]:
        return [0xFFFFFFFF if len(set(words)) == 1 else 0] * LANES

    agreed = _per_warp(values, everybody)
    rows = [_per_warp(values, same), agreed, [int(mask != 0) for mask in agreed]]
    cases = [f"match.any.sync.{kind}", f"match.all.sync.{kind}"]
    return _vector(f"match-{kind}", body, values, rows, cases)


def _activemask() -> Vector:
    """Where no lane has left yet; a last warp of 16 threads."""
    threads = LANES + 16
    values = _words(threads, 5)
    body = ["activemask.b32 %w1;", _stored(0, "%w1", threads)]
    rows = [[0xFFFFFFFF] * LANES + [0xFFFF] * 16]
    return _vector("activemask", body, values, rows, ["activemask.b32"])


# Blocks --------------------------------------------------------------------------------------------------------------


def _barriers() -> Vector:
    """bar.sync between a store and another thread's load; bar.red of three kinds, under both names."""
    values = _words(BLOCK, 6)
    body = ["mul.wide.u32 %o, %t, 4; mov.u64 %x0, cells; add.s64 %x1, %x0, %o; st.shared.u32 [%x1], %w0; bar.sync 0;"]
    body += [f"mov.u32 %w1, {BLOCK - 1}; sub.u32 %w1, %w1, %t; mul.wide.u32 %o, %w1, 4; add.s64 %x1, %x0, %o;"]
    body += ["ld.shared.u32 %w1, [%x1]; barrier.sync 1; and.b32 %w2, %w0, 1; setp.ne.u32 %p, %w2, 0;"]
    body += ["bar.red.popc.u32 %w2, 0, %p; barrier.red.popc.aligned.u32 %w3, 2, !%p; setp.lt.u32 %q, %t, 95;"]
    for register, mode, operand in (
        ("%w4", "and", "%p"),
        ("%w5", "or", "%p"),
        ("%w6", "and", "%q"),
        ("%w7", "or", "!%q"),
    ):
        body.append(f"bar.red.{mode}.pred %r, 3, {operand}; selp.u32 {register}, 1, 0, %r;")
    body.append("setp.lt.u32 %q, %t, 96; barrier.red.and.pred %r, 4, %q; selp.u32 %w8, 1, 0, %r;")
    body += ["membar.cta; membar.gl; membar.sys; fence.sc.gpu; fence.acq_rel.cta;"]
    body += [_stored(row, f"%w{row + 1}", BLOCK) for row in range(8)]
    odd = int((values & 1).sum())
    counts = [odd, BLOCK - odd, 0, 1, 0, 1, 1]
    rows = [values[::-1].tolist(), *([count] * BLOCK for count in counts)]
    text = kernel_text("\n".join([_START, *body]), 2, f"{_REGISTERS} .shared .align 4 .b8 cells[{4 * BLOCK}];")
    after = np.array(rows, np.uint32)
    cases = ["bar.sync", "barrier.sync", "bar.red.popc.u32", "barrier.red.popc.aligned.u32", "bar.red.and.pred"]
    cases += ["bar.red.or.pred", "barrier.red.and.pred", *("membar.cta", "membar.gl", "membar.sys", "fence.sc.gpu")]
    return vector("bar", text, [(values, values), (np.zeros_like(after), after)], cases, block=(BLOCK, 1, 1))


def _named_barriers() -> Vector:
    """Warp 0 writes and arrives, warp 1 waits and reads, warp 2 has nothing to do with it."""
    values = _words(BLOCK, 7)
    body = ["and.b32 %w1, %t, 31; mul.wide.u32 %o, %w1, 4; mov.u64 %x0, cells; add.s64 %x0, %x0, %o; mov.u32 %w2, 0;"]
    body += ["setp.ge.u32 %p, %t, 64; @%p bra $done; setp.ge.u32 %p, %t, 32; @%p bra $reader;"]
    body += ["st.shared.u32 [%x0], %w0; membar.cta; bar.arrive 5, 64; bra.uni $done;"]
    body += ["$reader: bar.sync 5, 64; ld.shared.u32 %w2, [%x0]; bar.warp.sync -1; $done:", _stored(0, "%w2", BLOCK)]
    rows = [[0] * LANES + values[:LANES].tolist() + [0] * LANES]
    text = kernel_text("\n".join([_START, *body]), 2, f"{_REGISTERS} .shared .align 4 .b8 cells[{4 * LANES}];")
    after = np.array(rows, np.uint32)
    cases = ["bar.arrive", "bar.sync with a count", "bar.warp.sync"]
    return vector("bar-named", text, [(values, values), (np.zeros_like(after), after)], cases, block=(BLOCK, 1, 1))


def _special() -> Vector:
    """A grid and a block of three dimensions."""
    grid, block = (3, 2, 2), (5, 4, 3)
    size, blocks = block[0] * block[1] * block[2], grid[0] * grid[1] * grid[2]
    body = ["mov.u32 %w1, %tid.x; mov.u32 %w2, %tid.y; mov.u32 %w3, %tid.z; mad.lo.u32 %w2, %w3, 4, %w2;"]
    body += ["mad.lo.u32 %w1, %w2, 5, %w1; mov.u32 %w2, %ctaid.y; mov.u32 %w3, %ctaid.z; mad.lo.u32 %w2, %w3, 2, %w2;"]
    body += ["mov.u32 %w3, %ctaid.x; mad.lo.u32 %w2, %w2, 3, %w3; mad.lo.u32 %w1, %w2, 60, %w1;"]
    body += ["mul.wide.u32 %o, %w1, 4; add.s64 %out, %in0, %o;"]
    for row, name in enumerate(SPECIAL):
        body.append(f"mov.u32 %w0, %{name}; st.global.u32 [%out+{4 * size * blocks * row}], %w0;")
    after = np.zeros((len(SPECIAL), blocks, size), np.uint32)
    for number in range(blocks):
        ctaid = (number % 3, number // 3 % 2, number // 6)
        for thread in range(size):
            tid = (thread % 5, thread // 5 % 4, thread // 20)
            bit = 1 << thread % LANES
            masks = (bit, bit - 1, 2 * bit - 1, ~(2 * bit - 1), ~(bit - 1))
            values = (*tid, *block, *ctaid, *grid, thread % LANES, *(mask & 0xFFFFFFFF for mask in masks))
            after[:, number, thread] = values
    text = kernel_text("\n".join(body), 1, _REGISTERS)
    cases = [f"mov.u32 of %{name}" for name in SPECIAL]
    return vector("special-registers", text, [(np.zeros_like(after), after)], cases, grid=grid, block=block)


# Addresses, moves, control -------------------------------------------------------------------------------------------


def _conversions() -> Vector:
    """To generic and back is nothing; a generic address reads what a plain one wrote."""
    values = _words(LANES, 9)
    body = []
    for row, space in enumerate(("shared", "local", "global")):
        body.append(f"mul.wide.u32 %o, %t, 4; mov.u64 %x0, {space}_cells; add.s64 %x0, %x0, %o;")
        body.append(f"add.u32 %w1, %w0, {row}; st.{space}.u32 [%x0+4], %w1; cvta.{space}.u64 %x1, %x0;")
        body.append(f"ld.u32 %w2, [%x1+4]; cvta.to.{space}.u64 %x2, %x1; sub.s64 %x3, %x2, %x0; cvt.u32.u64 %w3, %x3;")
        body.append(f"{_stored(2 * row, '%w2', LANES)} {_stored(2 * row + 1, '%w3', LANES)}")
    rows: list[list[int]] = []
    for row in range(3):
        rows += [((values.astype(np.uint64) + row) & 0xFFFFFFFF).tolist(), [0] * LANES]
    size = 4 * LANES + 4
    declared = f"{_REGISTERS} .shared .align 4 .b8 shared_cells[{size}]; .local .align 4 .b8 local_cells[{size}];"
    extra = f".global .align 4 .b8 global_cells[{size}];\n"
    after = np.array(rows, np.uint32)
    cases = [f"cvta{to}.{space}.u64" for space in ("shared", "local", "global") for to in ("", ".to")]
    text = kernel_text("\n".join([_START, *body]), 2, declared, extra=extra)
    return vector("cvta", text, [(values, values), (np.zeros_like(after), after)], cases)


def _moves() -> Vector:
    """Packing and unpacking, predicates, bits of floats."""
    values = _words(LANES, 10)
    body = ["mov.b32 {%h0, %h1}, %w0; mov.b32 %w1, {%h1, %h0}; mov.b64 %x0, {%w0, %w1}; mov.b64 {%w2, %w3}, %x0;"]
    body += ["mov.b64 %x1, {%h0, %h1, %h1, %h0}; mov.b64 {%h0, %h1, %h2, %h3}, %x1; mov.b32 %w4, {%h3, %h2};"]
    body += ["mov.b64 {_, %w5}, %x1; setp.gt.s32 %p, %w0, 0; mov.pred %q, %p; selp.b32 %w6, 1, 2, %q;"]
    body += [
        "mov.b32 %f0, %w0; mov.f32 %f1, %f0; mov.b32 %w7, %f1; mov.b64 %g0, %x0; mov.f64 %g1, %g0; mov.b64 %x2, %g1;"
    ]
    body += ["cvt.u32.u64 %w8, %x2;", *(_stored(row, f"%w{row + 1}", LANES) for row in range(8))]
    rows: list[list[int]] = [[] for _ in range(8)]
    for word in values.tolist():
        low, high = word & 0xFFFF, word >> 16
        swapped = low << 16 | high
        is_positive = 0 < word < 1 << 31
        results = (swapped, word, swapped, high << 16 | low, low << 16 | high, 1 if is_positive else 2, word, word)
        for row, result in zip(rows, results, strict=True):
            row.append(result)
    cases = [
        "mov.b32 pack",
        "mov.b32 unpack",
        "mov.b64 pack 2",
        "mov.b64 unpack 2",
        "mov.b64 pack 4",
        "mov.b64 unpack 4",
    ]
    return _vector("mov", body, values, rows, [*cases, "mov.b64 with _", "mov.pred", "mov.f32", "mov.f64"])


def _control() -> Vector:
    """Guards, both ways; a branch by index; a loop whose lanes leave at different turns; exit and ret."""
    values = _words(LANES, 11)
    body = ["setp.lt.s32 %p, %w0, 0; mov.u32 %w1, 1; @%p mov.u32 %w1, 2; @!%p add.u32 %w1, %w1, 4;"]
    body += ["and.b32 %w2, %w0, 3; ways: .branchtargets $a, $b, $c, $d; brx.idx %w2, ways;"]
    for number, label in enumerate("abcd"):
        body.append(f"${label}: mov.u32 %w3, {10 + number}; bra $met;")
    body += ["$met: mov.u32 %w4, 0; mov.u32 %w5, 0; $turn: add.u32 %w4, %w4, %w5; add.u32 %w5, %w5, 1;"]
    body += ["shr.u32 %w6, %w0, 27; setp.le.u32 %p, %w5, %w6; @%p bra $turn;"]
    body += [_stored(0, "%w1", LANES), _stored(1, "%w3", LANES), _stored(2, "%w4", LANES)]
    body += [f"mov.u32 %w7, 1; setp.lt.u32 %p, %t, 7; @%p exit; {_stored(3, '%w7', LANES)}"]
    body += [f"setp.gt.u32 %p, %t, 20; @%p ret; {_stored(4, '%w7', LANES)}"]
    words = values.tolist()
    rows = [[2 if word >> 31 else 5 for word in words], [10 + (word & 3) for word in words]]
    rows.append([sum(range((word >> 27) + 1)) for word in words])
    rows += [[int(lane >= 7) for lane in range(LANES)], [int(7 <= lane <= 20) for lane in range(LANES)]]
    return _vector("control", body, values, rows, ["guards", "brx.idx", "bra", "exit", "ret"])
