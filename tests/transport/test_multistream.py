from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pcompute.transport.multistream import (
    ATTEMPTS_MAX,
    HEADER,
    NegotiationError,
    Responder,
    line,
    read_line,
    request,
)


def responder() -> Responder:
    return Responder({"/echo/1", "/long/" + "x" * 200}.__contains__)


def test_a_patient_dialler_is_answered_line_by_line() -> None:
    side = responder()
    assert side.receive(HEADER) == HEADER
    assert side.receive(line(b"/echo/1")) == line(b"/echo/1")
    assert side.protocol == "/echo/1"


def test_data_behind_an_optimistic_proposal_is_kept() -> None:
    side = responder()
    assert side.receive(request("/echo/1") + b"data") == request("/echo/1")
    assert side.rest == b"data"


def test_a_name_of_two_length_bytes_is_understood() -> None:
    name = "/long/" + "x" * 200
    side = responder()
    side.receive(request(name))
    assert side.protocol == name


def test_an_unknown_name_is_declined_and_another_may_follow() -> None:
    side = responder()
    assert side.receive(request("/other/1")) == HEADER + line(b"na")
    assert side.receive(line(b"/echo/1")) == line(b"/echo/1")


def test_a_name_that_is_not_text_is_declined() -> None:
    assert responder().receive(HEADER + line(b"\xff\xfe")) == HEADER + line(b"na")


def test_endless_proposals_are_given_up() -> None:
    side = responder()
    with pytest.raises(NegotiationError, match="too many"):
        side.receive(HEADER + line(b"/no") * (ATTEMPTS_MAX + 1))


@pytest.mark.parametrize("data", [b"\x00", b"\xff\xff\x01", b"\x03abc", line(b"GET / HTTP/1.1")])
def test_what_is_not_multistream_is_given_up(data: bytes) -> None:
    with pytest.raises(NegotiationError):
        responder().receive(data)


@given(st.binary(max_size=1_000))
def test_a_line_survives_the_way(text: bytes) -> None:
    packed = line(text)
    assert read_line(packed) == (text, len(packed))
    assert read_line(packed[:-1]) is None


@given(st.lists(st.binary(max_size=60), max_size=8))
def test_whatever_comes_in_raises_only_negotiation_error(parts: list[bytes]) -> None:
    side = responder()
    try:
        for part in parts:
            side.receive(part)
    except NegotiationError:
        return
