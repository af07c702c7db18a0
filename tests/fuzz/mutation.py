"""Inputs for hypothesis: seeds with damage, which reach further than bytes by chance, and bytes by chance."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

EDITS_MAX = 4
INTERESTING = (
    b"\0",
    b"\1",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"\xff\xff",
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
)


@st.composite
def damaged(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """A seed with up to four pieces replaced, removed, repeated, or taken from another seed."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, EDITS_MAX))):
        at = draw(st.integers(0, len(data)))
        end = draw(st.integers(at, min(len(data), at + 64)))
        other = draw(st.sampled_from(seeds))
        begin = draw(st.integers(0, len(other)))
        piece = draw(
            st.one_of(
                st.just(b""),
                st.binary(max_size=8),
                st.sampled_from(INTERESTING),
                st.just(data[at:end] * 2),
                st.just(other[begin : begin + 64]),
            )
        )
        data = data[:at] + piece + data[end:]
    return data


def inputs(seeds: Sequence[bytes], size_max: int) -> st.SearchStrategy[bytes]:
    return st.one_of(damaged(seeds), st.binary(max_size=min(size_max, 512))).map(lambda data: data[:size_max])
