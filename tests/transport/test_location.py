"""Where a peer is reached: its sockets, what it was told to announce, what enough others found, and its relays."""

from __future__ import annotations

import pytest

from p2pcompute.transport import location
from p2pcompute.transport.address import Address
from p2pcompute.transport.location import CANDIDATES_MAX, CONFIRMED_BY, CONFIRMED_S, Location
from p2pcompute.transport.relayed import Place

ME, RELAY = b"m" * 32, b"r" * 32
PUBLIC = Address("8.8.8.8", 9_000, ME)


def listening(*announce: str) -> Location:
    made = Location(ME, announce)
    made.listen([("127.0.0.1", 9_000)])
    return made


def found(where: Location, *hosts: str, at: Address = PUBLIC, now_s: float = 0.0) -> None:
    for host in hosts:
        where.found(at, f"/ip4/{host}/tcp/1", now_s)


def test_an_address_that_enough_networks_found_is_one_of_ours_for_a_while() -> None:
    where = listening()
    found(where, *(f"9.9.{index}.9" for index in range(CONFIRMED_BY - 1)))
    assert where.addresses() == where.bound
    found(where, "9.9.99.9", now_s=1)
    assert where.addresses() == (*where.bound, PUBLIC)
    where.expire(CONFIRMED_S)
    assert where.addresses() == where.bound


def test_many_peers_of_one_network_confirm_nothing() -> None:
    where = listening()
    found(where, *(f"9.9.9.{index}" for index in range(100)))
    assert where.addresses() == where.bound


def test_what_is_announced_needs_no_finder() -> None:
    where = listening("/ip4/8.8.4.4/tcp/1")
    found(where, "9.9.9.9", "9.9.8.9", "9.9.7.9")
    assert [str(one) for one in where.addresses()] == [str(Address("8.8.4.4", 1, ME))]
    assert where.asked("8.8.8.8") == where.announce


def test_candidates_are_bounded() -> None:
    where = listening()
    for port in range(10 * CANDIDATES_MAX):
        found(where, "9.9.9.9", at=Address("8.8.8.8", port, ME))
    assert len(where._found) == CANDIDATES_MAX


def test_a_forwarded_port_is_asked_for_where_we_are_seen() -> None:
    assert listening().asked("8.8.8.8") == (Address("127.0.0.1", 9_000, ME), PUBLIC)


def test_an_address_that_the_machine_gets_later_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    where = listening()
    monkeypatch.setattr(location, "reachable_hosts", lambda _: ("127.0.0.1", "192.168.7.7"))
    where.follow()
    assert [one.host for one in where.addresses()] == ["127.0.0.1", "192.168.7.7"]


def test_relays_stand_first() -> None:
    where = listening()
    where.places[RELAY] = Place(RELAY, Address("8.8.4.4", 1, RELAY), 100.0)
    assert where.addresses()[0] == Address("8.8.4.4", 1, ME, RELAY)
