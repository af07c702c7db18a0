"""Every atomic operation on every type and space: lanes act in order, and each gets what was there before it."""

from __future__ import annotations

import random

import numpy as np
import pytest

from tests.compute.ptx import conformance, ieee, oracle
from tests.compute.ptx.running import body_kernel, run

OPERATIONS = {
    **{f"{op}.{kind}": kind for op in ("min", "max") for kind in ("u32", "s32", "u64", "s64")},
    **{f"{op}.{kind}": kind for op in ("and", "or", "xor", "exch") for kind in ("b32", "b64")},
    **{f"add.{kind}": kind for kind in ("u32", "s32", "u64", "f32", "f64")},
    "add.noftz.f16": "f16",
    "add.noftz.f16x2": "f16x2",
    "inc.u32": "u32",
    "dec.u32": "u32",
    "cas.b16": "b16",
    "cas.b32": "b32",
    "cas.b64": "b64",
}


def expected(name: str, kind: str, old: int, value: int) -> int:
    """PTX ISA 9.7.12.5. cas compares with twice the value's low bit and stores the value."""
    operation = name.partition(".")[0]
    a, b = (oracle.wrap(v, kind) if kind[0] == "s" else v for v in (old, value))
    match operation:
        case "min" | "max":
            result = min(a, b) if operation == "min" else max(a, b)
        case "inc":
            result = 0 if a >= b else a + 1
        case "dec":
            result = b if a == 0 or a > b else a - 1
        case "exch":
            result = b
        case "cas":
            result = b if a == (value & 1) * 2 else a
        case "add" if kind == "f16x2":
            return sum(_sum(old >> n & 0xFFFF, value >> n & 0xFFFF, "f16") << n for n in (0, 16))
        case "add" if kind[0] == "f":
            return _sum(old, value, kind)
        case "add":
            result = a + b
        case _:
            result = {"and": a & b, "or": a | b, "xor": a ^ b}[operation]
    return conformance.raw(result, kind)


def _sum(a: int, b: int, name: str) -> int:
    return ieee.add(ieee.decode(a, name), ieee.decode(b, name), name, "rn")


def values_of(kind: str) -> list[int]:
    chance = random.Random(kind)
    width = conformance.bits(kind)
    if kind == "f16x2":
        return [ieee.encode(ieee.Fraction(chance.randint(-99, 99), 4), "f16", "rn") * 0x10001 for _ in range(32)]
    if kind in ieee.FORMATS:
        return [ieee.encode(ieee.Fraction(chance.randint(-999, 999), 7), kind, "rn") for _ in range(32)]
    return [chance.choice((chance.randrange(5), chance.getrandbits(width))) for _ in range(32)]


PLACE = {
    "global": "mov.u64 %c, %in2;",
    "shared": "mov.u64 %c, cell;",
    "generic global": "mov.u64 %c, %in2;",
    "generic shared": "mov.u64 %c, cell; cvta.shared.u64 %c, %c;",
}


@pytest.mark.parametrize("place", sorted(PLACE))
@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_lanes_act_in_order(name: str, place: str) -> None:
    kind = OPERATIONS[name]
    width = conformance.bits(kind)
    space = "" if place.startswith("generic") else f".{place}"
    before = f"and.b{width} %w, %v, 1; shl.b{width} %w, %w, 1;" if name.startswith("cas") else ""
    passed = "%w, %v" if name.startswith("cas") else "%v"
    body = f"""mul.wide.u32 %o, %t, {width // 8}; add.s64 %a, %in0, %o; ld.global.b{width} %v, [%a]; {before}
    {PLACE[place]} atom{space}.{name} %r, [%c], {passed}; add.s64 %a, %in1, %o; st.global.b{width} [%a], %r;
    ld{space}.b{width} %r, [%c]; st.global.b{width} [%in2], %r;"""
    registers = f".reg .b64 %a, %o, %c; .reg .b{width} %v, %w, %r; .shared .align 8 .b8 cell[8];"
    unsigned = np.dtype(f"u{width // 8}")
    values = values_of(kind)
    old, final = np.zeros(32, unsigned), np.zeros(1, unsigned)
    run(body_kernel(body, 3, registers), (1, 1, 1), np.array(values, unsigned), old, final)
    now, seen = 0, []
    for value in values:
        seen.append(now)
        now = expected(name, kind, now, value)
    assert (old.tolist(), final[0]) == (seen, now)
