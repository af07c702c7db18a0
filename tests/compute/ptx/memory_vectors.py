"""Loads and stores as conformance vectors: every space, type, width, vector and modifier, and registers that are wider
than what is loaded or stored.

In each kernel lane t works on its own 16 bytes; what comes out is computed from the bytes alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.compute.ptx.vector import Vector, kernel_text, vector

TYPES = ("b8", "u8", "s8", "b16", "u16", "s16", "b32", "u32", "s32", "f32", "b64", "u64", "s64", "f64")
SPACES = ("global", "const", "shared", "local", "generic global", "generic shared", "generic local")
LANES, LANE_BYTES = 32, 16
REGION = LANES * LANE_BYTES
UNTOUCHED = 0xA5
LOAD_MODIFIERS = (
    *("volatile.global", "global.nc", "global.ca", "global.cg", "global.cs", "global.lu", "global.cv"),
    *(f"{order}.{scope}.global" for order in ("relaxed", "acquire") for scope in ("cta", "gpu", "sys")),
    *("global.ca.nc", "global.L1::no_allocate", "weak.global", "volatile", "relaxed.gpu"),
)
STORE_MODIFIERS = (
    *("volatile.global", "global.cg", "global.cs", "weak.global", "volatile", "relaxed.gpu"),
    *(f"{order}.{scope}.global" for order in ("relaxed", "release") for scope in ("cta", "gpu", "sys")),
)
_REGISTERS = """.reg .b64 %a, %o, %base, %x<4>; .reg .b32 %w<4>, %i; .reg .b16 %h<4>; .reg .f32 %f<4>; .reg .f64 %d<4>;
.reg .pred %p;"""
_INTEGERS = {16: "%h", 32: "%w", 64: "%x"}
_FILL_LOCAL = """mov.u32 %i, 0; $fill: cvt.u64.u32 %o, %i; add.s64 %a, %in0, %o; ld.global.u32 %w0, [%a];
mov.u64 %a, place; add.s64 %a, %a, %o; st.local.u32 [%a], %w0; add.u32 %i, %i, 4; setp.lt.u32 %p, %i, 512;
@%p bra $fill;"""
_FILL_SHARED = """mul.wide.u32 %o, %t, 16; add.s64 %a, %in0, %o; ld.global.v4.u32 {%w0, %w1, %w2, %w3}, [%a];
mov.u64 %a, place; add.s64 %a, %a, %o; st.shared.v4.u32 [%a], {%w0, %w1, %w2, %w3}; bar.sync 0;"""


def vectors() -> Iterator[Vector]:
    chance = np.random.default_rng(8)
    data = chance.integers(0, 256, REGION, np.uint8)
    for space in SPACES:
        for count in (1, 2, 4):
            yield _loads(space, count, data)
            if space != "const":
                yield _stores(space, count, chance.integers(0, 256, (LANES, 4, 8), np.uint8))
    yield _modified_loads(data)
    yield _modified_stores(data)


def _forms(count: int) -> Iterator[tuple[str, int]]:
    """Type and register width, for vectors of `count` elements."""
    for name in TYPES:
        size = int(name[1:])
        if size // 8 * count > LANE_BYTES:
            continue
        for width in (16, 32, 64):
            if width == size or (width > size and name[0] != "f"):
                yield name, width


def _register(name: str, width: int, number: int) -> str:
    if name[0] == "f":
        return f"%{'f' if width == 32 else 'd'}{number}"
    return f"{_INTEGERS[width]}{number}"


def _operands(name: str, width: int, count: int) -> tuple[str, str]:
    """Suffix and operand of a vector of registers."""
    registers = [_register(name, width, number) for number in range(count)]
    return (f".v{count}" if count > 1 else "", "{" + ", ".join(registers) + "}" if count > 1 else registers[0])


def _as_word(name: str, width: int, number: int) -> str:
    """Put a register's bits in %o, zero-extended."""
    register = _register(name, width, number)
    if width == 64:
        return f"mov.b64 %o, {register};"
    return f"mov.b32 %w3, {register}; cvt.u64.u32 %o, %w3;" if name[0] == "f" else f"cvt.u64.u{width} %o, {register};"


def _from_word(name: str, width: int, number: int) -> str:
    register = _register(name, width, number)
    if name[0] == "f":
        return f"mov.b64 {register}, %o;" if width == 64 else f"cvt.u32.u64 %i, %o; mov.b32 {register}, %i;"
    return f"mov.b64 {register}, %o;" if width == 64 else f"cvt.u{width}.u64 {register}, %o;"


def _placed(space: str, data: np.ndarray) -> tuple[str, str, str, str]:
    """Declarations before the kernel and in it, code that fills the space and puts its address in %base, the suffix."""
    plain = space.removeprefix("generic ")
    suffix = "" if space.startswith("generic") else f".{plain}"
    to_generic = f"cvta.{plain}.u64 %base, %base;" if space.startswith("generic") and plain != "global" else ""
    match plain:
        case "global":
            return "", "", "mov.u64 %base, %in0;", suffix
        case "const":
            numbers = ", ".join(map(str, data.tolist()))
            return f".const .align 16 .b8 place[{REGION}] = {{{numbers}}};\n", "", "mov.u64 %base, place;", suffix
        case "shared":
            declared = f".shared .align 16 .b8 place[{REGION}];"
            return "", declared, f"{_FILL_SHARED} mov.u64 %base, place; {to_generic}", suffix
        case _:
            declared = f".local .align 16 .b8 place[{REGION}];"
            return "", declared, f"{_FILL_LOCAL} mov.u64 %base, place; {to_generic}", suffix


