"""The access log against every access that the interpreter makes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from p2pcompute.compute import ptx
from p2pcompute.compute.ptx import accesslog, lower, touch
from p2pcompute.compute.ptx.accesslog import MODULE_GLOBALS, PAGE_BYTES, BlockAccess, Logged
from p2pcompute.compute.ptx.interpret.memory import Watch
from p2pcompute.errors import PtxError, UsageError
from tests.compute.ptx.interpret.checking import arrays_of, body, checked, copied, packed
from tests.compute.ptx.running import module

Index = tuple[int, int, int]
Bytes = dict[tuple[int, str, str], set[int]]
"""(block, `load` or `store`, buffer) -> byte numbers."""


def logged(
    source: ptx.Module, entry: str, grid: Index, block: Index, *arguments: Any, threads: int = 2, **more: Any
) -> Logged:
    compiled = ptx.compile_entry(source, entry, block, is_logged=True)
    mine = [copied(a) for a in arguments]
    memory = ptx.Memory(arrays_of(mine))
    parameters = packed(compiled.entry, memory, mine)
    return accesslog.log_accesses(compiled, memory, parameters, grid, threads=threads, abort=ptx.Abort(), **more)


def _flat(blocks: Mapping[int, BlockAccess]) -> Bytes:
    found: Bytes = {}
    for number, access in blocks.items():
        for kind, part in (("load", access.loads), ("store", access.stores)):
            for buffer, spans in part.items():
                name = "global variables" if buffer == MODULE_GLOBALS else f"b{buffer}"
                assert (spans[:, 0] < spans[:, 1]).all()
                assert (spans[1:, 0] > spans[:-1, 1]).all()
                found[number, kind, name] = {int(b) for start, end in spans for b in range(start, end)}
    return found


def _brute_force(
    monkeypatch: pytest.MonkeyPatch, source: ptx.Module, entry: str, grid: Index, block: Index, *arguments: Any
) -> Bytes:
    seen: Bytes = defaultdict(set)
    enter = Watch._enter

    def watched(self: Watch, thread: Any, access: Any, segment: Any, place: int, *, is_same: bool) -> None:
        if segment.name.startswith(("b", "global")):
            for kind, happens in (("load", access.reads), ("store", access.writes)):
                if happens:
                    seen[thread.block.linear, kind, segment.name].update(range(place, place + access.size))
        enter(self, thread, access, segment, place, is_same=is_same)

    monkeypatch.setattr(Watch, "_enter", watched)
    checked(source, entry, grid, block, *[copied(a) for a in arguments])
    return dict(seen)


F32 = np.arange(300, dtype=np.float32)
VECTORS = """
    .reg .b64 %a<4>; .reg .f32 %f<4>; .reg .pred %p;
    mad.lo.u32 %x, %c, 32, %t;
    mad.wide.u32 %a1, %x, 16, %in0; mad.wide.u32 %a2, %x, 8, %in1;
    ld.global.v4.f32 {%f0, %f1, %f2, %f3}, [%a1];
    setp.gt.u32 %p, %t, 20;
    @%p st.global.v2.f32 [%a2], {%f1, %f3};
"""
DIVERGENT = """
    .reg .b64 %a; .reg .b32 %n; .reg .pred %p, %q;
    mov.u32 %n, 0;
    and.b32 %x, %t, 7;
    setp.eq.u32 %q, %x, 3; @%q bra SKIP;
LOOP:
    mad.lo.u32 %y, %n, 40, %t; mad.lo.u32 %y, %c, 3, %y;
    mad.wide.u32 %a, %y, 1, %in0;
    ld.global.u8 %y, [%a];
    add.u32 %n, %n, 1;
    setp.le.u32 %p, %n, %x; @%p bra LOOP;
    mad.wide.u32 %a, %x, 2, %in1;
    st.global.u16 [%a], %y;
