"""Where two blobs differ: V26 of docs/spec/verification.md."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from p2pcompute.wire import limits, merkle
from p2pcompute.wire.bisection import bisect, first_difference
from p2pcompute.wire.fraud import Piece

LEAF = limits.BLOB_LEAF_BYTES


def piece(data: bytes, leaf: int) -> Piece:
    """A leaf with its proof, as a peer gives it."""
    proof = tuple(merkle.prove_leaves(data, merkle.chunk_nodes(data), [leaf]))
    found = Piece(merkle.blob_root(data), len(data), (leaf,), proof, data[leaf * LEAF : (leaf + 1) * LEAF])
    assert found.is_proven
    return found


def walk(left: bytes, right: bytes) -> tuple[int, list[int]]:
    """The byte, and which leaves were asked for."""
    steps, asked = bisect(len(left)), list[int]()
    leaf = next(steps)
    while True:
        asked.append(leaf)
        try:
            leaf = steps.send((piece(left, leaf), piece(right, leaf)))
        except StopIteration as end:
            return end.value, asked


def levels(size: int) -> int:
    return (merkle.leaf_count(size) - 1).bit_length() + 1


@given(
    st.integers(1, 150 * LEAF),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=6),
)
@example(1, [(0.0, 1)])
@example(65 * LEAF, [(0.999999, 1)])
@example(64 * LEAF + 1, [(0.999999, 128)])
def test_a_byte_in_which_two_blobs_differ_is_found_by_a_leaf_for_each_level(
    size: int, changes: list[tuple[float, int]]
) -> None:
    left = bytes(i * 7 % 251 for i in range(256)) * (size // 256 + 1)
    left, right = left[:size], bytearray(left[:size])
    for where, change in changes:
        right[int(where * size)] ^= change
    if left == bytes(right):
        return
    byte, asked = walk(left, bytes(right))
    assert left[byte] != right[byte]
    assert len(asked) == len(set(asked)) <= levels(size)


@pytest.mark.parametrize("size", [1, LEAF, 3 * LEAF + 1, 64 * LEAF])
def test_blobs_that_do_not_differ_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="do not differ"):
        walk(bytes(size), bytes(size))


@given(st.binary(max_size=40), st.data())
def test_the_first_byte_that_differs(left: bytes, data: st.DataObject) -> None:
    right = data.draw(st.binary(min_size=len(left), max_size=len(left)))
    place = first_difference(left, right)
    assert (place is None) == (left == right)
    assert place is None or (left[:place] == right[:place] and left[place] != right[place])