def _loads(space: str, count: int, data: np.ndarray) -> Vector:
    before, declared, fill, suffix = _placed(space, data)
    lines, cases, expected = [fill], [], []
    rows = data.reshape(LANES, LANE_BYTES)
    for number, (name, width) in enumerate(_forms(count)):
        size = int(name[1:]) // 8
        vec, target = _operands(name, width, count)
        lines.append(f"mul.wide.u32 %a, %t, 16; add.s64 %a, %base, %a; ld{suffix}{vec}.{name} {target}, [%a];")
        for element in range(count):
            place = ((number * 4 + element) * LANES) * 8
            lines.append(f"mul.wide.u32 %a, %t, 8; add.s64 %a, %in1, %a; {_as_word(name, width, element)}")
            lines.append(f"st.global.u64 [%a+{place}], %o;")
        words = np.zeros((4, LANES), np.uint64)
        for lane, row in enumerate(rows):
            for element in range(count):
                raw = row[element * size : (element + 1) * size].tobytes()
                value = int.from_bytes(raw, "little", signed=name[0] == "s")
                words[element, lane] = value % (1 << width)
        expected.append(words)
        cases.append(f"ld{suffix}{vec}.{name} to {width} bits")
    text = kernel_text("\n".join(lines), 2, f"{_REGISTERS} {declared}", extra=before)
    after = np.array(expected)
    name = f"ld-{space.replace(' ', '-')}-{count}"
    return vector(name, text, [(data, data), (np.zeros_like(after), after)], cases)


def _stores(space: str, count: int, words: np.ndarray) -> Vector:
    """Lane t stores at the end of its 16 bytes, the rest of which stays; then the bytes are copied out."""
    plain = space.removeprefix("generic ")
    _, declared, _, suffix = _placed(space, words)
    lines, cases, expected = [], [], []
    for number, (name, width) in enumerate(_forms(count)):
        size = int(name[1:]) // 8
        vec, source = _operands(name, width, count)
        out = f"mul.wide.u32 %o, %t, 16; add.s64 %x3, %in1, %o; add.s64 %x3, %x3, {number * REGION};"
        base = {"global": "mov.u64 %base, %x3;", "local": "mov.u64 %base, place;"}.get(
            plain, "mov.u64 %base, place; add.s64 %base, %base, %o;"
        )
        mark = f"mov.u32 %i, {UNTOUCHED * 0x1010101:#x};"
        mark += f"st.{plain}.v4.u32 [%base], {{%i, %i, %i, %i}};"
        copy = f"ld.{plain}.v2.u64 {{%x0, %x1}}, [%base]; st.global.v2.u64 [%x3], {{%x0, %x1}};"
        address = "mov.u64 %a, %base;"
        if space.startswith("generic") and plain != "global":
            address = f"cvta.{plain}.u64 %a, %base;"
        lines.append(f"{out} {base} {mark} {address} mul.wide.u32 %o, %t, 32; add.s64 %x3, %in0, %o;")
        lines += [f"ld.global.u64 %o, [%x3+{8 * n}]; {_from_word(name, width, n)}" for n in range(count)]
        lines.append(f"st{suffix}{vec}.{name} [%a+{LANE_BYTES - size * count}], {source}; {out} {copy}")
        rows = np.full((LANES, LANE_BYTES), UNTOUCHED, np.uint8)
        rows[:, LANE_BYTES - size * count :] = words[:, :count, :size].reshape(LANES, -1)
        expected.append(rows)
        cases.append(f"st{suffix}{vec}.{name} from {width} bits")
    text = kernel_text("\n".join(lines), 2, f"{_REGISTERS} {declared}")
    after = np.array(expected)
    name = f"st-{space.replace(' ', '-')}-{count}"
    return vector(name, text, [(words, words), (np.zeros_like(after), after)], cases)


def _modified_loads(data: np.ndarray) -> Vector:
    lines = ["mul.wide.u32 %o, %t, 4; add.s64 %a, %in0, %o; add.s64 %base, %in1, %o;"]
    for number, modifiers in enumerate(LOAD_MODIFIERS):
        lines.append(f"ld.{modifiers}.u32 %w0, [%a]; st.global.u32 [%base+{128 * number}], %w0;")
    words = data.view(np.uint32)[:LANES]
    after = np.tile(words, len(LOAD_MODIFIERS))
    cases = [f"ld.{modifiers}.u32" for modifiers in LOAD_MODIFIERS]
    return vector(
        "ld-modifiers",
        kernel_text("\n".join(lines), 2, _REGISTERS),
        [(words, words), (np.zeros_like(after), after)],
        cases,
    )


def _modified_stores(data: np.ndarray) -> Vector:
    lines = ["mul.wide.u32 %o, %t, 4; add.s64 %a, %in0, %o; add.s64 %base, %in1, %o; ld.global.u32 %w0, [%a];"]
    lines += [f"st.{each}.u32 [%base+{128 * number}], %w0;" for number, each in enumerate(STORE_MODIFIERS)]
    words = data.view(np.uint32)[:LANES]
    after = np.tile(words, len(STORE_MODIFIERS))
    cases = [f"st.{modifiers}.u32" for modifiers in STORE_MODIFIERS]
    return vector(
        "st-modifiers",
        kernel_text("\n".join(lines), 2, _REGISTERS),
        [(words, words), (np.zeros_like(after), after)],
        cases,
    )
