"""Pages of the book, as frames and between two cores."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pcompute.errors import DecodeError
from p2pcompute.protocol import budget, sync
from p2pcompute.protocol.machine import Missed, Ok, PeerInfo, Reply, Request
from tests.protocol.stage import Actor, Stage


@given(st.binary(min_size=32, max_size=32))
def test_a_pull_comes_back(after: bytes) -> None:
    assert sync.decode_pull(sync.encode_pull(after)) == after


@given(st.lists(st.binary(max_size=50), max_size=9))
def test_a_page_comes_back(offers: list[bytes]) -> None:
    assert sync.decode_page(sync.encode_page(offers)) == offers


@given(st.binary(max_size=60))
def test_other_bytes_are_a_page_or_a_decode_error(frame: bytes) -> None:
    try:
        page = sync.decode_page(frame)
    except DecodeError:
        return
    assert all(isinstance(raw, bytes) for raw in page)


def test_a_page_above_the_limit_is_refused() -> None:
    with pytest.raises(DecodeError, match="too long"):
        sync.decode_page(bytes(sync.PAGE_BYTES_MAX + 9))


@pytest.mark.parametrize("frame", [b"", b"\x01", b"\x02" + bytes(32), b"\x01" + bytes(33)])
def test_other_frames_are_no_pull(frame: bytes) -> None:
    assert sync.decode_pull(frame) is None


def first_pull(stage: Stage, actor: Actor, peer: bytes) -> Request:
    out = actor.core.on_peer(stage.now, PeerInfo(peer, True))
    (pull,) = [e for e in out if isinstance(e, Request)]
    return pull


def test_a_newcomer_gets_its_neighbours_book_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()
    old, new = stage.actor("old"), stage.actor("new")
    stage.providers(7)
    stage.introduce()
    new.boot()
    size = max(len(x.offer.raw) for x in old.core.book.listings())
    monkeypatch.setattr(sync, "PAGE_BYTES_MAX", 3 * size)
    new.do([first_pull(stage, new, old.peer)])
    stage.settle()
    assert {x.peer for x in new.core.book.listings()} == {x.peer for x in old.core.book.listings()}
    assert len(new.core.book) == 7


def answer(stage: Stage, actor: Actor, peer: bytes, page: list[bytes]) -> list[Request]:
    pull = first_pull(stage, actor, peer)
    out = actor.core.on_response(stage.now, pull.request_id, Ok(sync.encode_page(page)))
    return [e for e in out if isinstance(e, Request)]


def test_a_neighbour_that_sends_pages_in_no_order_is_not_asked_again() -> None:
    stage = Stage()
    new = stage.actor("new")
    raws = [p.core.book.get(p.peer).offer for p in stage.providers(3)]  # type: ignore[union-attr]
    down = [x.raw for x in sorted(raws, key=lambda x: x.id, reverse=True)]
    assert answer(stage, new, b"n" * 32, down) == []


@pytest.mark.parametrize("page", [[b"junk"], [], [b""]])
def test_a_page_without_a_good_document_ends_the_pull(page: list[bytes]) -> None:
    stage = Stage()
    assert answer(stage, stage.actor("new"), b"n" * 32, page) == []


@pytest.mark.parametrize("outcome", [Missed.TIMEOUT, Missed.CLOSED, Ok(b"\xff junk"), Ok(b"")])
def test_a_failed_pull_ends_quietly(outcome: Ok | Missed) -> None:
    stage = Stage()
    new = stage.actor("new")
    assert new.core.on_response(stage.now, first_pull(stage, new, b"n" * 32).request_id, outcome) == []


def test_a_neighbour_is_asked_for_a_bounded_number_of_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync, "PAGES_MAX", 1)
    stage = Stage()
    new = stage.actor("new")
    (p,) = stage.providers(1)
    raw = p.core.book.get(p.peer).offer.raw  # type: ignore[union-attr]
    assert answer(stage, new, b"n" * 32, [raw]) == []
    assert len(new.core.book) == 1


def test_pulls_spend_the_askers_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "BURST", 1)
    stage = Stage()
    (p,) = stage.providers(1)
    pull = sync.encode_pull(bytes(32))
    replies = [p.core.on_request(stage.now, b"n" * 32, i, pull) for i in range(2)]
    assert replies[1] == [Reply(1, None)]
    assert replies[0] != [Reply(0, None)]
