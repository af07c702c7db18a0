"""Who is asked first, and why nobody serves."""

from __future__ import annotations

import random

import pytest

from p2pcompute.protocol.matching import CONSTRAINTS, Listing, Needs, distinct, explain, misfit, rank, rendezvous
from p2pcompute.wire import documents as d
from tests.protocol.stage import NETWORK, WALL_MS, key_of, terms

NEEDS = Needs(memory_bytes=2**20, device_ms=1_000)


def listing(name: str, operator: bytes | None = None, **changes: object) -> Listing:
    key = key_of(name)
    author = d.Author(NETWORK, key.public, bytes(8), key.sign)
    return Listing(author.write(WALL_MS, terms(**changes), lifetime_ms=1_000), operator or key.public)


def nobody_has_any(operator: bytes) -> int:
    return 0


def test_the_cheapest_comes_first() -> None:
    row = [listing(f"l{p}", price_per_device_s=p) for p in (30, 10, 20)]
    ranked = rank(row, NEEDS, seed=b"s", demerits=nobody_has_any)
    assert [x.offer.body.price_per_device_s for x in ranked] == [10, 20, 30]


def test_at_one_price_fewer_demerits_come_first() -> None:
    a, b = listing("a"), listing("b")
    for good, bad in ((a, b), (b, a)):
        ranked = rank([a, b], NEEDS, seed=b"s", demerits=lambda o, bad=bad: 5 if o == bad.operator else 0)  # type: ignore[misc]
        assert ranked == [good, bad]


def test_the_order_of_arrival_wins_nothing() -> None:
    row = [listing(f"l{i}") for i in range(8)]
    ranked = rank(row, NEEDS, seed=b"s", demerits=nobody_has_any)
    for i in range(5):
        random.Random(i).shuffle(row)
        assert rank(row, NEEDS, seed=b"s", demerits=nobody_has_any) == ranked


def test_different_jobs_break_ties_differently() -> None:
    row = [listing(f"l{i}") for i in range(8)]
    first = {rank(row, NEEDS, seed=bytes([i]), demerits=nobody_has_any)[0].peer for i in range(20)}
    assert len(first) > 3
    assert rendezvous(b"s", b"p") == rendezvous(b"s", b"p")


def test_the_banned_are_never_ranked() -> None:
    a, b = listing("a"), listing("b")
    assert rank([a, b], NEEDS, seed=b"s", demerits=lambda o: -1 if o == a.operator else 0) == [b]


@pytest.mark.parametrize(
    ("needs", "fault"),
    [
        (NEEDS, ""),
        (Needs(2**30, 60_000, "cpu", 1_000_000, ("here",)), ""),
        (Needs(2**30 + 1, 1), "memory"),
        (Needs(1, 60_001), "device time"),
        (Needs(1, 1, engine="cuda"), "engine"),
        (Needs(1, 1, regions=("there",)), "region"),
        (Needs(1, 1, price_per_device_s_max=999_999), "price"),
        (Needs(2**40, 10**9, "cuda", 1, ("there",)), "engine"),
    ],
)
def test_the_first_broken_constraint_is_named(needs: Needs, fault: str) -> None:
    assert misfit(terms(), needs) == fault
    assert fault in ("", *(name for name, _ in CONSTRAINTS))


def test_one_listing_of_each_operator_is_chosen() -> None:
    row = [listing("a", b"1"), listing("b", b"1"), listing("c", b"2"), listing("d", b"3"), listing("e", b"4")]
    assert distinct(row, 2, taken=[b"2"]) == [row[0], row[3]]
    assert distinct(row, 9, taken=[]) == [row[0], row[2], row[3], row[4]]


def test_an_empty_book_is_explained() -> None:
    assert explain([], NEEDS, demerits=nobody_has_any).startswith("no offers have been seen")


def test_every_reason_is_counted_and_the_nearest_price_named() -> None:
    row = [
        listing("a", price_per_device_s=70),
        listing("b", price_per_device_s=50),
        listing("c", price_per_device_s=10, memory_bytes_max=1),
        listing("d", price_per_device_s=10),
        listing("e", price_per_device_s=10),
    ]
    needs = Needs(2**20, 1_000, price_per_device_s_max=20)
    text = explain(row, needs, demerits=lambda o: -1 if o == row[3].operator else 0)
    assert text.startswith("of 5 offers none serves this: ")
    for part in ("2 × price", "1 × memory", "1 × banned here for wrong results", "1 × busy or silent", "price is 50 "):
        assert part in text


def at(*addresses: str) -> Listing:
    return listing("".join(addresses), addresses=addresses)


def test_replicas_lie_in_distinct_networks() -> None:
    one, same = at("/ip4/198.51.0.1/tcp/1"), at("/ip4/198.51.0.2/tcp/1")
    other, six, beside = at("/ip4/198.51.1.1/tcp/1"), at("/ip6/2600::1/tcp/1"), at("/ip6/2600:0:0:7::1/tcp/1")
    assert distinct([one, same, other, six, beside], 5, taken=[]) == [one, other, six]
    assert distinct([one, other], 5, taken=[one.network]) == [other]


def test_addresses_of_home_and_relays_tell_no_owner() -> None:
    home = [at("/ip4/127.0.0.1/tcp/1"), at("/ip4/127.0.0.1/tcp/2"), at("/ip4/192.168.0.1/tcp/1")]
    relay = "/ip4/198.51.0.1/tcp/1/p2p/12D3KooWA/p2p-circuit"
    relayed = [at(f"{relay}/p2p/12D3KooW{i}") for i in range(2)]
    assert distinct([*home, *relayed], 9, taken=[]) == [*home, *relayed]
    assert at(f"{relay}/p2p/12D3KooWB", "/ip4/198.51.1.9/tcp/1").network == "198.51.1.0/24"