SKIP:
"""
ATOMIC = """
    .reg .b64 %a; .reg .b32 %o;
    and.b32 %x, %t, 3; add.u32 %x, %x, %c; mad.wide.u32 %a, %x, 4, %in0;
    atom.global.add.u32 %o, [%a], 1;
    red.global.max.u32 [%a+64], %t;
    atom.global.cas.b32 %o, [%a+128], 77, 5;
"""
GENERIC = """
    .shared .align 4 .b8 own[128]; .reg .b64 %a, %b; .reg .pred %p;
    mov.u64 %a, own; cvta.shared.u64 %a, %a;
    mad.wide.u32 %a, %t, 4, %a; mad.wide.u32 %b, %t, 8, %in0;
    setp.lt.u32 %p, %t, 11; selp.b64 %a, %a, %b, %p;
    ld.u32 %x, [%a]; st.u32 [%a], %c;
"""
UNIFORM = """
    .reg .b64 %a;
    mad.wide.u32 %a, %c, 4, %in0;
    ld.global.u32 %x, [%a]; ld.global.u32 %y, [%in1+12]; st.global.u32 [%a+40], %x;
"""
CASES = {
    "vector accesses under a mask": (VECTORS, 2, [np.zeros(4 * 96, np.float32), np.zeros(2 * 96, np.float32)]),
    "lanes that leave a loop one by one": (DIVERGENT, 2, [np.zeros(600, np.uint8), np.zeros(16, np.uint16)]),
    "atomics": (ATOMIC, 1, [np.zeros(64, np.uint32)]),
    "generic addresses": (GENERIC, 1, [np.zeros(64, np.uint32)]),
    "uniform addresses": (UNIFORM, 2, [np.zeros(64, np.uint32), np.zeros(64, np.uint32)]),
}


@pytest.mark.parametrize("name", CASES)
def test_every_byte_of_every_block_is_logged(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    text, parameters, arguments = CASES[name]
    source = body(text, parameters, registers=".reg .b32 %x, %y;")
    mine = _flat(logged(source, "k", (3, 1, 1), (32, 1, 1), *arguments).blocks)
    assert mine == _brute_force(monkeypatch, source, "k", (3, 1, 1), (32, 1, 1), *arguments)


NVRTC: dict[str, tuple[str, Index, Index, list[Any]]] = {
    "saxpy": ("saxpy", (5, 1, 1), (64, 1, 1), [np.float32(2), F32.copy(), F32.copy(), np.int32(300)]),
    "spaces": ("globals", (2, 1, 1), (40, 1, 1), [np.zeros(64, np.int32)]),
    "mandelbrot": (
        "mandelbrot",
        (3, 2, 1),
        (8, 4, 1),
        [np.zeros(20 * 7, np.int32), np.int32(20), np.int32(7), *np.float32([-2, -1.2, 0.1, 0.3]), np.int32(5)],
    ),
}


@pytest.mark.parametrize("name", NVRTC)
def test_compiled_kernels_are_logged_to_the_byte(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    entry, grid, block, arguments = NVRTC[name]
    mine = _flat(logged(module(name), entry, grid, block, *arguments).blocks)
    assert mine == _brute_force(monkeypatch, module(name), entry, grid, block, *arguments)


def test_intervals_reach_across_pages_of_the_map() -> None:
    source = body(
        "mad.lo.u32 %x, %c, 1024, %t; mad.wide.u32 %a, %x, 16, %in0; st.global.v2.u64 [%a], {%in0, %in0};",
        registers=".reg .b32 %x; .reg .b64 %a;",
    )
    found = logged(source, "k", (2, 1, 1), (1024, 1, 1), np.zeros(4096, np.uint64)).blocks
    assert [found[n].stores[0].tolist() for n in (0, 1)] == [[[0, 16384]], [[16384, 32768]]]


def test_listed_blocks_alone_are_logged() -> None:
    source = body("mad.wide.u32 %a, %c, 4, %in0; st.global.u32 [%a], %t;", registers=".reg .b64 %a;")
    found = logged(source, "k", (100, 1, 1), (1, 1, 1), np.zeros(100, np.uint32), blocks=[70, 3]).blocks
    assert {n: a.stores[0].tolist() for n, a in found.items()} == {3: [[12, 16]], 70: [[280, 284]]}


def test_a_trap_is_the_result_and_its_access_is_not_logged() -> None:
    source = body("st.global.u32 [%in0], %t; st.global.u32 [%in0+4], %t;")
    found = logged(source, "k", (1, 1, 1), (1, 1, 1), np.zeros(1, np.uint32), threads=1)
    assert found.result.status is ptx.Status.TRAP
    assert {buffer: spans.tolist() for buffer, spans in found.blocks[0].stores.items()} == {0: [[0, 4]]}


@pytest.mark.parametrize("name", CASES)
def test_loads_by_page_are_the_pages_of_loads(name: str) -> None:
    text, parameters, arguments = CASES[name]
    source = body(text, parameters, registers=".reg .b32 %x, %y;")
    wide = [np.resize(each, 5000) for each in arguments]
    exact = logged(source, "k", (3, 1, 1), (32, 1, 1), *wide).blocks
    pages = logged(source, "k", (3, 1, 1), (32, 1, 1), *wide, by_page=True).blocks
    assert _flat(exact) == {**_flat(pages), **{key: n for key, n in _flat(exact).items() if key[1] == "load"}}
    for (block, kind, buffer), found in _flat(pages).items():
        if kind == "load":
            size = wide[int(buffer[1:])].nbytes
            loaded = {n // PAGE_BYTES for n in _flat(exact)[block, kind, buffer]}
            assert found == {n for n in range(size) if n // PAGE_BYTES in loaded}


def test_pages_that_follow_each_other_are_one_load() -> None:
    text = "mad.wide.u32 %a, %t, 2048, %in0; ld.global.u32 %x, [%a+4096];"
    source = body(text, registers=".reg .b64 %a; .reg .b32 %x;")
    found = logged(source, "k", (1, 1, 1), (5, 1, 1), np.zeros(4000, np.uint32), by_page=True).blocks[0].loads[0]
    assert found.tolist() == [[4096, 16000]]


def test_plain_kernels_are_not_logged() -> None:
    compiled = ptx.compile_entry(body("st.global.u32 [%in0], %t;"), "k", (1, 1, 1))
    with pytest.raises(UsageError, match="not compiled for logging"):
        accesslog.log_accesses(compiled, ptx.Memory([64]), bytes(8), (1, 1, 1), threads=1, abort=ptx.Abort())


def test_plain_code_holds_nothing_of_the_log() -> None:
    source = ptx.parse(ptx.canonicalise(body("st.global.u32 [%in0], %t;")))
    plain, watched = (lower.lower(source, source.entries["k"], (32, 1, 1), is_logged=on).warp for on in (False, True))
    assert "touch" in watched
    assert "touch" not in plain


def test_too_many_intervals_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accesslog, "INTERVALS_MAX", 10)
    source = body("mad.wide.u32 %a, %t, 8, %in0; st.global.u32 [%a], %t;", registers=".reg .b64 %a;")
    with pytest.raises(UsageError, match="more than 10 intervals"):
        logged(source, "k", (1, 1, 1), (32, 1, 1), np.zeros(64, np.uint32))


def test_too_many_blocks_are_refused() -> None:
    source = body("ret;")
    with pytest.raises(UsageError, match="at most"):
        logged(source, "k", (1 << 20, 1, 1), (1, 1, 1), np.zeros(1, np.uint32))


def test_instructions_of_unknown_effect_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(touch, "_KNOWN", frozenset({"mov", "ret"}))
    with pytest.raises(PtxError, match=r"line \d+: the accesses of 'add.s32' cannot be logged"):
        logged(body("add.s32 %t, %t, 1;"), "k", (1, 1, 1), (1, 1, 1), np.zeros(1, np.uint32))
