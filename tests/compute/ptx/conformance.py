"""The instruction set as a table of cases: spelling, operand types, and what must come out, bit for bit.

A case knows nothing of the engine: `module_text` makes plain PTX of a group of cases, `operands` their inputs, and
`Case.expect` the bits that must be stored. So the same table can be run on a GPU.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product

from tests.compute.ptx import ieee, oracle

Expect = Callable[..., int]
"""Raw bits of the sources to raw bits of the result."""

INTEGERS = ("u16", "s16", "u32", "s32", "u64", "s64")
HEADER = ".version 8.4\n.target sm_75\n.address_size 64\n"
ROWS = 128
"""Operand rows per case."""


@dataclass(frozen=True)
class Case:
    """`code` has {d} for the result, {a} {b} {c} for the sources; `name` is what the tests and the page call it."""

    name: str
    code: str
    result: str
    sources: tuple[str, ...]
    expect: Expect


def plain(name: str, result: str, sources: tuple[str, ...], expect: Expect, *, tail: str = "") -> Case:
    places = ", ".join("{" + letter + "}" for letter in "abc"[: len(sources)])
    return Case(name, f"{name} {{d}}, {places}{tail};", result, sources, expect)


def bits(name: str) -> int:
    return 16 if name == "f16" else 32 if name in ("f16x2", "pred") else int(name[1:])


def signed(value: int, name: str) -> int:
    """Raw bits as the number that an integer type means."""
    return oracle.wrap(value, name)


def raw(value: int, name: str) -> int:
    return value % (1 << bits(name))


# Operands ------------------------------------------------------------------------------------------------------------


@cache
def edges(name: str) -> tuple[int, ...]:
    """Raw bits worth trying."""
    width = bits(name)
    if name == "pred":
        return (0, 1)
    if name == "f16x2":
        return tuple(high << 16 | low for high, low in zip(edges("f16"), reversed(edges("f16")), strict=True))
    top = 1 << (width - 1)
    if name in ieee.FORMATS:
        form = ieee.FORMATS[name]
        one = ieee.encode(ieee.Fraction(1), name, "rn")
        half, big = one - (1 << (form.precision - 1)), form.infinity
        positive = [0, 1, 2, (1 << (form.precision - 1)) - 1, 1 << (form.precision - 1), half, one - 1, one, one + 1]
        positive += [ieee.encode(ieee.Fraction(n, 2), name, "rn") for n in (3, 5, 7, 255, 511, 65535, 131071)]
        positive += [big - 1, big, big + 1, 2 * top - 1 - top]
        return tuple(b | sign for b in positive for sign in (0, top))
    return (0, 1, 2, 3, width - 1, width, 127, 128, 255, top - 1, top, top + 1, 2 * top - 2, 2 * top - 1)


@cache
def operands(sources: tuple[str, ...]) -> list[tuple[int, ...]]:
    """Edges against edges first, then random bits of all magnitudes; the same on every machine."""
    chance = random.Random(repr(sources))
    rows = list(product(*(edges(name) for name in sources)))
    if len(rows) > ROWS // 2:
        rows = chance.sample(rows, ROWS // 2)
    while len(rows) < ROWS:
        rows.append(tuple(_random(name, chance) for name in sources))
    return rows


def _random(name: str, chance: random.Random) -> int:
    width = bits(name)
    if name == "pred":
        return chance.getrandbits(1)
    if name in ieee.FORMATS and chance.random() < 0.6:  # of middling size, so that sums and products stay finite
        return ieee.encode(ieee.Fraction(chance.randint(-(2**20), 2**20), 2 ** chance.randint(0, 24)), name, "rn")
    value = chance.getrandbits(width)
    if name[0] in "us" and chance.random() < 0.4:
        value >>= chance.randrange(width)
        value = raw(-value, name) if chance.random() < 0.3 else value
    return value


# Programs ------------------------------------------------------------------------------------------------------------


def carrier(name: str) -> str:
    return "u32" if name == "pred" else f"b{bits(name)}"


def module_text(cases: list[Case], *, uniform: bool) -> str:
    """Kernel `k(source buffers..., results)`: row `tid` (or `ctaid`) of each source to row of each case's results."""
    sources = cases[0].sources
    lines = ["mov.u32 %i, %ctaid.x;" if uniform else "mov.u32 %i, %tid.x;"]
    for n, name in enumerate(sources):
        lines += [f"ld.param.u64 %p, [s{n}]; mul.wide.u32 %o, %i, {bits(name) // 8}; add.s64 %p, %p, %o;"]
        lines += [f"ld.global.{carrier(name)} %x{n}, [%p];"]
        if name == "pred":
            lines.append(f"setp.ne.u32 %q{n}, %x{n}, 0;")
    lines.append("ld.param.u64 %p, [out]; mul.wide.u32 %o, %i, 8; add.s64 %p, %p, %o;")
    names = {
        letter: ("%q" if kind == "pred" else "%x") + str(n)
        for n, (letter, kind) in enumerate(zip("abc", sources, strict=False))
    }
    for number, case in enumerate(cases):
        width = bits(case.result)
        size = "64" if width == 64 else "32" if width == 32 else "16"
        target = "%r" if case.result == "pred" else f"%d{size}"
        lines.append("{" if "{" in case.code.format(d="", a="", b="", c="") else "")
        lines.append(case.code.format(d=target, **{**dict.fromkeys("abc", ""), **names}))
        if case.result == "pred":
            lines.append("selp.u32 %d32, 1, 0, %r;")
        lines.append("}" if lines[-2] == "{" and case.result != "pred" else "")
        if width == 64:
            lines.append(f"st.global.b64 [%p+{8 * ROWS * number}], %d64;")
        else:
            lines.append(f"st.global.b{width if case.result != 'pred' else 32} [%p+{8 * ROWS * number}], %d{size};")
    registers = ".reg .b64 %p, %o, %d64; .reg .b32 %i, %d32; .reg .b16 %d16; .reg .pred %r;"
    for n, name in enumerate(sources):
        registers += f" .reg .b{max(bits(name), 16)} %x{n}; .reg .pred %q{n};"
    parameters = ", ".join([*(f".param .u64 s{n}" for n in range(len(sources))), ".param .u64 out"])
    body = "\n".join(line for line in lines if line)
    return f"{HEADER}.visible .entry k({parameters}) {{\n{registers}\n{body}\nret;\n}}\n"


