"""Atomics and reductions as conformance vectors: every operation on every type, space and order.

On a GPU lanes of a warp act on one cell in no known order. So each lane has a cell of its own where it is seen what an
operation returns, and where lanes meet in one cell only its final value counts, of operations that commute.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np

from tests.compute.ptx import conformance, ieee, oracle
from tests.compute.ptx.vector import Vector, kernel_text, vector

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
COMMUTING = {
    name: kind for name, kind in OPERATIONS.items() if kind[0] != "f" and name.split(".")[0] not in ("exch", "cas")
}
ORDERS = ("relaxed", "acquire", "release", "acq_rel")
SCOPES = ("cta", "gpu", "sys")
PLACES = ("global", "shared", "generic global", "generic shared")
LANES = 32
_REGISTERS = (
    ".reg .b64 %a, %o, %c, %d, %own, %x<4>; .reg .b32 %w<4>; .reg .b16 %h<4>; .reg .f32 %f<4>; .reg .f64 %g<4>;"
)
_SPARE = {16: "%h3", 32: "%w3", 64: "%x3"}
_FILE = {"b16": "h", "f16": "h", "f32": "f", "f64": "g"}


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


def values_of(kind: str, seed: str = "") -> list[int]:
    """A value for each lane; floats are such that sums round."""
    chance = random.Random(kind + seed)
    width = conformance.bits(kind)
    if kind == "f16x2":
        return [ieee.encode(ieee.Fraction(chance.randint(-99, 99), 4), "f16", "rn") * 0x10001 for _ in range(LANES)]
    if kind in ieee.FORMATS:
        return [ieee.encode(ieee.Fraction(chance.randint(-999, 999), 7), kind, "rn") for _ in range(LANES)]
    return [chance.choice((chance.randrange(5), chance.getrandbits(width))) for _ in range(LANES)]


def vectors() -> Iterator[Vector]:
    for place in PLACES:
        yield _apart(place, "atom")
        yield _apart(place, "red")
        yield _together(place)
    yield _ordered()


def _register(kind: str, number: int) -> str:
    return f"%{_FILE.get(kind, 'x' if conformance.bits(kind) == 64 else 'w')}{number}"


def _filled(place: str, width: int) -> str:
    """%d: the address of the cell, as the atomic takes it. A shared one is filled from its place in global memory."""
    if place.endswith("global"):
        return "mov.u64 %d, %own;"
    fill = f"ld.global.b{width} {_SPARE[width]}, [%own]; mov.u64 %d, cells; mul.wide.u32 %o, %t, 8;"
    fill += f"add.s64 %d, %d, %o; st.shared.b{width} [%d], {_SPARE[width]};"
    return f"{fill} cvta.shared.u64 %d, %d;" if place.startswith("generic") else fill


def _given_back(place: str, width: int) -> str:
    """A shared cell goes back to its place in global memory."""
    if place.endswith("global"):
        return ""
    space = "" if place.startswith("generic") else ".shared"
    return f"ld{space}.b{width} {_SPARE[width]}, [%d]; st.global.b{width} [%own], {_SPARE[width]};"


def _apart(place: str, opcode: str) -> Vector:
    """Buffers: operands, cells, and what atom returns; 8 bytes a lane and case."""
    space = "" if place.startswith("generic") else f".{place}"
    names = [n for n in OPERATIONS if opcode == "atom" or n.split(".")[0] not in ("exch", "cas")]
    lines = ["mul.wide.u32 %o, %t, 8; add.s64 %a, %in0, %o; add.s64 %c, %in1, %o; add.s64 %in2, %in2, %o;"]
    before, after, values, returned = (np.zeros((len(names), LANES), np.uint64) for _ in range(4))
    for number, name in enumerate(names):
        kind = OPERATIONS[name]
        width = conformance.bits(kind)
        value, other, result = (_register(kind, n) for n in range(3))
        lines.append(f"ld.global.b{width} {value}, [%a+{8 * LANES * number}];")
        passed = value
        if name.startswith("cas"):
            lines.append(f"and.b{width} {other}, {value}, 1; shl.b{width} {other}, {other}, 1;")
            passed = f"{other}, {value}"
        lines.append(f"add.s64 %own, %c, {8 * LANES * number}; {_filled(place, width)}")
        destination = f"{result}, " if opcode == "atom" else ""
        keep = f"st.global.b{width} [%in2+{8 * LANES * number}], {result};" if opcode == "atom" else ""
        lines.append(f"{opcode}{space}.{name} {destination}[%d], {passed}; {_given_back(place, width)} {keep}")
        cells = values_of(kind, "cells") if not name.startswith("cas") else [2 * (n & 1) for n in range(LANES)]
        for lane, (cell, operand) in enumerate(zip(cells, values_of(kind), strict=True)):
            before[number, lane], values[number, lane] = cell, operand
            after[number, lane] = expected(name, kind, cell, operand)
            returned[number, lane] = cell if opcode == "atom" else 0
    text = kernel_text("\n".join(lines), 3, f"{_REGISTERS} .shared .align 8 .b8 cells[{8 * LANES}];")
    buffers = [(values, values), (before, after), (np.zeros_like(returned), returned)]
    cases = [f"{opcode}{space}.{name}" for name in names]
    return vector(f"{opcode}-{place.replace(' ', '-')}", text, buffers, cases)


def _together(place: str) -> Vector:
    """Two warps on one cell, by reductions and by atomics whose results nobody wants."""
    space = "" if place.startswith("generic") else f".{place}"
    plain = place.removeprefix("generic ")
    lines = ["and.b32 %w3, %t, 31; mul.wide.u32 %o, %w3, 8; add.s64 %a, %in0, %o;"]
    before, after = np.zeros((len(COMMUTING), 1), np.uint64), np.zeros((len(COMMUTING), 1), np.uint64)
    values = np.zeros((len(COMMUTING), LANES), np.uint64)
    for number, (name, kind) in enumerate(COMMUTING.items()):
        width = conformance.bits(kind)
        value, spare = _register(kind, 0), _register(kind, 1)
        lines.append(f"ld.global.b{width} {value}, [%a+{8 * LANES * number}]; add.s64 %c, %in1, {8 * number};")
        if plain == "shared":
            lines.append(f"bar.sync 0; mov.u64 %d, cells; ld.global.b{width} {spare}, [%c];")
            lines.append(f"st.shared.b{width} [%d], {spare}; bar.sync 0;")
            lines.append("cvta.shared.u64 %d, %d;" if space == "" else "")
        else:
            lines.append("mov.u64 %d, %c;")
        lines.append(f"red{space}.{name} [%d], {value}; atom{space}.{name} {spare}, [%d], {value};")
        if plain == "shared":
            lines.append(f"bar.sync 0; ld{space}.b{width} {spare}, [%d]; st.global.b{width} [%c], {spare};")
        operands = [7] * LANES if name[:3] in ("inc", "dec") else values_of(kind)
        cell = 3 if name[:3] in ("inc", "dec") else values_of(kind, "one cell")[0]
        values[number], before[number] = operands, cell
        for operand in operands * 4:
            cell = expected(name, kind, cell, operand)
        after[number] = cell
    text = kernel_text("\n".join(lines), 2, f"{_REGISTERS} .shared .align 8 .b8 cells[8];")
    cases = [f"{opcode}{space}.{name} of many" for name in COMMUTING for opcode in ("atom", "red")]
    return vector(
        f"atom-together-{place.replace(' ', '-')}", text, [(values, values), (before, after)], cases, block=(64, 1, 1)
    )


def _ordered() -> Vector:
    lines, cases = ["mul.wide.u32 %o, %t, 4; add.s64 %a, %in0, %o;"], []
    for order in ORDERS:
        for scope in SCOPES:
            lines.append(f"atom.{order}.{scope}.global.add.u32 %w0, [%a], %t;")
            cases.append(f"atom.{order}.{scope}.global.add.u32")
            if order in ("relaxed", "release"):
                lines.append(f"red.{order}.{scope}.global.add.u32 [%a], %t;")
                cases.append(f"red.{order}.{scope}.global.add.u32")
    before = np.arange(LANES, dtype=np.uint32) * 1000
    after = before + np.arange(LANES, dtype=np.uint32) * np.uint32(len(cases))
    return vector("atom-orders", kernel_text("\n".join(lines), 1, _REGISTERS), [(before, after)], cases)
