from __future__ import annotations

import pytest

from p2pcompute.transport.admission import (
    CONNECTIONS_MAX,
    CONNECTIONS_PER_IP_MAX,
    CONNECTIONS_PER_SUBNET_MAX,
    INBOUND_MAX,
    PENDING_MAX,
    PENDING_PER_IP_MAX,
    PENDING_PER_SUBNET_MAX,
    Admission,
    Handshake,
    Refusal,
)

STRANGER, OTHER, LOOPBACK = "203.0.113.5", "198.51.100.6", "127.0.0.1"


def begin(gate: Admission, host: str, gone: list[str] | None = None) -> Handshake | None:
    return gate.begin(host, lambda: None if gone is None else gone.append(host))


def admit(gate: Admission, host: str, *, outbound: bool = False) -> bool:
    if gate.refusal(host, outbound=outbound) is not None:
        return False
    gate.take(host, outbound=outbound)
    return True


def test_handshakes_of_one_address_are_bounded() -> None:
    gate = Admission()
    begun = [begin(gate, STRANGER) for _ in range(100)]
    assert sum(one is not None for one in begun) == PENDING_PER_IP_MAX
    assert begin(gate, OTHER)
    assert begun[0] is not None
    gate.end(begun[0])
    assert begin(gate, STRANGER)


def test_handshakes_of_one_network_are_bounded() -> None:
    gate = Admission()
    begun = [begin(gate, f"203.0.113.{index}") for index in range(100)]
    assert sum(one is not None for one in begun) == PENDING_PER_SUBNET_MAX


def test_the_oldest_handshake_of_the_busiest_network_gives_way() -> None:
    gate, gone = Admission(), list[str]()
    for index in range(PENDING_MAX - PENDING_PER_SUBNET_MAX):
        assert begin(gate, f"{index + 1}.1.1.1", gone)
    for index in range(PENDING_PER_SUBNET_MAX):
        assert begin(gate, f"203.0.113.{index}", gone)
    assert begin(gate, OTHER, gone)
    assert gone == ["203.0.113.0"]
    assert gate.pending == PENDING_MAX


def test_a_handshake_that_gave_way_is_counted_once() -> None:
    gate = Admission()
    begun = [begin(gate, LOOPBACK) for _ in range(3 * PENDING_MAX)]
    for one in begun:
        assert one is not None
        gate.end(one)
    assert gate.pending == 0


def test_connections_of_one_address_are_bounded() -> None:
    gate = Admission()
    assert sum(admit(gate, STRANGER) for _ in range(100)) == CONNECTIONS_PER_IP_MAX
    assert begin(gate, STRANGER) is None
    gate.release(STRANGER, outbound=False)
    assert admit(gate, STRANGER)


@pytest.mark.parametrize("network", ["203.0.113.{}", "2001:db8:1:{:x}::1"])
def test_connections_of_one_network_are_bounded(network: str) -> None:
    gate = Admission()
    assert sum(admit(gate, network.format(index)) for index in range(200)) == CONNECTIONS_PER_SUBNET_MAX
    assert gate.refusal(network.format(201), outbound=False) is Refusal.CROWDED
    assert admit(gate, OTHER)


def test_all_addresses_of_an_ipv6_host_count_as_one() -> None:
    gate = Admission()
    assert sum(admit(gate, f"2001:db8::{index:x}") for index in range(100)) == CONNECTIONS_PER_IP_MAX


def test_mapped_addresses_count_as_what_they_are() -> None:
    gate = Admission()
    assert sum(admit(gate, f"::ffff:{STRANGER}") for _ in range(100)) == CONNECTIONS_PER_IP_MAX
    assert not admit(gate, STRANGER)


def test_loopback_is_bounded_in_total_only() -> None:
    gate = Admission()
    assert sum(admit(gate, LOOPBACK) for _ in range(1_000)) == INBOUND_MAX


def test_private_networks_are_not_bounded_but_their_hosts_are() -> None:
    gate = Admission()
    assert all(admit(gate, f"192.168.1.{index}") for index in range(200))
    assert sum(admit(gate, "10.0.0.1") for _ in range(100)) == CONNECTIONS_PER_IP_MAX


def test_strangers_leave_room_for_our_own_dials() -> None:
    gate = Admission()
    assert sum(admit(gate, LOOPBACK) for _ in range(1_000)) == INBOUND_MAX
    assert sum(admit(gate, LOOPBACK, outbound=True) for _ in range(1_000)) == CONNECTIONS_MAX - INBOUND_MAX


def test_our_own_dials_are_not_counted_against_an_address() -> None:
    gate = Admission()
    assert all(admit(gate, STRANGER, outbound=True) for _ in range(2 * CONNECTIONS_PER_IP_MAX))
    assert admit(gate, STRANGER)


def test_everything_given_back_leaves_nothing_behind() -> None:
    gate = Admission()
    for _ in range(3):
        assert all(admit(gate, LOOPBACK) for _ in range(INBOUND_MAX))
        for _ in range(INBOUND_MAX):
            gate.release(LOOPBACK, outbound=False)
    assert gate.crowd(STRANGER) == gate.inbound == 0