# The table -----------------------------------------------------------------------------------------------------------


def _integer(function: Callable[..., int], *names: str, result: str) -> Expect:
    return lambda *values: raw(function(*(signed(v, n) for v, n in zip(values, names, strict=True))), result)


def _integer_arithmetic() -> Iterator[Case]:
    for name in INTEGERS:
        two, wide = (name, name), {"16": "32", "32": "64"}.get(name[1:])
        for opcode, function in oracle.INTEGER.items():
            yield plain(
                f"{opcode}.{name}", name, two, _integer(lambda a, b, f=function, t=name: f(a, b, t), *two, result=name)
            )
        three = (name,) * 3
        yield plain(f"mad.lo.{name}", name, three, _integer(lambda a, b, c: a * b + c, *three, result=name))
        shift = bits(name)
        high = _integer(lambda a, b, c, s=shift: (a * b >> s) + c, *three, result=name)
        yield plain(f"mad.hi.{name}", name, three, high)
        yield plain(f"sad.{name}", name, three, _integer(lambda a, b, c: abs(a - b) + c, *three, result=name))
        if name[0] == "s":
            yield plain(f"abs.{name}", name, (name,), _integer(abs, name, result=name))
            yield plain(f"neg.{name}", name, (name,), _integer(lambda a: -a, name, result=name))
        if wide:
            wide = name[0] + wide
            yield plain(f"mul.wide.{name}", wide, two, _integer(lambda a, b: a * b, *two, result=wide))
            three = (name, name, wide)
            yield plain(f"mad.wide.{name}", wide, three, _integer(lambda a, b, c: a * b + c, *three, result=wide))
    for opcode in ("add", "sub"):
        exact = {"add": lambda a, b: a + b, "sub": lambda a, b: a - b}[opcode]
        clamp = _integer(
            lambda a, b, f=exact: oracle.integer_to_integer(f(a, b), "s32", saturate=True), "s32", "s32", result="s32"
        )
        yield plain(f"{opcode}.sat.s32", "s32", ("s32", "s32"), clamp)


