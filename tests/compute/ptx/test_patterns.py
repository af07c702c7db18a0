"""Lanes that differ by constants: what the analysis says of them, and the accesses made of it."""

from __future__ import annotations

import operator
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pcompute.compute import ptx
from p2pcompute.compute.ptx import patterns
from p2pcompute.compute.ptx.ir import Instruction
from tests.compute.ptx.running import body_kernel, launch

REGISTERS = ".reg .b64 %a, %b, %o; .reg .b32 %i, %j, %v, %w; .reg .pred %p;"
WORD = (1 << 32) - 1


def _instruction(opcode: str, kind: str = "b32") -> Instruction:
    module = ptx.parse(
        ".version 8.4\n.target sm_75\n.address_size 64\n.visible .entry k() { .reg .b32 %r<4>; "
        + {"brev": "brev.b32 %r0, %r1;", "bfi": "bfi.b32 %r0, %r1, %r2, 3, 5;"}.get(
            opcode, f"{opcode}.{kind} %r0, %r1, %r2;"
        )
        + " ret; }"
    )
    return next(iter(module.entries["k"].instructions()))


BINARY = {
    "add.s32": lambda x, y: x + y,
    "sub.s32": lambda x, y: x - y,
    "mul.lo.s32": lambda x, y: x * y,
    "and.b32": lambda x, y: x & y,
    "or.b32": lambda x, y: x | y,
    "xor.b32": lambda x, y: x ^ y,
    "shl.b32": lambda x, y: x << (y % 8),
    "shr.u32": lambda x, y: x >> (y % 8),
}


def _bfi(field: int, base: int) -> int:
    hole = 31 << 3
    return field << 3 & hole | base & ~hole


@given(st.randoms(use_true_random=False), st.lists(st.sampled_from([*BINARY, "brev", "bfi"]), min_size=1, max_size=8))
def test_lanes_are_the_first_plus_the_differences_whatever_the_block(rng: random.Random, names: list[str]) -> None:
    bases = [rng.randrange(1 << 20) * 32 for _ in range(4)]
    values = [[base + lane & WORD for lane in range(32)] for base in bases]
    known = patterns.consecutive(31, 32)
    for name in names:
        opcode, _, kind = name.partition(".")
        number = rng.choice([1, 3, 4, 7, 31, 64, 127, rng.randrange(1 << 12)])
        other = patterns.constant(number % 8 if opcode in ("shl", "shr") else number, 32)
        if opcode == "brev":
            sources, values = [known], [[int(f"{v:032b}"[::-1], 2) for v in row] for row in values]
        elif opcode == "bfi":
            sources = [known, other, patterns.constant(3, 32), patterns.constant(5, 32)]
            values = [[_bfi(v, number) for v in row] for row in values]
        else:
            sources = [known, other]
            values = [[BINARY[name](v, number) & WORD for v in row] for row in values]
        lanes = patterns.transfer(_instruction(opcode, kind), sources, may_widen=True)
        if lanes is None:
            return
        for row in values:
            assert [(v - row[0]) & WORD for v in row] == [d & WORD for d in lanes.delta]
            assert [v & lanes.mask & WORD for v in row] == [b & WORD for b in lanes.bits]
        known = lanes


INDICES = {
    "xor": ("xor.b32 %i, %t, 5;", lambda t: t ^ 5),
    "even and odd": ("shl.b32 %i, %t, 1; and.b32 %i, %i, 62; shr.u32 %j, %t, 5; shl.b32 %j, %j, 6;", None),
    "twice": ("shl.b32 %i, %t, 1;", lambda t: 2 * t),
    "groups": ("and.b32 %j, %t, 3; sub.s32 %i, %t, %j; shl.b32 %i, %i, 1; add.s32 %i, %i, %j;", None),
    "reversed bits": ("brev.b32 %i, %t; shr.u32 %i, %i, 26;", lambda t: int(f"{t:06b}"[::-1], 2)),
    "backwards": ("sub.s32 %i, 63, %t;", lambda t: 63 - t),
}


def _wanted(name: str) -> list[int]:
    function = INDICES[name][1]
    if function is not None:
        return [function(t) for t in range(64)]
    if name == "groups":
        return [((t - t % 4) << 1) + t % 4 for t in range(64)]
    return [2 * t & 62 for t in range(64)]


