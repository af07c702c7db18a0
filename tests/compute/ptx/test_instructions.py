"""Single instructions over random and special operands, against `oracle` or numpy: opcode x type x modifier."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.compute.ptx import oracle
from tests.compute.ptx.running import Array, apply, body_kernel, dtype, run

LANES = 64
INTEGERS = ["u16", "s16", "u32", "s32", "u64", "s64"]
settings.register_profile("ptx", deadline=None, max_examples=15)
settings.load_profile("ptx")


def integers(name: str) -> st.SearchStrategy[list[int]]:
    bits = oracle.bits_of(name)
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if name[0] == "s" else (0, (1 << bits) - 1)
    edges = sorted({low, low + 1, max(low, -1), 0, 1, 2, bits, high - 1, high})
    return st.lists(st.sampled_from(edges) | st.integers(low, high), min_size=LANES, max_size=LANES)


def floats(name: str) -> st.SearchStrategy[list[float]]:
    width = int(name[1:])
    return st.lists(st.floats(width=width, allow_nan=False), min_size=LANES, max_size=LANES)


def array(name: str, values: Sequence[Any]) -> Array:
    return np.array(values, dtype(name))


@pytest.mark.parametrize("name", INTEGERS)
@pytest.mark.parametrize("opcode", sorted(oracle.INTEGER))
@given(data=st.data())
def test_integer_arithmetic(opcode: str, name: str, data: st.DataObject) -> None:
    a, b = data.draw(integers(name)), data.draw(integers(name))
    got = apply(f"{opcode}.{name}", name, [(name, array(name, a)), (name, array(name, b))])
    assert got.tolist() == [oracle.INTEGER[opcode](x, y, name) for x, y in zip(a, b, strict=True)]


@pytest.mark.parametrize(("name", "wide"), [("u16", "u32"), ("s16", "s32"), ("u32", "u64"), ("s32", "s64")])
@given(data=st.data())
def test_wide_products_and_sums(name: str, wide: str, data: st.DataObject) -> None:
    a, b, c = data.draw(integers(name)), data.draw(integers(name)), data.draw(integers(wide))
    pairs = [(name, array(name, a)), (name, array(name, b))]
    assert apply(f"mul.wide.{name}", wide, pairs).tolist() == [x * y for x, y in zip(a, b, strict=True)]
    got = apply(f"mad.wide.{name}", wide, [*pairs, (wide, array(wide, c))])
    assert got.tolist() == [oracle.wrap(x * y + z, wide) for x, y, z in zip(a, b, c, strict=True)]


@pytest.mark.parametrize("name", INTEGERS)
@given(data=st.data())
def test_shifts_clamp(name: str, data: st.DataObject) -> None:
    a = data.draw(integers(name))
    b = data.draw(st.lists(st.integers(0, 80) | st.integers(0, 2**32 - 1), min_size=LANES, max_size=LANES))
    amounts = ("u32", array("u32", b))
    got = apply(f"shr.{name}", name, [(name, array(name, a)), amounts])
    assert got.tolist() == [oracle.shift_right(x, y, name) for x, y in zip(a, b, strict=True)]
    bits = f"b{oracle.bits_of(name)}"
    left = apply(f"shl.{bits}", bits, [(bits, array(name, a).view(dtype(bits))), amounts])
    raw = [x % (1 << oracle.bits_of(name)) for x in a]
    assert left.tolist() == [oracle.shift_left(x, y, bits) for x, y in zip(raw, b, strict=True)]


@pytest.mark.parametrize("name", ["u32", "s32", "u64", "s64"])
@given(data=st.data())
def test_bit_fields(name: str, data: st.DataObject) -> None:
    a, b = data.draw(integers(name)), data.draw(integers(name))
    small = st.lists(st.integers(0, 70) | st.integers(0, 2**32 - 1), min_size=LANES, max_size=LANES)
    place, length = data.draw(small), data.draw(small)
    fields = [("u32", array("u32", place)), ("u32", array("u32", length))]
    got = apply(f"bfe.{name}", name, [(name, array(name, a)), *fields])
    assert got.tolist() == [oracle.bfe(x, p, n, name) for x, p, n in zip(a, place, length, strict=True)]
    found = apply(f"bfind.{name}", "u32", [(name, array(name, a))])
    assert found.tolist() == [oracle.bfind(x, name) for x in a]
    bits = f"b{oracle.bits_of(name)}"
    raw = [[x % (1 << oracle.bits_of(name)) for x in values] for values in (a, b)]
    got = apply(f"bfi.{bits}", bits, [(bits, array(bits, raw[0])), (bits, array(bits, raw[1])), *fields])
    assert got.tolist() == [oracle.bfi(x, y, p, n, bits) for x, y, p, n in zip(*raw, place, length, strict=True)]


@pytest.mark.parametrize("name", ["b32", "b64"])
@given(data=st.data())
def test_bit_counts(name: str, data: st.DataObject) -> None:
    a, bits = data.draw(integers(name)), oracle.bits_of(name)
    source = [(name, array(name, a))]
    assert apply(f"popc.{name}", "u32", source).tolist() == [x.bit_count() for x in a]
    assert apply(f"clz.{name}", "u32", source).tolist() == [bits - x.bit_length() for x in a]
    assert apply(f"brev.{name}", name, source).tolist() == [int(f"{x:0{bits}b}"[::-1], 2) for x in a]
    assert apply(f"not.{name}", name, source).tolist() == [~x % (1 << bits) for x in a]


@given(data=st.data())
def test_byte_permutation_and_funnel_shifts(data: st.DataObject) -> None:
    a, b, c = (data.draw(integers("b32")) for _ in range(3))
    sources = [("b32", array("b32", v)) for v in (a, b, c)]
    rows = list(zip(a, b, c, strict=True))
    assert apply("prmt.b32", "b32", sources).tolist() == [oracle.prmt(*row) for row in rows]
    assert apply("shf.l.wrap.b32", "b32", sources).tolist() == [
        ((y << 32 | x) << (n & 31) >> 32) % 2**32 for x, y, n in rows
    ]
    assert apply("shf.r.clamp.b32", "b32", sources).tolist() == [
        ((y << 32 | x) >> min(n, 32)) % 2**32 for x, y, n in rows
    ]
    majority = [x & y | y & z | x & z for x, y, z in rows]
    assert apply_with_suffix("lop3.b32", "0xE8", sources) == majority


def apply_with_suffix(opcode: str, suffix: str, sources: list[tuple[str, Array]]) -> list[int]:
    """An instruction whose last operand is a constant."""
    body = "mul.wide.u32 %o, %t, 4;\n" + "".join(
        f"add.s64 %a, %in{n}, %o; ld.global.u32 %v{n}, [%a];\n" for n in range(3)
    )
    body += f"{opcode} %v3, %v0, %v1, %v2, {suffix};\nadd.s64 %a, %in3, %o; st.global.u32 [%a], %v3;"
    out = np.zeros(LANES, np.uint32)
    run(body_kernel(body, 4, ".reg .b64 %a, %o; .reg .b32 %v<4>;", LANES), (1, 1, 1), *(v for _, v in sources), out)
    return out.tolist()


@pytest.mark.parametrize("name", INTEGERS)
@given(data=st.data())
def test_integer_comparisons(name: str, data: st.DataObject) -> None:
    a, b = data.draw(integers(name)), data.draw(integers(name))
    sources = [(name, array(name, a)), (name, array(name, b))]
    x, y = (np.array(v, object) for v in (a, b))
    for compare, expected in {"eq": x == y, "ne": x != y, "lt": x < y, "le": x <= y, "gt": x > y, "ge": x >= y}.items():
        assert apply(f"setp.{compare}.{name}", "pred", sources).tolist() == expected.astype(int).tolist(), compare


SPECIAL = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    1.5,
    2.5,
    -2.5,
    float("inf"),
    float("-inf"),
    float("nan"),
    1e-45,
    5e-324,
    3e38,
    2147483648.0,
]
SPECIAL += [-2147483649.0, 9.3e18, -9.3e18, 65535.5, -0.5]


@pytest.mark.parametrize("name", ["f32", "f64"])
def test_float_comparisons_ordered_and_unordered(name: str) -> None:
    a, b = (v.ravel().astype(dtype(name)) for v in np.meshgrid(SPECIAL, SPECIAL))
    unordered = np.isnan(a) | np.isnan(b)
    with np.errstate(invalid="ignore"):
        ordered = {"eq": a == b, "ne": (a != b) & ~unordered, "lt": a < b, "le": a <= b, "gt": a > b, "ge": a >= b}
    for compare, expected in ordered.items():
        assert np.array_equal(apply(f"setp.{compare}.{name}", "pred", [(name, a), (name, b)]), expected), compare
        got = apply(f"setp.{compare}u.{name}", "pred", [(name, a), (name, b)])
        assert np.array_equal(got, expected | unordered), compare
    assert np.array_equal(apply(f"setp.nan.{name}", "pred", [(name, a), (name, b)]), unordered)
    assert np.array_equal(apply(f"setp.num.{name}", "pred", [(name, a), (name, b)]), ~unordered)


@pytest.mark.parametrize("name", ["f32", "f64"])
@given(data=st.data())
def test_float_arithmetic_is_ieee(name: str, data: st.DataObject) -> None:
    a, b = (np.array(data.draw(floats(name)), dtype(name)) for _ in range(2))
    with np.errstate(all="ignore"):
        expected = {"add.rn": a + b, "sub.rn": a - b, "mul.rn": a * b, "div.rn": a / b}
        single = {"sqrt.rn": np.sqrt(a), "rcp.rn": dtype(name).type(1) / a, "abs": np.abs(a), "neg": -a}
    for opcode, value in expected.items():
        same_floats(apply(f"{opcode}.{name}", name, [(name, a), (name, b)]), value)
    for opcode, value in single.items():
        same_floats(apply(f"{opcode}.{name}", name, [(name, a)]), value)


def same_floats(got: Array, expected: Array) -> None:
    """Equal bits; every NaN has the canonical ones."""
    word = got.dtype.str.replace("f", "u")
    canonical = np.array(0x7FFFFFFF if got.dtype == np.float32 else 0xFFF8000000000000, word)
    np.testing.assert_array_equal(got.view(word), np.where(np.isnan(expected), canonical, expected.view(word)))


@pytest.mark.parametrize("name", ["f32", "f64"])
def test_min_and_max_prefer_numbers_and_order_zeroes(name: str) -> None:
    a, b = (v.ravel().astype(dtype(name)) for v in np.meshgrid(SPECIAL, SPECIAL))
    low = np.where(np.signbit(a) & (a == b), a, np.where(a == b, b, np.fmin(a, b)))
    high = np.where(np.signbit(a) & (a == b), b, np.where(a == b, a, np.fmax(a, b)))
    same_floats(apply(f"min.{name}", name, [(name, a), (name, b)]), low)
    same_floats(apply(f"max.{name}", name, [(name, a), (name, b)]), high)


@pytest.mark.parametrize("mode", ["rn", "rz", "rm", "rp"])
@pytest.mark.parametrize("name", ["f32", "f64"])
@given(data=st.data())
def test_rounding_directions(name: str, mode: str, data: st.DataObject) -> None:
    kind = dtype(name).type
    span = st.floats(2.0**-10, 1024.0, width=int(name[1:])).flatmap(lambda x: st.sampled_from([x, -x]))
    a, b, c = (np.array(data.draw(st.lists(span, min_size=LANES, max_size=LANES)), kind) for _ in range(3))
    rows = [tuple(Fraction(float(v)) for v in row) for row in zip(a, b, c, strict=True)]
    sources = [(name, a), (name, b), (name, c)]
    cases = {"mul": [x * y for x, y, _ in rows], "div": [x / y for x, y, _ in rows], "add": [x + y for x, y, _ in rows]}
    for opcode, exact in cases.items():
        got = apply(f"{opcode}.{mode}.{name}", name, sources[:2])
        assert [g for g, e in zip(got.tolist(), exact, strict=True) if e] == [
            oracle.rounded(e, mode, kind) for e in exact if e
        ], opcode
    fused = [x * y + z for x, y, z in rows]
    got = apply(f"fma.{mode}.{name}", name, sources)
    assert [g for g, e in zip(got.tolist(), fused, strict=True) if e] == [
        oracle.rounded(e, mode, kind) for e in fused if e
    ]


@pytest.mark.parametrize("mode", ["rni", "rzi", "rmi", "rpi"])
@pytest.mark.parametrize("target", ["u8", "s8", *INTEGERS])
@pytest.mark.parametrize("source", ["f32", "f64"])
def test_float_to_integer_saturates(source: str, target: str, mode: str) -> None:
    values = np.array(
        SPECIAL + [v * s for v in (0.4, 99.6, 127.5, 255.5, 4294967295.0, 1e19) for s in (1, -1)], dtype(source)
    )
    got = apply(f"cvt.{mode}.{target}.{source}", target, [(source, values)])
    assert got.tolist() == [oracle.float_to_integer(float(v), mode, target, source) for v in values]


@pytest.mark.parametrize("source", ["u8", "s8", *INTEGERS])
@pytest.mark.parametrize("target", ["u8", "s8", *INTEGERS])
@given(data=st.data())
def test_integer_conversions(source: str, target: str, data: st.DataObject) -> None:
    values = data.draw(integers(source))
    operand = [(source, array(source, values))]
    assert apply(f"cvt.{target}.{source}", target, operand).tolist() == [oracle.wrap(v, target) for v in values]
    saturated = apply(f"cvt.sat.{target}.{source}", target, operand)
    assert saturated.tolist() == [oracle.integer_to_integer(v, target, saturate=True) for v in values]


@pytest.mark.parametrize("mode", ["rn", "rz", "rm", "rp"])
@pytest.mark.parametrize("source", INTEGERS)
@pytest.mark.parametrize("target", ["f32", "f64"])
@given(data=st.data())
def test_integer_to_float_rounds(target: str, source: str, mode: str, data: st.DataObject) -> None:
    values = data.draw(integers(source))
    got = apply(f"cvt.{mode}.{target}.{source}", target, [(source, array(source, values))])
    kind = dtype(target).type
    assert got.tolist() == [oracle.rounded(Fraction(v), mode, kind) if v else 0.0 for v in values]


@pytest.mark.parametrize("mode", ["rni", "rzi", "rmi", "rpi"])
@pytest.mark.parametrize("name", ["f32", "f64"])
def test_rounding_to_integral_floats(name: str, mode: str) -> None:
    values = np.array(SPECIAL, dtype(name))
    expected = {"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil}[mode](values)
    same_floats(apply(f"cvt.{mode}.{name}.{name}", name, [(name, values)]), expected)


@given(values=floats("f64"))
def test_float_widths(values: list[float]) -> None:
    wide = np.array(values)
    with np.errstate(all="ignore"):
        narrow = wide.astype(np.float32)
        same_floats(apply("cvt.rn.f32.f64", "f32", [("f64", wide)]), narrow)
        same_floats(apply("cvt.f64.f32", "f64", [("f32", narrow)]), narrow.astype(np.float64))
        half = narrow.astype(np.float16)
    got = apply("cvt.rn.f16.f32", "f16", [("f32", narrow)])
    np.testing.assert_array_equal(got.view(np.uint16), half.view(np.uint16))
    same_floats(apply("cvt.f32.f16", "f32", [("f16", half)]), half.astype(np.float32))


def test_float_saturation_clamps_to_the_unit_interval() -> None:
    values = np.array(SPECIAL, np.float32)
    expected = np.where(np.isnan(values), 0, np.clip(values, 0, 1)) + np.float32(0)
    same_floats(apply("cvt.sat.f32.f32", "f32", [("f32", values)]), expected.astype(np.float32))


@given(data=st.data())
def test_selection(data: st.DataObject) -> None:
    a, b = (array("b64", data.draw(integers("b64"))) for _ in range(2))
    chosen = array("pred", data.draw(st.lists(st.integers(0, 1), min_size=LANES, max_size=LANES)))
    got = apply("selp.b64", "b64", [("b64", a), ("b64", b), ("pred", chosen)])
    np.testing.assert_array_equal(got, np.where(chosen, a, b))


def test_stored_payload_of_a_loaded_nan_is_kept() -> None:
    values = np.array([0x7F800001, 0xFFC12345, 0x7FFFFFFF], np.uint32).view(np.float32)
    got = apply("mov.f32", "f32", [("f32", values)])
    np.testing.assert_array_equal(got.view(np.uint32), values.view(np.uint32))


@given(data=st.data())
def test_half_arithmetic_rounds_once(data: st.DataObject) -> None:
    a, b = (array("b16", data.draw(integers("b16"))).view(np.float16) for _ in range(2))
    sources = [("f16", a), ("f16", b)]
    with np.errstate(all="ignore"):
        expected = {"add": a + b, "sub": a - b, "mul": a * b}
    for opcode, value in expected.items():
        got = apply(f"{opcode}.f16", "f16", sources).view(np.uint16)
        np.testing.assert_array_equal(got, np.where(np.isnan(value), 0x7FFF, value.view(np.uint16)), opcode)
    assert np.array_equal(apply("neg.f16", "f16", sources[:1]).view(np.uint16), a.view(np.uint16) ^ 0x8000)
    assert np.array_equal(apply("setp.lt.f16", "pred", sources), a < b)