def _carries() -> Iterator[Case]:
    """Two words as one: what the carry must bring over. The low words are a and b, the high ones b and a."""

    def joined(function: Callable[[int, int], int], name: str) -> Expect:
        w = bits(name)
        return lambda a, b: function(b << w | a, a << w | b) >> w & ((1 << w) - 1)

    for name in ("u32", "s32", "u64", "s64"):
        scope = f".reg .b{name[1:]} lo;"
        for opcode, function in (("add", lambda x, y: x + y), ("sub", lambda x, y: x - y)):
            code = f"{{{{ {scope} {opcode}.cc.{name} lo, {{a}}, {{b}}; {opcode}c.{name} {{d}}, {{b}}, {{a}}; }}}}"
            yield Case(f"{opcode}c.{name}", code, name, (name, name), joined(function, name))
        w = bits(name)
        code = f"{{{{ {scope} mad.lo.cc.{name} lo, {{a}}, {{b}}, {{c}}; madc.hi.{name} {{d}}, {{a}}, {{b}}, {{c}}; }}}}"
        expect = _integer(lambda a, b, c, w=w: (a * b + (c << w) + raw(c, f"u{w}")) >> w, name, name, name, result=name)
        yield Case(f"madc.hi.{name}", code, name, (name,) * 3, expect)


def _bitwise() -> Iterator[Case]:
    for name in ("b16", "b32", "b64"):
        full, amount = (1 << bits(name)) - 1, (name, "u32")
        for opcode, function in (("and", int.__and__), ("or", int.__or__), ("xor", int.__xor__)):
            yield plain(f"{opcode}.{name}", name, (name, name), function)
        yield plain(f"not.{name}", name, (name,), lambda a, m=full: a ^ m)
        yield plain(f"cnot.{name}", name, (name,), lambda a: int(a == 0))
        yield plain(f"shl.{name}", name, amount, lambda a, n, t=name: oracle.shift_left(a, n, t))
    for name in INTEGERS:
        right = _integer(lambda a, n, t=name: oracle.shift_right(a, n, t), name, "u32", result=name)
        yield plain(f"shr.{name}", name, (name, "u32"), right)
    for opcode, function in (("and", int.__and__), ("or", int.__or__), ("xor", int.__xor__)):
        yield plain(f"{opcode}.pred", "pred", ("pred", "pred"), function)
    yield plain("not.pred", "pred", ("pred",), lambda a: 1 - a)
    for name in ("b32", "b64"):
        w = bits(name)
        yield plain(f"popc.{name}", "u32", (name,), int.bit_count)
        yield plain(f"clz.{name}", "u32", (name,), lambda a, w=w: w - a.bit_length())
        yield plain(f"brev.{name}", name, (name,), lambda a, w=w: int(f"{a:0{w}b}"[::-1], 2))
        bfi = f"bfi.{name} {{d}}, {{a}}, {{a}}, {{b}}, {{c}};"
        expect = lambda a, p, n, t=name: oracle.bfi(a, a, p, n, t)
        yield Case(f"bfi.{name}", bfi, name, (name, "u32", "u32"), expect)
    for name in ("u32", "s32", "u64", "s64"):
        find = lambda a, t=name: oracle.bfind(signed(a, t), t)
        yield plain(f"bfind.{name}", "u32", (name,), find)
        amount = lambda a, t=name, f=find: f(a) if f(a) == 0xFFFFFFFF else bits(t) - 1 - f(a)
        yield plain(f"bfind.shiftamt.{name}", "u32", (name,), amount)
        extract = _integer(lambda a, p, n, t=name: oracle.bfe(a, p, n, t), name, "u32", "u32", result=name)
        yield plain(f"bfe.{name}", name, (name, "u32", "u32"), extract)


