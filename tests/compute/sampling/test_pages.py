"""Buffers of which single leaves are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pcompute.compute.sampling.pages import LEAF, Pages, Spans, first_difference, leaves_under

SIZE = 10 * LEAF + 100
DATA = bytes(n * 7 % 256 for n in range(SIZE))


def spans(*pairs: tuple[int, int]) -> Spans:
    return np.array(pairs, np.int64).reshape(-1, 2)


@given(st.lists(st.tuples(st.integers(0, SIZE - 1), st.integers(1, 3 * LEAF)), max_size=6))
def test_leaves_under_bytes_are_those_the_bytes_lie_in(pairs: list[tuple[int, int]]) -> None:
    chosen = [(start, start + length) for start, length in pairs]
    expected = {byte // LEAF for start, end in chosen for byte in (*range(start, end, LEAF), end - 1)}
    assert leaves_under(spans(*chosen)) == sorted(expected)


def test_only_what_was_added_is_known() -> None:
    pages = Pages(SIZE)
    wanted = spans((LEAF - 1, LEAF + 1), (10 * LEAF, SIZE))
    assert pages.missing(wanted) == [0, 1, 10]
    pages.add({n: DATA[n * LEAF : (n + 1) * LEAF] for n in (1, 0, 10)})
    assert pages.missing(wanted) == []
    assert pages.read(LEAF - 2, LEAF + 3) == DATA[LEAF - 2 : LEAF + 3]
    assert pages.read(SIZE - 3, SIZE) == DATA[-3:]
    assert pages.extents().parts == [(0, DATA[: 2 * LEAF]), (10 * LEAF, DATA[10 * LEAF :])]
    with pytest.raises(KeyError):
        pages.read(2 * LEAF - 1, 2 * LEAF + 1)


def test_zeros_and_whole_buffers_are_known_throughout() -> None:
    everything = spans((0, SIZE))
    zeros, whole = Pages(SIZE, is_zero=True), Pages(SIZE, whole=memoryview(DATA))
    assert zeros.missing(everything) == whole.missing(everything) == []
    assert (zeros.read(5, 8), whole.read(5, 8)) == (bytes(3), DATA[5:8])
    assert zeros.extents().parts == []
    assert [(at, bytes(part)) for at, part in whole.extents().parts] == [(0, DATA)]


def test_the_first_difference_is_a_byte_of_the_buffer() -> None:
    pages = Pages(SIZE, whole=memoryview(DATA))
    mine = spans((3, 7), (LEAF, LEAF + 5))
    left = DATA[3:7] + DATA[LEAF : LEAF + 5]
    assert first_difference(mine, left, pages) is None
    for place, byte in ((0, 3), (3, 6), (4, LEAF), (8, LEAF + 4)):
        assert first_difference(mine, left[:place] + bytes([left[place] ^ 1]) + left[place + 1 :], pages) == byte
