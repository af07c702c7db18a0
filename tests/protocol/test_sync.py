"""Two books made equal: the index of ranges, the frames, and whole conversations between cores."""

from __future__ import annotations

import hashlib
import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pcompute.errors import DecodeError
from p2pcompute.identity.keys import KeyPair, verify
from p2pcompute.protocol import sync
from p2pcompute.protocol.book import Book
from p2pcompute.protocol.budget import Budget
from p2pcompute.protocol.machine import Environment, Missed, Now, Ok, Outcome, Request, Ruling
from p2pcompute.protocol.post import Post
from p2pcompute.protocol.ranges import BITS_MAX, RangeIndex
from p2pcompute.protocol.sync import Sync
from p2pcompute.wire import documents as d

NETWORK = "test"
NOW = Now(0, 1_800_000_000_000)
IDS = st.sets(st.binary(min_size=32, max_size=32), max_size=40)


def offer(i: int, *, issued_at: int = NOW.wall_ms) -> bytes:
    key = KeyPair(i.to_bytes(32, "big"))
    author = d.Author(NETWORK, key.public, bytes(8), key.sign)
    body = d.Offer(b"", (), "cpu", "m", "c", "jail", "r", 2**30, 1000, 1, 1, 1, 1, 1)
    return author.write(issued_at, body, lifetime_ms=600_000).raw


def cancel(i: int, *, issued_at: int) -> bytes:
    key = KeyPair(i.to_bytes(32, "big"))
    return d.Author(NETWORK, key.public, bytes(8), key.sign).write(issued_at, d.Cancel(), lifetime_ms=600_000).raw


class Side:
    """One peer's book and the machine that levels it."""

    def __init__(self, name: int, offers: list[bytes]) -> None:
        key = KeyPair(bytes([name]) * 32)
        env = Environment(key.public, key.sign, verify, random.Random(name), bytes(32))
        self.post = Post(env, NETWORK, bytes(8), b"")
        self.book = Book(self.post)
        self.me = key.public
        for raw in offers:
            assert self.book.judge(NOW, raw)[0] is Ruling.ACCEPT
        self.sync = Sync(self.post, self.book, Budget())

    def raws(self) -> set[bytes]:
        return {x.offer.raw for x in self.book.listings()}


def level(asker: Side, other: Side) -> tuple[int, int]:
    """Let one side compare with the other until nothing is left to ask; (requests, bytes both ways)."""
    waiting = asker.sync.on_peer(NOW, other.me, up=True, outbound=True)
    requests = size = 0
    while waiting:
        effect = waiting.pop(0)
        if not isinstance(effect, Request):
            continue
        answer, _ = other.sync.answer(NOW, asker.me, effect.frame)
        requests += 1
        size += len(effect.frame) + len(answer or b"")
        tag = asker.post.answered(effect.request_id)
        assert tag is not None
        outcome: Outcome = Missed.CLOSED if answer is None else Ok(answer)
        waiting += asker.sync.on_response(NOW, tag, outcome)
    return requests, size


@given(IDS, IDS, st.integers(0, BITS_MAX))
def test_equal_sets_have_equal_fingerprints_and_others_differ_where_they_differ(
    one: set[bytes], two: set[bytes], bits: int
) -> None:
    a, b = RangeIndex(), RangeIndex()
    for i in sorted(one):
        a.add(i)
    b.fingerprints(bits)  # from here on it follows every change
    for i in sorted(one | two, reverse=True):
        b.add(i)
    for i in sorted(two - one):
        b.remove(i)
    assert len(a) == len(b) == len(one)
    assert a.fingerprints(bits) == b.fingerprints(bits)
    everything = [i for number in range(1 << bits) for i in a.short_ids(bits, number)]
    assert sorted(everything) == sorted({i[:8] for i in one})
    assert all((a.find(i[:8]) or b"")[:8] == i[:8] for i in one)


@pytest.mark.parametrize("left", [0, 1, 9, 700])
def test_an_index_that_grew_and_shrank_is_that_of_what_is_left(left: int) -> None:
    ids = [hashlib.sha256(b"%d" % i).digest() for i in range(2_000)]
    shrunk, fresh = RangeIndex(), RangeIndex()
    for i in ids:
        shrunk.add(i)
    for i in ids[left:]:
        shrunk.remove(i)
    for i in ids[:left]:
        fresh.add(i)
    for bits in range(BITS_MAX + 1):
        assert shrunk.fingerprints(bits) == fresh.fingerprints(bits)
        told = [shrunk.short_ids(bits, number) for number in range(1 << bits)]
        assert told == [fresh.short_ids(bits, number) for number in range(1 << bits)]
        assert sorted(i for one in told for i in one) == sorted(i[:8] for i in ids[:left])


