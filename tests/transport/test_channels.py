"""Frames over streams: cut as they were packed, however the bytes arrive."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pcompute.transport.channels import FrameError, Framer, pack_frame

FRAME_BYTES_MAX = 256 * 1024


@given(st.lists(st.binary(max_size=300), max_size=5), st.integers(1, 400))
def test_frames_come_out_as_they_went_in(frames: list[bytes], size: int) -> None:
    got: list[bytes] = []
    framer, stream = Framer(FRAME_BYTES_MAX, got.append), b"".join(map(pack_frame, frames))
    for at in range(0, len(stream), size):
        framer(stream[at : at + size])
    assert got == frames


def test_a_long_frame_that_comes_a_byte_at_a_time_is_copied_once() -> None:
    """Copied for each byte it would be 32 GiB, and nobody else would be served meanwhile."""
    got: list[bytes] = []
    framer, stream = Framer(FRAME_BYTES_MAX, got.append), pack_frame(bytes(FRAME_BYTES_MAX))
    beginnings = set()
    for at in range(len(stream) - 1):
        framer(stream[at : at + 1])
        beginnings.add(id(framer._rest))
    assert len(beginnings) == 1
    framer(stream[-1:])
    assert got == [bytes(FRAME_BYTES_MAX)]


def test_a_frame_over_the_limit_is_refused_before_it_arrives() -> None:
    framer = Framer(100, lambda frame: None)
    with pytest.raises(FrameError, match="101 bytes"):
        framer(b"\x65")
