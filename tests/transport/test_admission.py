from __future__ import annotations

from p2pcompute.transport.admission import (
    CONNECTIONS_MAX,
    CONNECTIONS_PER_IP_MAX,
    INBOUND_MAX,
    PENDING_MAX,
    PENDING_PER_IP_MAX,
    Admission,
)

STRANGER, OTHER, LOOPBACK = "203.0.113.5", "203.0.113.6", "127.0.0.1"


def test_handshakes_of_one_address_are_bounded() -> None:
    gate = Admission()
    assert sum(gate.begin(STRANGER) for _ in range(100)) == PENDING_PER_IP_MAX
    assert gate.begin(OTHER)
    gate.end(STRANGER)
    assert gate.begin(STRANGER)


def test_loopback_is_exempt_from_the_bound_per_address_but_not_from_the_total() -> None:
    gate = Admission()
    assert sum(gate.begin(LOOPBACK) for _ in range(1_000)) == PENDING_MAX


def test_connections_of_one_address_are_bounded() -> None:
    gate = Admission()
    assert sum(gate.admit(STRANGER, outbound=False) for _ in range(100)) == CONNECTIONS_PER_IP_MAX
    assert not gate.begin(STRANGER)
    gate.release(STRANGER, outbound=False)
    assert gate.admit(STRANGER, outbound=False)


def test_all_addresses_of_an_ipv6_network_count_as_one() -> None:
    gate = Admission()
    admitted = sum(gate.admit(f"2001:db8::{index:x}", outbound=False) for index in range(100))
    assert admitted == CONNECTIONS_PER_IP_MAX


def test_strangers_leave_room_for_our_own_dials() -> None:
    gate = Admission()
    assert sum(gate.admit(LOOPBACK, outbound=False) for _ in range(1_000)) == INBOUND_MAX
    assert sum(gate.admit(LOOPBACK, outbound=True) for _ in range(1_000)) == CONNECTIONS_MAX - INBOUND_MAX


def test_everything_given_back_leaves_nothing_behind() -> None:
    gate = Admission()
    for _ in range(3):
        assert all(gate.admit(LOOPBACK, outbound=False) for _ in range(INBOUND_MAX))
        for _ in range(INBOUND_MAX):
            gate.release(LOOPBACK, outbound=False)