def _words() -> Iterator[Case]:
    """Operations on the parts of 32-bit words."""
    three = ("b32",) * 3
    for mode in ("", ".f4e", ".b4e", ".rc8", ".ecl", ".ecr", ".rc16"):
        expect = lambda a, b, c, m=mode: oracle.prmt(a, b, oracle.selector(m[1:], c))
        yield plain(f"prmt.b32{mode}", "b32", three, expect)
    for clamp, limit in (("wrap", lambda n: n & 31), ("clamp", lambda n: min(n, 32))):
        left = lambda a, b, n, f=limit: ((b << 32 | a) << f(n) >> 32) & 0xFFFFFFFF
        right = lambda a, b, n, f=limit: ((b << 32 | a) >> f(n)) & 0xFFFFFFFF
        yield plain(f"shf.l.{clamp}.b32", "b32", ("b32", "b32", "u32"), left)
        yield plain(f"shf.r.{clamp}.b32", "b32", ("b32", "b32", "u32"), right)
    for table in (0x80, 0xE8, 0x96, 0x1B, 0xCA):
        expect = lambda a, b, c, t=table: oracle.lop3(a, b, c, t)
        case = plain("lop3.b32", "b32", three, expect, tail=f", {table}")
        yield Case(f"lop3.b32 {table:#x}", case.code, "b32", three, expect)
    for left, right in product(("u32", "s32"), repeat=2):
        types = ("b32",) * 3
        for opcode in ("dp4a", "dp2a.lo", "dp2a.hi"):
            expect = lambda a, b, c, o=opcode, s=(left, right): oracle.dot(o, a, b, c, s)
            yield plain(f"{opcode}.{left}.{right}", "b32", types, expect)
        for parts, merge in product((2, 4), ("", ".add")):
            name = f"vabsdiff{parts}.u32.{left}.{right}{merge}"
            expect = lambda a, b, c, p=parts, s=(left, right), m=merge: oracle.vabsdiff(p, a, b, c, s, m)
            yield plain(name, "b32", types, expect)


def _float(name: str, function: Callable[..., int], mode: str) -> Expect:
    return lambda *values: function(*(ieee.decode(v, name) for v in values), name, mode)


def _saturated(expect: Expect, name: str) -> Expect:
    return lambda *values: ieee.saturate(expect(*values), name)


ONE = ieee.Number(False, ieee.Fraction(1))


def _float_arithmetic() -> Iterator[Case]:
    for name in ("f16", "f32", "f64"):
        top = 1 << (bits(name) - 1)
        modes = ("rn",) if name == "f16" else ("rn", "rz", "rm", "rp")
        two, three = (name, name), (name,) * 3
        for mode in modes:
            named = {"add": (ieee.add, two), "sub": (ieee.sub, two), "mul": (ieee.mul, two), "fma": (ieee.fma, three)}
            if name != "f16":
                named |= {"div": (ieee.div, two), "sqrt": (ieee.sqrt, (name,))}
            for opcode, (function, sources) in named.items():
                expect = _float(name, function, mode)
                yield plain(f"{opcode}.{mode}.{name}", name, sources, expect)
                if name != "f64" and opcode in ("add", "sub", "mul", "fma"):
                    yield plain(f"{opcode}.{mode}.sat.{name}", name, sources, _saturated(expect, name))
            if name != "f16":
                rcp = lambda a, n=name, m=mode: ieee.div(ONE, ieee.decode(a, n), n, m)
                yield plain(f"rcp.{mode}.{name}", name, (name,), rcp)
        yield plain(f"neg.{name}", name, (name,), lambda a, t=top: a ^ t)
        yield plain(f"abs.{name}", name, (name,), lambda a, t=top: a & (t - 1))
        if name == "f16":
            continue
        for opcode in ("min", "max"):
            expect = lambda a, b, o=opcode, n=name: ieee.extreme(o, a, b, n)
            yield plain(f"{opcode}.{name}", name, two, expect)
        yield plain(f"copysign.{name}", name, two, lambda a, b, t=top: a & t | b & (t - 1))
        for test in ("finite", "infinite", "number", "notanumber", "normal", "subnormal"):
            expect = lambda a, n=name, t=test: oracle.is_class(ieee.decode(a, n), a, n, t)
            yield plain(f"testp.{test}.{name}", "pred", (name,), expect)


