"""Who is asked first, and why nobody serves."""

from __future__ import annotations

import random

import msgspec
import pytest

from p2pcompute.protocol.matching import (
    CONSTRAINTS,
    NEAREST,
    Listing,
    Needs,
    bind,
    distinct,
    explain,
    misfit,
    rank,
    rendezvous,
)
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


OFFERED: dict[str, object] = {
    "compute_capability": 75,
    "mflops": 1_000,
    "mflops_f64": 30,
    "copy_mb_s": 500,
    "isolation": "jail",
    "toolchain": "nvrtc",
    "jurisdictions": ("EU", "DE"),
    "watts": 250,
    "gco2_per_kwh": 40,
    "price_per_gb": 2,
}
ME = key_of("offered").public


@pytest.mark.parametrize(
    ("held", "broken", "fault"),
    [
        ({"engine": "cpu"}, {"engine": "cuda"}, "engine"),
        ({"model": "m"}, {"model": "n"}, "model"),
        ({"memory_bytes": 2**30}, {"memory_bytes": 2**30 + 1}, "memory"),
        ({"device_ms": 60_000}, {"device_ms": 60_001}, "device time"),
        ({"compute_capability": 75}, {"compute_capability": 76}, "compute capability"),
        ({"mflops": 1_000}, {"mflops": 1_001}, "throughput"),
        ({"mflops_f64": 30}, {"mflops_f64": 31}, "double precision"),
        ({"copy_mb_s": 500}, {"copy_mb_s": 501}, "copy rate"),
        ({"isolation": "jail"}, {}, ""),
        ({"isolation": "none"}, {}, ""),
        ({"toolchain": "nvrtc"}, {"toolchain": "other"}, "toolchain"),
        ({"regions": ("there", "here")}, {"regions": ("there",)}, "region"),
        ({"regions_denied": ("there",)}, {"regions_denied": ("there", "here")}, "denied region"),
        ({"jurisdictions": ("US", "DE")}, {"jurisdictions": ("US",)}, "jurisdiction"),
        ({"jurisdictions_denied": ("US",)}, {"jurisdictions_denied": ("DE",)}, "denied jurisdiction"),
        ({"watts_max": 250}, {"watts_max": 249}, "power"),
        ({"gco2_per_kwh_max": 40}, {"gco2_per_kwh_max": 39}, "carbon"),
        ({"operators": (ME,)}, {"operators": (bytes(32),)}, "operator"),
        ({"operators_denied": (bytes(32),)}, {"operators_denied": (ME,)}, "denied operator"),
        ({"rtt_ms_max": 30}, {"rtt_ms_max": 29}, "round trip"),
        ({"price_per_gb_max": 2}, {"price_per_gb_max": 1}, "price per gigabyte"),
        ({"price_per_device_s_max": 1_000_000}, {"price_per_device_s_max": 999_999}, "price"),
    ],
)
def test_a_constraint_holds_up_to_its_bound_and_is_named_beyond(
    held: dict[str, object], broken: dict[str, object], fault: str
) -> None:
    x = listing("offered", **OFFERED)
    assert misfit(x, bind(needs_with(held), lambda peer: 30)) == ""
    assert misfit(x, bind(needs_with(broken), lambda peer: 30)) == fault


def needs_with(fields: dict[str, object]) -> Needs:
    return msgspec.convert(fields, Needs)


def test_every_constraint_can_be_asked_and_none_is_by_default() -> None:
    everything = msgspec.convert(
        {
            name: value
            for kind, value in ((int, 1), (str, "x"), (tuple, ("x",)))
            for name in Needs.__struct_fields__
            if type(getattr(Needs(), name)) is kind and not name.startswith("operators")
        }
        | {"operators": (ME,), "operators_denied": (ME,)},
        Needs,
    )
    assert [name for name, _ in bind(everything)] == [c.name for c in CONSTRAINTS]
    assert bind(Needs()) == []


@pytest.mark.parametrize("cap", ["watts_max", "gco2_per_kwh_max"])
def test_a_cap_refuses_offers_that_state_nothing(cap: str) -> None:
    assert misfit(listing("offered"), bind(needs_with({cap: 10**6}))) in ("power", "carbon")


def test_a_level_of_isolation_that_nobody_knows_is_none() -> None:
    assert misfit(listing("a", isolation="vault"), bind(Needs(isolation="jail"))) == "isolation"
    assert misfit(listing("a", isolation="vault"), bind(Needs(isolation="none"))) == ""


def test_a_round_trip_never_measured_refuses_nobody() -> None:
    assert misfit(listing("a"), bind(Needs(rtt_ms_max=1))) == ""


def test_the_price_is_blamed_last() -> None:
    needs = Needs(2**40, 10**9, engine="cuda", price_per_device_s_max=1, regions=("there",))
    assert misfit(listing("a"), bind(needs)) == "engine"
    assert CONSTRAINTS[-1].name == "price"


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


@pytest.mark.parametrize(
    ("needs", "offers", "said"),
    [
        ({"memory_bytes": 9}, [{"memory_bytes_max": 5}, {"memory_bytes_max": 7}], "memory is 7 bytes"),
        ({"device_ms": 9}, [{"device_ms_max": 7}, {"device_ms_max": 5}], "device time is 7 ms"),
        (
            {"compute_capability": 80},
            [{"compute_capability": 75}, {"compute_capability": 70}],
            "compute capability is 7.5",
        ),
        ({"mflops": 9}, [{"mflops": 4}, {"mflops": 8}], "throughput is 8 MFLOP/s"),
        ({"copy_mb_s": 9}, [{"copy_mb_s": 4}, {"copy_mb_s": 8}], "copy rate is 8 MB/s"),
        ({"watts_max": 100}, [{"watts": 300}, {"watts": 200}, {"watts": 0}], "power is 200 W"),
        ({"gco2_per_kwh_max": 10}, [{"gco2_per_kwh": 30}, {"gco2_per_kwh": 20}], "carbon is 20 g of CO2 per kWh"),
        ({"rtt_ms_max": 29}, [{}], "round trip is 30 ms"),
        ({"price_per_gb_max": 1}, [{"price_per_gb": 3}, {"price_per_gb": 2}], "price per gigabyte is 2 micro-credits"),
        ({"price_per_device_s_max": 1}, [{"price_per_device_s": 9}], "price is 9 micro-credits per device-second"),
    ],
)
def test_the_nearest_number_that_would_do_is_named(
    needs: dict[str, object], offers: list[dict[str, object]], said: str
) -> None:
    row = [listing(str(i), **changes) for i, changes in enumerate(offers)]
    text = explain(row, needs_with(needs), demerits=nobody_has_any, rtt=lambda peer: 30)
    assert text.endswith(f"; the nearest {said}")


def test_every_constraint_that_asks_for_a_number_has_a_nearest_one() -> None:
    numbers = [c.name for c in CONSTRAINTS if type(getattr(Needs(), c.field)) is int]
    assert list(NEAREST) == numbers


def test_what_breaks_two_constraints_is_near_to_neither() -> None:
    row = [
        listing("both", memory_bytes_max=8, price_per_device_s=2),
        listing("small", memory_bytes_max=5, price_per_device_s=1),
        listing("dear", memory_bytes_max=9, price_per_device_s=7),
    ]
    text = explain(row, Needs(memory_bytes=9, price_per_device_s_max=1), demerits=nobody_has_any)
    assert "; the nearest memory is 5 bytes; the nearest price is 7 micro-credits per device-second" in text
    assert "2 × memory, 1 × price" in text


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
