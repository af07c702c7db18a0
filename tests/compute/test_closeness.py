"""Numbers that are the same within a tolerance, against a slow and obvious reading of V21."""

from __future__ import annotations

import math
import struct
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pcompute.compute import closeness
from p2pcompute.compute.closeness import are_close
from p2pcompute.wire.manifest import Buffer, Comparison, Role

FORMATS = {"f16": ("<e", "<H", 16), "f32": ("<f", "<I", 32), "f64": ("<d", "<Q", 64)}


def buffer(dtype: str, count: int, ulp: int = 0, rtol_ppb: int = 0) -> Buffer:
    kind = Comparison.TOLERANCE if ulp or rtol_ppb else Comparison.EXACT
    return Buffer("y", dtype, (count,), Role.OUT, b"", kind, ulp, rtol_ppb)


def check(dtype: str, a: Any, b: Any, ulp: int = 0, rtol_ppb: int = 0) -> bool:
    left, right = (np.atleast_1d(np.asarray(v)) for v in (a, b))
    rows = buffer(dtype, left.size, ulp, rtol_ppb)
    found = are_close(rows, memoryview(left.tobytes()), memoryview(right.tobytes()))
    assert are_close(rows, memoryview(right.tobytes()), memoryview(left.tobytes())) is found
    return found


def place(dtype: str, bits: int) -> int:
    """Where a float stands among all floats of its kind, zero being 0."""
    width = FORMATS[dtype][2]
    magnitude = bits & ((1 << (width - 1)) - 1)
    return -magnitude if bits >> (width - 1) else magnitude


def obvious(dtype: str, a: int, b: int, ulp: int, rtol_ppb: int) -> bool:
    """Of two floats, given by their bits."""
    x, y = (struct.unpack(FORMATS[dtype][0], struct.pack(FORMATS[dtype][1], bits))[0] for bits in (a, b))
    if math.isnan(x) or math.isnan(y):
        return math.isnan(x) and math.isnan(y)
    if x == y:
        return True
    if math.isinf(x) or math.isinf(y):
        return False
    if abs(place(dtype, a) - place(dtype, b)) <= ulp:
        return True
    largest = max(abs(Fraction(x)), abs(Fraction(y)))
    return bool(abs(Fraction(x) - Fraction(y)) <= largest * Fraction(rtol_ppb, 10**9))


@given(st.sampled_from(list(FORMATS)), st.data())
def test_floats_are_close_as_the_rule_says(dtype: str, data: st.DataObject) -> None:
    width = FORMATS[dtype][2]
    a = data.draw(st.integers(0, 2**width - 1))
    near = data.draw(st.booleans())
    b = (a + data.draw(st.integers(-40, 40))) % 2**width if near else data.draw(st.integers(0, 2**width - 1))
    ulp = data.draw(st.integers(1, 50))
    raw = [np.array([bits], f"<u{width // 8}").view(f"<f{width // 8}") for bits in (a, b)]
    assert check(dtype, *raw, ulp=ulp) is obvious(dtype, a, b, ulp, 0)


@pytest.mark.parametrize("dtype", FORMATS)
def test_the_edges(dtype: str) -> None:
    kind = np.dtype(f"<{dtype[0]}{int(dtype[1:]) // 8}").type
    zero, tiny, nan, inf = kind(0), np.nextafter(kind(0), kind(1)), kind("nan"), kind("inf")
    assert check(dtype, zero, -zero, ulp=1)
    assert check(dtype, tiny, -tiny, ulp=2)
    assert not check(dtype, tiny, -tiny, ulp=1)
    assert check(dtype, nan, -nan, ulp=1)
    assert not check(dtype, nan, zero, ulp=2**31 - 1)
    assert not check(dtype, inf, np.finfo(kind).max, ulp=1)
    assert not check(dtype, inf, -inf, rtol_ppb=10**9)
    assert not check(dtype, zero, -zero)
    assert check(dtype, kind(1000), kind(1001), rtol_ppb=2_000_000)
    assert not check(dtype, kind(1000), kind(1002), rtol_ppb=1_000_000)


@pytest.mark.parametrize("dtype", ["i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64"])
def test_integers_differ_by_no_more_than_the_bound(dtype: str) -> None:
    kind = np.dtype(f"<{dtype[0]}{int(dtype[1:]) // 8}").type
    low, high = np.iinfo(kind).min, np.iinfo(kind).max
    assert check(dtype, kind(high), kind(high - 3), ulp=3)
    assert not check(dtype, kind(high), kind(high - 4), ulp=3)
    assert not check(dtype, kind(low), kind(high), ulp=3)
    assert check(dtype, kind(100), kind(99), rtol_ppb=10_000_000)
    assert not check(dtype, kind(100), kind(98), rtol_ppb=10_000_000)


def test_bfloat16_has_neighbours_of_its_own() -> None:
    one, next_one = np.uint16(0x3F80), np.uint16(0x3F81)
    assert check("bf16", one, next_one, ulp=1)
    assert not check("bf16", one, np.uint16(0x3F82), ulp=1)
    assert check("bf16", np.uint16(0x7FC0), np.uint16(0xFFC1), ulp=1)


def test_one_number_of_many_decides_wherever_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closeness, "PIECE_ELEMENTS", 7)
    right = np.linspace(1, 2, 30, dtype=np.float32)
    for at in range(30):
        wrong = right.copy()
        wrong[at] *= 1.01
        assert not check("f32", right, wrong, ulp=4)
        assert check("f32", right, wrong, rtol_ppb=20_000_000)
    assert check("f32", right, right.copy())
    assert check("f32", np.empty(0, np.float32), np.empty(0, np.float32), ulp=1)