def _pairs() -> Iterator[Case]:
    """Two halves at once: each half as the single instruction."""

    def both(function: Callable[..., int]) -> Expect:
        def expect(*values: int) -> int:
            low, high = (function(*(v >> shift & 0xFFFF for v in values)) for shift in (0, 16))
            return high << 16 | low

        return expect

    for opcode, function, count in (
        ("add", ieee.add, 2),
        ("sub", ieee.sub, 2),
        ("mul", ieee.mul, 2),
        ("fma", ieee.fma, 3),
    ):
        expect = _float("f16", function, "rn")
        yield plain(f"{opcode}.rn.f16x2", "f16x2", ("f16x2",) * count, both(expect))
        yield plain(f"{opcode}.rn.sat.f16x2", "f16x2", ("f16x2",) * count, both(_saturated(expect, "f16")))
    yield plain("neg.f16x2", "f16x2", ("f16x2",), lambda a: a ^ 0x80008000)
    yield plain("abs.f16x2", "f16x2", ("f16x2",), lambda a: a & 0x7FFF7FFF)
    for compare in FLOAT_COMPARISONS:

        def holds(a: int, b: int, c: str = compare) -> bool:
            return ieee.compare(c, ieee.decode(a, "f16"), ieee.decode(b, "f16"))

        two = ("f16x2", "f16x2")
        yield plain(f"set.{compare}.f16x2.f16x2", "f16x2", two, both(lambda a, b, h=holds: 0x3C00 * h(a, b)))
        yield plain(f"set.{compare}.u32.f16x2", "u32", two, both(lambda a, b, h=holds: 0xFFFF * h(a, b)))
        yield plain(f"set.{compare}.f16.f16", "f16", ("f16", "f16"), lambda a, b, h=holds: 0x3C00 * h(a, b))
        code = f"setp.{compare}.f16x2 {{d}}|_, {{a}}, {{b}};"
        yield Case(f"setp.{compare}.f16x2", code, "pred", two, lambda a, b, h=holds: int(h(a & 0xFFFF, b & 0xFFFF)))


FLOAT_COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge", "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan")


def _comparisons() -> Iterator[Case]:
    for name in INTEGERS:
        for compare, function in oracle.COMPARE.items():
            expect = _integer(lambda a, b, f=function: int(f(a, b)), name, name, result="u32")
            yield plain(f"setp.{compare}.{name}", "pred", (name, name), expect)
        if name[0] == "u":
            for compare, same in (("lo", "lt"), ("ls", "le"), ("hi", "gt"), ("hs", "ge")):
                function = oracle.COMPARE[same]
                yield plain(f"setp.{compare}.{name}", "pred", (name, name), lambda a, b, f=function: int(f(a, b)))
        yield plain(
            f"set.lt.u32.{name}", "u32", (name, name), _integer(lambda a, b: -(a < b), name, name, result="u32")
        )
    for name, compare in product(("f16", "f32", "f64"), FLOAT_COMPARISONS):

        def holds(a: int, b: int, n: str = name, c: str = compare) -> int:
            return int(ieee.compare(c, ieee.decode(a, n), ieee.decode(b, n)))

        yield plain(f"setp.{compare}.{name}", "pred", (name, name), holds)
        target, yes = ("u16", 0xFFFF) if name == "f16" else ("f32", 0x3F800000)
        expect = lambda a, b, h=holds, y=yes: y * h(a, b)
        yield plain(f"set.{compare}.{target}.{name}", target, (name, name), expect)
    for logic, function in (("and", int.__and__), ("or", int.__or__), ("xor", int.__xor__)):
        expect = lambda a, b, c, f=function: f(int(a < b), c)
        yield plain(f"setp.lt.{logic}.u32", "pred", ("u32", "u32", "pred"), expect)
    for name in ("b16", "b32", "b64"):
        yield plain(f"selp.{name}", name, (name, name, "pred"), lambda a, b, p: a if p else b)
        yield plain(f"slct.{name}.s32", name, (name, name, "s32"), lambda a, b, c: b if c >> 31 else a)


