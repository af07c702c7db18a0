"""The book: rules B1 to B8 of docs/spec/market.md."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pcompute.identity.delegation import Capability, Revocation
from p2pcompute.identity.keys import KeyPair
from p2pcompute.protocol import book as book_module
from p2pcompute.protocol.book import Book
from p2pcompute.protocol.machine import Environment, Now, Ruling
from p2pcompute.protocol.matching import Needs
from p2pcompute.protocol.post import Post
from p2pcompute.wire import codec, limits
from p2pcompute.wire import documents as d
from tests.protocol.stage import NETWORK, WALL_MS, delegation, key_of, terms, verify_once

NODES = [key_of(f"node {i}") for i in range(3)]
OPERATORS = [key_of(f"operator {i}") for i in range(2)]
NOW = Now(0, WALL_MS)
LIFE_MS = limits.OFFER_LIFETIME_MS


class _NoChance:
    def random(self) -> float:
        return 0.0

    def randrange(self, start: int, stop: int | None = None, /) -> int:
        return 0

    def randbytes(self, n: int, /) -> bytes:
        return bytes(n)

    def shuffle(self, x: list[bytes], /) -> None:
        x.reverse()


def book() -> Book:
    me = key_of("me")
    env = Environment(me.public, me.sign, verify_once, _NoChance(), bytes(32))
    return Book(Post(env, NETWORK, bytes(8), b""))


def write(
    key: KeyPair,
    body: msgspec.Struct,
    *,
    at: int = 0,
    sequence: int = 1,
    lifetime_ms: int = LIFE_MS,
    kind: int | None = None,
) -> bytes:
    """A signed document issued `at` milliseconds after WALL_MS."""
    return codec.seal(
        NETWORK,
        key.sign,
        kind=d.KIND_OF[type(body)] if kind is None else kind,
        signer=key.public,
        epoch=bytes(8),
        sequence=sequence,
        issued_at=WALL_MS + at,
        expires_at=WALL_MS + at + lifetime_ms,
        body=body,
    )


def ruling(b: Book, raw: bytes, now: Now = NOW) -> Ruling:
    return b.judge(now, raw)[0]


def standing(b: Book) -> dict[bytes, tuple[bytes, bytes]]:
    return {x.peer: (x.offer.id, x.operator) for x in b.listings()}


def lend(operator: KeyPair, node: KeyPair, at: int) -> bytes:
    return delegation(operator, node.public, wall_ms=WALL_MS + at)


def _pool() -> list[bytes]:
    pool = []
    for node in NODES[:2]:
        lent = [b"", *(lend(o, node, at) for o in OPERATORS for at in (-50, -10))]
        pool += [write(node, terms(delegation=x), at=at) for at, x in enumerate(lent)]
        pool += [write(node, terms(delegation=x, slots=3), at=9 - at) for at, x in enumerate(lent)]
        pool += [write(node, d.Cancel(), at=at, sequence=2) for at in (1, 4)]
        pool += [write(node, d.Cancel(), at=6, lifetime_ms=1)]
        pool += [write(o, Revocation(node.public), at=at) for o in (*OPERATORS, node) for at in (-30, -5)]
    return pool


POOL = _pool()


@settings(max_examples=150)
@given(st.lists(st.sampled_from(POOL), max_size=12), st.data())
def test_the_same_documents_in_any_order_and_number_give_the_same_book(pool: list[bytes], data: st.DataObject) -> None:
    books = []
    for row in (pool, data.draw(st.permutations(pool)), data.draw(st.permutations(pool + pool[:3]))):
        b = book()
        for raw in row:
            b.judge(NOW, raw)
        books.append(standing(b))
    assert books[0] == books[1] == books[2]


def test_an_offer_enters_under_its_operator() -> None:
    b = book()
    assert ruling(b, write(NODES[0], terms(delegation=lend(OPERATORS[0], NODES[0], -1)))) is Ruling.ACCEPT
    assert ruling(b, write(NODES[1], terms())) is Ruling.ACCEPT
    assert [(x.peer, x.operator) for x in b.listings()] == [
        (NODES[0].public, OPERATORS[0].public),
        (NODES[1].public, NODES[1].public),
    ]


def test_an_offer_seen_before_is_ignored() -> None:
    b, raw = book(), write(NODES[0], terms())
    assert [ruling(b, raw), ruling(b, raw)] == [Ruling.ACCEPT, Ruling.IGNORE]


def test_a_tombstone_outlives_every_earlier_offer_however_short_its_own_life() -> None:
    b = book()
    offer = write(NODES[0], terms())
    b.judge(NOW, write(NODES[0], d.Cancel(), at=1, lifetime_ms=1_000))
    late = Now(0, WALL_MS + LIFE_MS - 1)
    b.expire(late)
    assert ruling(b, offer, late) is Ruling.IGNORE
    assert len(b) == 0


def test_a_later_offer_stands_in_spite_of_a_tombstone() -> None:
    b = book()
    b.judge(NOW, write(NODES[0], d.Cancel(), at=1))
    assert ruling(b, write(NODES[0], terms(), at=2)) is Ruling.ACCEPT


def test_listings_go_when_they_expire() -> None:
    b = book()
    b.judge(NOW, write(NODES[0], terms(), lifetime_ms=1_000))
    b.judge(NOW, write(NODES[1], terms(), lifetime_ms=2_000))
    gone = b.expire(Now(0, WALL_MS + 1_000))
    assert [e.fields["peer"] for e in gone] == [NODES[0].public]
    assert list(standing(b)) == [NODES[1].public]


def test_a_renewed_offer_does_not_go_with_the_old_ones_time() -> None:
    b = book()
    b.judge(NOW, write(NODES[0], terms(), lifetime_ms=1_000))
    b.judge(NOW, write(NODES[0], terms(), at=1))
    assert b.expire(Now(0, WALL_MS + 5_000)) == []
    assert len(b) == 1


def test_renewals_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book_module, "EXPIRY_SLACK", 2)
    b = book()
    for at in range(50):
        for node in NODES:
            assert ruling(b, write(node, terms(price_per_device_s=at), at=at)) is Ruling.ACCEPT
    assert len(b._expiry) <= 2 * len(NODES) + 2
    assert [x.offer.body.price_per_device_s for x in b.ranked(Needs(), seed=b"", demerits=lambda operator: 0)] == [
        49
    ] * 3
    assert b.expire(Now(0, WALL_MS + LIFE_MS + 48)) == []
    assert len(b.expire(Now(0, WALL_MS + LIFE_MS + 49))) == 3
    assert not b._ladders


def test_an_offer_that_ends_earlier_than_the_one_it_replaces_goes_in_time() -> None:
    b = book()
    b.judge(NOW, write(NODES[0], terms()))
    b.judge(NOW, write(NODES[0], terms(), at=1, lifetime_ms=1_000))
    assert len(b.expire(Now(0, WALL_MS + 1_001))) == 1


def test_an_operator_may_list_so_many_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "OFFERS_PER_OPERATOR_MAX", 1)
    b = book()
    offers = [write(n, terms(delegation=lend(OPERATORS[0], n, -1))) for n in NODES[:2]]
    assert [ruling(b, raw) for raw in offers] == [Ruling.ACCEPT, Ruling.IGNORE]
    renewed = write(NODES[0], terms(delegation=lend(OPERATORS[0], NODES[0], -1)), at=1)
    assert ruling(b, renewed) is Ruling.ACCEPT


def test_a_listed_peer_cannot_slip_past_an_operators_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "OFFERS_PER_OPERATOR_MAX", 1)
    b = book()
    b.judge(NOW, write(NODES[0], terms(delegation=lend(OPERATORS[0], NODES[0], -1))))
    b.judge(NOW, write(NODES[1], terms()))
    moved = write(NODES[1], terms(delegation=lend(OPERATORS[0], NODES[1], -1)), at=1)
    assert ruling(b, moved) is Ruling.IGNORE


def test_a_full_book_ignores_newcomers_and_renews_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "OFFERS_MAX", 1)
    b = book()
    rulings = [ruling(b, write(n, terms(), at=at)) for n, at in ((NODES[0], 0), (NODES[1], 0), (NODES[0], 1))]
    assert rulings == [Ruling.ACCEPT, Ruling.IGNORE, Ruling.ACCEPT]


def test_strangers_cannot_flush_tombstones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Book, "TOMBSTONES_MAX", 1)
    b = book()
    b.judge(NOW, write(NODES[0], d.Cancel(), at=1))
    assert ruling(b, write(NODES[1], d.Cancel(), at=1)) is Ruling.IGNORE
    assert ruling(b, write(NODES[0], terms())) is Ruling.IGNORE


GOOD = write(NODES[0], terms())


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        GOOD + b"\x00",
        GOOD[:-1] + bytes([GOOD[-1] ^ 1]),
        write(NODES[0], d.Release(bytes(32))),
        write(NODES[0], terms(), lifetime_ms=LIFE_MS + 1),
        write(NODES[0], d.Cancel(), lifetime_ms=LIFE_MS + 1),
        write(NODES[0], terms(delegation=b"no delegation")),
        write(NODES[0], terms(delegation=lend(OPERATORS[0], NODES[0], 0)[:-1] + b"\xff")),
        write(NODES[0], terms(delegation=write(OPERATORS[0], d.Cancel()))),
    ],
    ids=[
        "empty",
        "trailing",
        "forged",
        "kind",
        "offer's life",
        "cancel's life",
        "garbage",
        "forged inside",
        "kind inside",
    ],
)
def test_faults_that_need_no_context_are_rejected(raw: bytes) -> None:
    assert ruling(book(), raw) is Ruling.REJECT


@pytest.mark.parametrize(
    "raw",
    [
        write(NODES[0], terms(), at=limits.CLOCK_SKEW_MS_MAX + 1),
        write(NODES[0], terms(), at=-1_000, lifetime_ms=1_000),
        write(NODES[0], terms(delegation=lend(OPERATORS[0], NODES[1], -1))),
        write(NODES[0], terms(delegation=delegation(OPERATORS[0], NODES[0].public, Capability.REQUEST))),
        write(NODES[0], terms(delegation=delegation(OPERATORS[0], NODES[0].public, wall_ms=WALL_MS - 40 * 86_400_000))),
        write(NODES[0], terms(), kind=99),
        write(OPERATORS[0], Revocation(NODES[0].public), at=-1_000, lifetime_ms=1_000),
    ],
    ids=["future", "expired", "another's", "capability", "expired delegation", "unknown kind", "old revocation"],
)
def test_what_depends_on_a_clock_or_on_others_is_ignored(raw: bytes) -> None:
    b = book()
    assert ruling(b, raw) is Ruling.IGNORE
    assert len(b) == 0


def test_a_delegation_may_be_as_young_as_the_clock_skew_allows() -> None:
    young = lend(OPERATORS[0], NODES[0], limits.CLOCK_SKEW_MS_MAX)
    assert ruling(book(), write(NODES[0], terms(delegation=young))) is Ruling.ACCEPT


def test_a_revocation_is_news_once() -> None:
    b, raw = book(), write(OPERATORS[0], Revocation(NODES[0].public))
    assert [ruling(b, raw), ruling(b, raw)] == [Ruling.ACCEPT, Ruling.IGNORE]


def test_listings_are_immutable() -> None:
    b = book()
    b.judge(NOW, GOOD)
    with pytest.raises(AttributeError):
        next(iter(b.listings())).operator = b""  # type: ignore[misc]