@pytest.mark.parametrize("name", INDICES)
def test_loads_at_constant_distances(name: str) -> None:
    body = f"""{INDICES[name][0]} mul.wide.u32 %o, %i, 4; add.s64 %a, %in0, %o; ld.global.u32 %v, [%a];
    mul.wide.u32 %o, %t, 4; add.s64 %b, %in1, %o; st.global.u32 [%b], %v;"""
    data, out = np.arange(1000, 1128, dtype=np.uint32), np.zeros(64, np.uint32)
    assert launch(body_kernel(body, 2, REGISTERS, 64), (1, 1, 1), data, out).status is ptx.Status.OK
    assert out.tolist() == [1000 + i for i in _wanted(name)]


@pytest.mark.parametrize("name", INDICES)
@pytest.mark.parametrize("bound", [64, 41])
def test_stores_at_constant_distances_by_all_and_by_some_lanes(name: str, bound: int) -> None:
    body = f"""setp.ge.u32 %p, %t, {bound}; @%p bra $end;
    {INDICES[name][0]} mul.wide.u32 %o, %i, 4; add.s64 %a, %in0, %o; st.global.u32 [%a], %t;
    $end:"""
    out = np.full(128, 999, np.uint32)
    assert launch(body_kernel(body, 1, REGISTERS, 64), (1, 1, 1), out).status is ptx.Status.OK
    wanted = np.full(128, 999, np.uint32)
    for thread, place in list(enumerate(_wanted(name)))[:bound]:
        wanted[place] = thread
    assert out.tolist() == wanted.tolist()


@pytest.mark.parametrize("step", [8, 16])
def test_pairs_are_stored_and_loaded_whole(step: int) -> None:
    body = f"""mul.wide.u32 %o, %t, {step}; add.s64 %a, %in0, %o; ld.global.v2.u32 {{%v, %w}}, [%a];
    add.s64 %b, %in1, %o; st.global.v2.u32 [%b], {{%w, %v}};"""
    data, out = np.arange(64 * step // 4, dtype=np.uint32), np.full(64 * step // 4, 7, np.uint32)
    assert launch(body_kernel(body, 2, REGISTERS, 64), (1, 1, 1), data, out).status is ptx.Status.OK
    wanted = np.full_like(out, 7).reshape(64, -1)
    wanted[:, 0], wanted[:, 1] = data.reshape(64, -1)[:, 1], data.reshape(64, -1)[:, 0]
    assert out.tolist() == wanted.ravel().tolist()


def test_a_pattern_that_leaves_the_buffer_traps_in_its_lane() -> None:
    body = "xor.b32 %i, %t, 5; mul.wide.u32 %o, %i, 4; add.s64 %a, %in0, %o; st.global.u32 [%a], %t;"
    result = launch(body_kernel(body, 1, REGISTERS, 64), (1, 1, 1), np.zeros(62, np.uint32))
    assert result.trap is not None
    assert result.trap.thread == (min(63 ^ 5, 62 ^ 5), 0, 0)


@pytest.mark.parametrize("kind", ["u32", "s32"])
def test_comparisons_with_the_edge_of_a_warp(kind: str) -> None:
    """`tid < 32` and its like, which a warp decides as a whole, and bounds beside the edges, which it does not."""
    bounds = (-32, -1, 0, 1, 31, 32, 33, 63, 64, 95, 96)
    compare = {name: getattr(operator, name) for name in ("lt", "le", "gt", "ge", "eq", "ne")}
    lines, wanted = ["mul.wide.u32 %o, %t, 4; add.s64 %a, %in0, %o; sub.s32 %i, %t, 96;"], []
    for name, holds in compare.items():
        for bound in bounds:
            for register, first in (("%t", 0), ("%i", -96)):
                lines.append(f"setp.{name}.{kind} %p, {register}, {bound}; selp.u32 %v, 1, 0, %p;")
                lines.append(f"st.global.u32 [%a+{384 * len(wanted)}], %v;")
                numbers = [(n + first) % 2**32 if kind == "u32" else n + first for n in range(96)]
                right = bound % 2**32 if kind == "u32" else bound
                wanted.append([int(holds(n, right)) for n in numbers])
    out = np.zeros((len(wanted), 96), np.uint32)
    assert launch(body_kernel("\n".join(lines), 1, REGISTERS, 96), (1, 1, 1), out).status is ptx.Status.OK
    assert out.tolist() == wanted