def _holds(target: str, source: str) -> bool:
    """Whether an integer type has every value of another."""
    wider = bits(target) > bits(source)
    return wider if target[0] == "s" and source[0] == "u" else target[0] == source[0] and bits(target) >= bits(source)


def _conversions() -> Iterator[Case]:
    small = ("u8", "s8", *INTEGERS)
    for target, source in product(small, small):
        wrap = _integer(lambda a: a, source, result=target)
        yield plain(f"cvt.{target}.{source}", target, (source,), wrap)
        if _holds(target, source):
            continue  # PTX ISA 9.7.9.22: no .sat where nothing can overflow
        clamp = _integer(lambda a, t=target: oracle.integer_to_integer(a, t, saturate=True), source, result=target)
        yield plain(f"cvt.sat.{target}.{source}", target, (source,), clamp)
    for source, target, mode in product(ieee.FORMATS, small, ieee.WHOLE):

        def to_integer(a: int, s: str = source, t: str = target, m: str = mode) -> int:
            return raw(oracle.to_integer(ieee.decode(a, s), m, t, s), t)

        yield plain(f"cvt.{mode}.{target}.{source}", target, (source,), to_integer)
    for target, source, mode in product(ieee.FORMATS, small, ("rn", "rz", "rm", "rp")):

        def from_integer(a: int, s: str = source, t: str = target, m: str = mode) -> int:
            return ieee.encode(ieee.Fraction(signed(a, s)), t, m)

        yield plain(f"cvt.{mode}.{target}.{source}", target, (source,), from_integer)
    for source, target in (("f32", "f16"), ("f64", "f16"), ("f64", "f32")):
        for mode in ("rn", "rz", "rm", "rp"):
            narrow = lambda a, s=source, t=target, m=mode: ieee.convert(ieee.decode(a, s), t, m)
            yield plain(f"cvt.{mode}.{target}.{source}", target, (source,), narrow)
        widen = lambda a, s=target, t=source: ieee.convert(ieee.decode(a, s), t, "rn")
        yield plain(f"cvt.{source}.{target}", source, (target,), widen)
    for name, mode in product(ieee.FORMATS, ieee.WHOLE):
        whole = lambda a, n=name, m=mode: ieee.whole(ieee.decode(a, n), n, m)
        yield plain(f"cvt.{mode}.{name}.{name}", name, (name,), whole)
    for name in ("f32", "f64"):
        yield plain(f"cvt.sat.{name}.{name}", name, (name,), lambda a, n=name: ieee.saturate(a, n))


@cache
def table() -> tuple[Case, ...]:
    families = (_integer_arithmetic, _carries, _bitwise, _words, _float_arithmetic, _pairs, _comparisons, _conversions)
    return tuple(case for family in families for case in family())


GROUP_MAX = 24


def groups() -> list[list[Case]]:
    """Cases with the same operand types, a few dozen at a time: one kernel each."""
    by_sources: dict[tuple[str, ...], list[Case]] = {}
    for case in table():
        by_sources.setdefault(case.sources, []).append(case)
    return [cases[n : n + GROUP_MAX] for cases in by_sources.values() for n in range(0, len(cases), GROUP_MAX)]
