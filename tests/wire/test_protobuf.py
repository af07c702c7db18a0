from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pcompute.errors import DecodeError
from p2pcompute.wire.protobuf import read_fields, write_field, write_number


@given(st.integers(1, 15), st.integers(0, 2**63 - 1), st.binary(max_size=300))
def test_fields_come_back_as_they_were(number: int, value: int, data: bytes) -> None:
    message = write_number(number, value) + write_field(number, data)
    (first, found, kind), (second, start, end) = read_fields(message, 0, len(message), 4)
    assert (first, found, kind, second, message[start:end]) == (number, value, -1, number, data)


@pytest.mark.parametrize("data", [b"\x0a", b"\x0a\x05abc", b"\x09" + bytes(8), b"\x80" * 12, b"\x08" + b"\xff" * 11])
def test_what_is_no_message_is_a_decode_error(data: bytes) -> None:
    with pytest.raises(DecodeError):
        read_fields(data, 0, len(data), 8)


def test_fields_have_a_bound() -> None:
    with pytest.raises(DecodeError, match="too many"):
        read_fields(b"\x08\x01" * 9, 0, 18, 8)
