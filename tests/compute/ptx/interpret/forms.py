"""Every lane-wise form of the instruction table as kernels: opcode x modifiers x types, many instructions to a kernel.

Each thread loads three 64-bit words and computes every form from their low bits; every result is stored as 64 bits.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import cache

from p2pcompute.compute import ptx
from p2pcompute.compute.ptx.isa import FORMS, TRAILING, Form
from p2pcompute.compute.ptx.lower import lower
from p2pcompute.compute.ptx.types import TYPES, WIDER
from p2pcompute.errors import PtxError
from tests.compute.ptx.running import HEADER

_MOVING = {"tex", "mov", "cvta", "ld", "st", "atom", "red"}
_TOGETHER = {"shfl", "vote", "match", "activemask", "bar", "barrier", "membar", "fence", "nanosleep"}
_FLOW = {"bra", "brx", "ret", "exit", "trap", "call"}
NOT_LANE_WISE = _MOVING | _TOGETHER | _FLOW
APPROXIMATE = frozenset(["rsqrt", "sin", "cos", "ex2", "lg2", "tanh"])
OPCODES = sorted(set(FORMS) - NOT_LANE_WISE - APPROXIMATE)
NOT_OF_FLOATS = frozenset({"lo", "ls", "hi", "hs"})
ONLY_OF_FLOATS = frozenset({"equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan"})
PER_KERNEL = 60


def _makes_sense(form: Form, chosen: tuple[str | None, ...]) -> bool:
    """Boolean operators of comparisons do not depend on the comparison, nor saturation on the rounding: they are tried
    with few of them.
    """
    if form.opcode == "cvt" and chosen[1] is not None:
        return chosen[0] in (None, "rzi")
    if form.opcode == "set" and chosen[0] not in ("lt", "hi", "geu", "nan"):
        return False
    return form.opcode not in ("set", "setp") or chosen[1] is None or chosen[0] in ("lt", "hi")


def _fits(opcode: str, first: str | None, types: tuple[str, ...]) -> bool:
    """Combinations that PTX does not have: unsigned comparisons of floats, unordered ones of integers, integral
    roundings to another width.
    """
    if opcode in ("set", "setp"):
        return first not in (NOT_OF_FLOATS if types[-1][0] == "f" else ONLY_OF_FLOATS)
    if opcode == "cvt" and types[0] != types[1] and types[0][0] == types[1][0] == "f":
        return first not in ("rni", "rzi", "rmi", "rpi")
    return True


def spellings(form: Form) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(spelling, types) of every combination of a row."""
    choices = [[*sorted(slot.choices), *([None] if slot.is_optional else [])] for slot in form.slots]
    for chosen in itertools.product(*choices):
        if not _makes_sense(form, chosen):
            continue
        named = [(slot.name, value) for slot, value in zip(form.slots, chosen, strict=True) if value is not None]
        if any(value in ("approx", "full") for _, value in named):
            continue
        before = [value for name, value in named if name not in TRAILING]
        behind = [value for name, value in named if name in TRAILING]
        for types in itertools.product(*(sorted(group) for group in form.types)):
            if not _fits(form.opcode, chosen[0] if chosen else None, types):
                continue
            yield ".".join((form.opcode, *before, *types, *behind)), types


def _type_of(word: str, types: tuple[str, ...]) -> str:
    word = word.rstrip("?|")
    return {"T": types[0] if types else "", "S": types[-1] if types else "", "W": WIDER.get(types[0], "")}.get(
        word, word
    )


def _register(kind: str, number: str) -> tuple[str, str]:
    """A register that can hold the type, and its declaration."""
    if kind == "pred":
        return f"%p{number}", f".reg .pred %p{number};"
    bits = max(16, TYPES[kind].bits)
    letter = "f" if kind in ("f32", "f64") else "b"
    return f"%{letter}{number}", f".reg .{letter}{bits} %{letter}{number};"


def _loaded(kind: str, name: str, word: str) -> str:
    """The low bits of a 64-bit word as the type."""
    if kind == "pred":
        return f"and.b64 %x, {word}, 1; setp.ne.u64 {name}, %x, 0;"
    bits = max(16, TYPES[kind].bits)
    if bits == 64:
        return f"mov.b64 {name}, {word};"
    narrow = {16: "%x16", 32: "%x32"}[bits]
    return f"cvt.u{bits}.u64 {narrow}, {word}; mov.b{bits} {name}, {narrow};"


