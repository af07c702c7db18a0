"""The ladder and the book's query: the same choice as ranking everything, with less looking."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pcompute.protocol import hiring, recruiting
from p2pcompute.protocol import ladder as ladder_module
from p2pcompute.protocol.book import Book
from p2pcompute.protocol.ladder import Ladder
from p2pcompute.protocol.machine import Environment, Now
from p2pcompute.protocol.matching import Listing, Needs, RankBy, distinct, price_per_tflop, quantities, rank, unmeasured
from p2pcompute.protocol.post import Post
from p2pcompute.protocol.reputation import Reputation
from p2pcompute.wire import codec, limits
from p2pcompute.wire import documents as d
from tests.protocol.stage import NETWORK, WALL_MS, key_of, terms

NOW = Now(0, WALL_MS)
OPERATORS = [blake3(bytes([i])).digest() for i in range(4)]


def listing(number: int, operator: bytes = b"", **changes: object) -> Listing:
    """A listing as a book makes it; nobody signed it, and nobody asks."""
    peer = blake3(number.to_bytes(4, "big")).digest()
    offer = codec.Document(int(d.Kind.OFFER), peer, bytes(8), 1, WALL_MS, WALL_MS + 1_000, terms(**changes), peer, peer)
    return Listing(offer, operator or peer)


def filled(listings: Iterable[Listing]) -> Ladder:
    out = Ladder()
    for x in listings:
        out.add(x)
    return out


@st.composite
def offers(draw: st.DrawFn) -> Listing:
    network = draw(st.integers(0, 5))
    return listing(
        draw(st.integers(0, 2**31)),
        draw(st.sampled_from(OPERATORS)),
        price_per_device_s=draw(st.integers(1, 6)),
        engine=draw(st.sampled_from(("cpu", "cuda", ""))),
        model=draw(st.sampled_from(("m", "n", ""))),
        memory_bytes_max=draw(st.integers(1, 4)),
        mflops=draw(st.integers(0, 4)),
        region=draw(st.sampled_from(("here", "there"))),
        addresses=(f"/ip4/198.51.{network}.1/tcp/1",) if network else ("/stage",),
    )


needs = st.builds(
    Needs,
    memory_bytes=st.integers(0, 4),
    mflops=st.integers(0, 4),
    engine=st.sampled_from(("", "cpu", "cuda")),
    model=st.sampled_from(("", "m", "n")),
    regions=st.sampled_from(((), ("here",))),
    price_per_device_s_max=st.integers(0, 6),
    rank_by=st.sampled_from(RankBy),
)
steps = st.lists(st.tuples(st.booleans(), offers()), max_size=60, unique_by=lambda row: row[1].peer)


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ladder_module, "CHUNK", 4)


def entered(rows: list[tuple[bool, Listing]], asked_after: int) -> tuple[Book, list[Listing]]:
    """A book that was given all of these, was asked after so many, and lost some of them again."""
    me = key_of("me")
    env = Environment(me.public, me.sign, lambda *_: True, random.Random(0), bytes(32))
    book = Book(Post(env, NETWORK, bytes(8), b""))
    for count, (_, x) in enumerate(rows):
        if count == asked_after:
            ask_every_order(book)
        book._enter(x)
    if asked_after >= len(rows):
        ask_every_order(book)
    for stays, x in rows:
        if not stays:
            book._leave(x)
    return book, [x for stays, x in rows if stays]


def ask_every_order(book: Book) -> None:
    for by in RankBy:
        list(book.ranked(Needs(rank_by=by), seed=b"", demerits=nobody_has_any))


@settings(max_examples=300)
@given(
    steps,
    needs,
    st.binary(min_size=1, max_size=2),
    st.lists(st.integers(-1, 3), min_size=4, max_size=4),
    st.sets(st.sampled_from(OPERATORS)),
    st.integers(1, 6),
    st.integers(0, 60),
)
def test_the_query_chooses_whom_ranking_everything_chooses(
    rows: list[tuple[bool, Listing]],
    need: Needs,
    seed: bytes,
    scores: list[int],
    resting: set[bytes],
    count: int,
    asked_after: int,
) -> None:
    book, left = entered(rows, asked_after)
    reputation = Reputation()
    for operator, score in zip(OPERATORS, scores, strict=True):
        for _ in range(score):
            reputation.slow(operator, 0)
        if score < 0:
            reputation.ban(operator, "for the test")
        elif operator not in resting:
            reputation._resting.pop(operator, None)
    plain = rank(left, need, seed=seed, demerits=reputation.demerits)
    assert list(book.ranked(need, seed=seed, demerits=reputation.demerits)) == plain
    awake = [x for x in plain if not reputation.rests(x.operator, 1)]
    taken: list[bytes | str] = [OPERATORS[0], "198.51.1.0/24"]
    query = (
        x for x in book.ranked(need, seed=seed, demerits=reputation.demerits) if not reputation.rests(x.operator, 1)
    )
    assert distinct(query, count, taken=taken) == distinct(awake, count, taken=taken)


@settings(max_examples=100)
@given(
    st.lists(offers(), max_size=80, unique_by=lambda x: x.peer),
    st.randoms(use_true_random=False),
    st.sampled_from(RankBy),
)
def test_a_ladder_stays_sorted_and_its_chunks_true_whatever_comes_and_goes(
    rows: list[Listing], chance: random.Random, by: RankBy
) -> None:
    ladder, standing = Ladder(by=by), list[Listing]()
    for x in rows:
        ladder.add(x)
        standing.append(x)
        if chance.random() < 0.4:
            ladder.remove(standing.pop(chance.randrange(len(standing))))
        assert bool(ladder) == bool(standing)
        if chance.random() < 0.3:
            continue  # nobody asks; more than one will wait
        rung = price_per_tflop if by is RankBy.GFLOP else lambda o: o.price_per_device_s
        expected = sorted(standing, key=lambda y: (rung(y.offer.body), y.peer))
        assert list(ladder.walk()) == expected
        for chunk in ladder._chunks:
            assert 0 < len(chunk.keys) <= 2 * ladder_module.CHUNK
            most = [max(column) for column in zip(*(quantities(y.offer.body) for y in chunk.listings), strict=True)]
            assert all(known >= true for known, true in zip(chunk.most, most, strict=True))
    for x in standing:
        ladder.remove(x)
    assert not ladder


def nobody_has_any(operator: bytes) -> int:
    return 0


class _Counted(Ladder):
    """Counts the listings that were looked at."""

    __slots__ = ("looked",)

    def walk(self, *where: object):  # type: ignore[no-untyped-def]
        for x in super().walk(*where):  # type: ignore[arg-type]
            self.looked = getattr(self, "looked", 0) + 1
            yield x


def test_chunks_without_what_is_needed_are_passed_over() -> None:
    ladder = _Counted()
    for i in range(200):
        ladder.add(listing(i, price_per_device_s=i, memory_bytes_max=2 if i == 150 else 1))
    found = list(
        ladder.ranked(Needs(memory_bytes=2), seed=b"s", demerits=nobody_has_any, rtt=unmeasured, scan=limits.SCAN_MAX)
    )
    assert [x.offer.body.price_per_device_s for x in found] == [150]
    assert ladder.looked <= 2 * ladder_module.CHUNK


def test_a_query_looks_at_so_many_and_no_more() -> None:
    ladder = _Counted()
    for i in range(100):
        ladder.add(listing(i, price_per_device_s=i, region="there"))
    need = Needs(regions=("here",))
    assert list(ladder.ranked(need, seed=b"s", demerits=nobody_has_any, rtt=unmeasured, scan=20)) == []
    assert ladder.looked <= 21


def test_among_many_of_one_price_different_jobs_see_different_ones() -> None:
    ladder = filled(listing(i) for i in range(100))
    seen: set[bytes] = set()
    for seed in range(20):
        found = list(ladder.ranked(Needs(), seed=bytes([seed]), demerits=nobody_has_any, rtt=unmeasured, scan=10))
        assert len({x.peer for x in found}) == 10
        seen.update(x.peer for x in found)
    assert len(seen) > 60


@pytest.mark.parametrize("scan", [3, 100])
def test_the_banned_are_never_found(scan: int) -> None:
    ladder = filled(listing(i, OPERATORS[i % 2]) for i in range(12))
    found = ladder.ranked(
        Needs(), seed=b"s", demerits=lambda o: -1 if o == OPERATORS[0] else 0, rtt=unmeasured, scan=scan
    )
    assert {x.operator for x in found} == {OPERATORS[1]}


def test_a_look_that_begins_late_among_many_goes_round() -> None:
    ladder = filled(listing(i) for i in range(12))
    for seed in range(20):
        found = ladder.ranked(Needs(), seed=bytes([seed]), demerits=nobody_has_any, rtt=unmeasured, scan=10)
        assert len({x.peer for x in found}) == 10


def test_what_is_cheaper_than_the_many_of_one_price_stays_first() -> None:
    ladder = filled([listing(i) for i in range(100)] + [listing(i, price_per_device_s=1) for i in range(200, 203)])
    found = list(ladder.ranked(Needs(), seed=b"s", demerits=nobody_has_any, rtt=unmeasured, scan=10))
    assert [x.offer.body.price_per_device_s for x in found] == [1] * 3 + [1_000_000] * 10


def test_the_last_of_the_fruitless_rounds_sees_the_whole_book() -> None:
    assert limits.SCAN_MAX << recruiting.SCAN_DOUBLINGS_MAX >= limits.OFFERS_MAX
    assert recruiting.SCAN_DOUBLINGS_MAX < hiring.LONELY_ROUNDS_MAX


def test_by_gflop_the_fast_and_dear_may_come_before_the_slow_and_cheap() -> None:
    rows = [
        listing(0, price_per_device_s=10, mflops=1_000),
        listing(1, price_per_device_s=30, mflops=4_000),
        listing(2, price_per_device_s=1, mflops=0),
        listing(3, price_per_device_s=90, mflops=90_000),
    ]
    book, left = entered([(True, x) for x in rows], 0)
    need = Needs(rank_by=RankBy.GFLOP)
    found = list(book.ranked(need, seed=b"s", demerits=nobody_has_any))
    assert found == rank(left, need, seed=b"s", demerits=nobody_has_any) == [rows[3], rows[1], rows[0], rows[2]]
    assert [x.offer.body.price_per_device_s for x in book.ranked(Needs(), seed=b"s", demerits=nobody_has_any)] == [
        1, 10, 30, 90
    ]  # fmt: skip


def test_by_gflop_the_highest_price_of_a_device_second_still_counts() -> None:
    rows = [listing(0, price_per_device_s=10, mflops=1), listing(1, price_per_device_s=30, mflops=4_000)]
    book, _ = entered([(True, x) for x in rows], 0)
    need = Needs(rank_by=RankBy.GFLOP, price_per_device_s_max=29)
    assert list(book.ranked(need, seed=b"s", demerits=nobody_has_any)) == [rows[0]]


def test_a_query_by_gflop_looks_at_so_many_and_no_more() -> None:
    ladder = _Counted(by=RankBy.GFLOP)
    for i in range(100):
        ladder.add(listing(i, mflops=i + 1, region="there"))
    need = Needs(regions=("here",), rank_by=RankBy.GFLOP)
    assert list(ladder.ranked(need, seed=b"s", demerits=nobody_has_any, rtt=unmeasured, scan=20)) == []
    assert ladder.looked <= 21