@settings(max_examples=15)
@given(st.sets(st.integers(1, 60)), st.sets(st.integers(1, 60)))
def test_any_two_books_become_equal(mine: set[int], theirs: set[int]) -> None:
    asker = Side(201, [offer(i) for i in sorted(mine)])
    other = Side(202, [offer(i) for i in sorted(theirs)])
    level(asker, other)
    assert asker.raws() == other.raws() == {offer(i) for i in mine | theirs}


def test_a_newcomer_fills_its_book_in_three_requests_and_equal_books_need_one() -> None:
    offers = [offer(i) for i in range(1, 200)]
    newcomer, other = Side(201, []), Side(202, offers)
    assert level(newcomer, other)[0] <= 3
    assert newcomer.raws() == set(offers)
    again = Side(203, offers)
    requests, size = level(again, other)
    assert requests == 1
    assert size < 300


def test_the_cost_follows_from_the_difference_not_from_the_size() -> None:
    offers = [offer(i) for i in range(1, 400)]
    asker, other = Side(201, offers[1:]), Side(202, offers[:-1])
    _, size = level(asker, other)
    assert asker.raws() == other.raws() == set(offers)
    assert size < 3_000


def test_a_cancelled_offer_does_not_come_back_and_the_cancel_travels() -> None:
    raw, end = offer(1), cancel(1, issued_at=NOW.wall_ms + 5)
    ended, stale = Side(201, [raw]), Side(202, [raw])
    assert ended.book.judge(NOW, end)[0] is Ruling.ACCEPT
    level(ended, stale)
    assert ended.raws() == stale.raws() == set()
    assert level(ended, stale)[0] == 1


def test_a_refusing_or_silent_peer_ends_the_conversation_and_can_be_asked_again() -> None:
    asker = Side(201, [])
    (first,) = asker.sync.on_peer(NOW, b"p" * 32, up=True, outbound=True)
    assert isinstance(first, Request)
    tag = asker.post.answered(first.request_id)
    assert tag is not None
    assert asker.sync.on_response(NOW, tag, Missed.TIMEOUT) == []
    assert any(isinstance(e, Request) for e in asker.sync.on_timer(NOW))


@given(st.integers(2, 4), st.binary(max_size=80))
def test_any_request_is_answered_or_refused(kind: int, rest: bytes) -> None:
    side = Side(201, [])
    answer, _ = side.sync.answer(NOW, b"p" * 32, bytes((kind,)) + rest)
    assert answer is None or isinstance(answer, bytes)


@given(st.sampled_from(["compare", "get"]), st.binary(max_size=80))
def test_any_answer_is_used_or_dropped(step: str, answer: bytes) -> None:
    side = Side(201, [offer(1)])
    tag = sync.Tag("core", step, bytes(4), b"p" * 32)
    assert isinstance(side.sync.on_response(NOW, tag, Ok(answer)), list)


def test_differences_outside_of_the_ranges_are_dropped() -> None:
    side = Side(201, [offer(1)])
    tag = sync.Tag("core", "compare", bytes((sync.COMPARE, 0, 0, 0, 0, 0, 0)), b"p" * 32)
    for row in ([1, b""], [-1, b""], [0, b"short"]):
        assert side.sync.on_response(NOW, tag, Ok(msgspec.msgpack.encode([row]))) == []


def test_an_answer_that_tells_of_a_range_twice_is_dropped() -> None:
    """Each look through a range costs up to 4,096 steps, and an answer has room for 40,000 of them."""
    side = Side(201, [offer(1)])
    tag = sync.Tag("core", "compare", bytes((sync.COMPARE, 0, 0, 0, 0, 0, 0)), b"p" * 32)
    assert side.sync.on_response(NOW, tag, Ok(msgspec.msgpack.encode([[0, b""]]))) != []
    assert side.sync.on_response(NOW, tag, Ok(msgspec.msgpack.encode([[0, b""]] * 2))) == []


def test_a_flood_of_pushes_stops_at_the_budget() -> None:
    side = Side(201, [])
    frame = bytes((sync.PUSH,)) + msgspec.msgpack.encode([b"junk"] * 2000)
    for _ in range(5):
        answer, _ = side.sync.answer(NOW, b"p" * 32, frame)
    assert answer is None


def test_a_list_of_ids_has_whole_ids() -> None:
    assert sync.split_ids(b"a" * 16) == [b"a" * 8] * 2
    with pytest.raises(DecodeError):
        sync.split_ids(b"a" * 9)