def _stored(kind: str, name: str, place: int) -> str:
    if kind == "pred":
        return f"selp.u64 %x, 1, 0, {name}; st.global.u64 [%out+{place}], %x;"
    bits = max(16, TYPES[kind].bits)
    if bits == 64:
        return f"mov.b64 %x, {name}; st.global.u64 [%out+{place}], %x;"
    narrow = {16: "%x16", 32: "%x32"}[bits]
    return f"mov.b{bits} {narrow}, {name}; cvt.u64.u{bits} %x, {narrow}; st.global.u64 [%out+{place}], %x;"


def lines(form: Form, spelling: str, types: tuple[str, ...], number: int) -> tuple[str, int]:
    """PTX of one instruction in a scope of its own, and how many results it stores from place 8 * number on."""
    declared, loads, stores, sources, results = [], [], [], [], []
    for n, word in enumerate(form.sources):
        kind = _type_of(word, types)
        name, declaration = _register(kind, f"s{n}")
        if form.opcode == "lop3" and n == 3:
            sources.append("0x96")
            continue
        declared.append(declaration)
        loads.append(_loaded(kind, name, f"%w{n % 3}"))
        sources.append(name)
    for n, word in enumerate(form.destinations):
        kind = _type_of(word, types)
        name, declaration = _register(kind, f"d{n}")
        declared.append(declaration)
        results.append(name)
        stores.append(_stored(kind, name, 8 * (number + n)))
    text = f"{spelling} {', '.join(['|'.join(results), *sources])};"
    if spelling.split(".")[0] in ("addc", "subc", "madc"):
        loads.append("add.cc.u64 %x, %w1, %w2;")
    if ".cc." in spelling + ".":
        stores.append(f"addc.u64 %x, 0, 0; st.global.u64 [%out+{8 * (number + len(results))}], %x;")
    return "\n".join(["{", *declared, *loads, text, *stores, "}"]), len(stores)


def module_of(body: str, results: int) -> str:
    """A kernel over 64-bit words: three inputs per thread, `results` outputs."""
    return f"""{HEADER}.visible .entry k(.param .u64 a, .param .u64 b, .param .u64 c, .param .u64 o) {{
.reg .b64 %in<3>, %w<3>, %at, %out, %x; .reg .b32 %t, %x32; .reg .b16 %x16;
ld.param.u64 %in0, [a]; ld.param.u64 %in1, [b]; ld.param.u64 %in2, [c]; ld.param.u64 %out, [o];
mov.u32 %t, %tid.x; mul.wide.u32 %at, %t, 8;
add.s64 %in0, %in0, %at; add.s64 %in1, %in1, %at; add.s64 %in2, %in2, %at;
ld.global.u64 %w0, [%in0]; ld.global.u64 %w1, [%in1]; ld.global.u64 %w2, [%in2];
mul.wide.u32 %at, %t, {8 * results}; add.s64 %out, %out, %at;
{body}
ret;
}}
"""


def is_supported(body: str) -> bool:
    """Whether the engine takes it: some combinations of the table mean nothing."""
    try:
        module = ptx.parse(ptx.canonicalise(ptx.parse(module_of(body, 1))))
        lower(module, module.entries["k"], (32, 1, 1))
    except PtxError:
        return False
    return True


@cache
def kernels(opcode: str) -> tuple[tuple[str, int, tuple[str, ...]], ...]:
    """(module text, results per thread, spelling of each result) of all forms of an opcode."""
    made, bodies, names = [], [], []
    for form in FORMS[opcode]:
        for spelling, types in spellings(form):
            body, results = lines(form, spelling, types, len(names))
            if not is_supported(body):
                continue
            bodies.append(body)
            names += [spelling] * results
            if len(bodies) == PER_KERNEL:
                made.append((module_of("\n".join(bodies), len(names)), len(names), tuple(names)))
                bodies, names = [], []
    if bodies:
        made.append((module_of("\n".join(bodies), len(names)), len(names), tuple(names)))
    return tuple(made)
