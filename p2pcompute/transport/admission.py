"""How many connections there may be: in the handshake and established; in total, per address and per network.

Loopback is exempt from the limits per address and per network: every peer of a local network of processes has the same
one. Private addresses are exempt from the limit per network only. Rules A1 to A8 of docs/spec/transport.md.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import ipaddress
from collections.abc import Callable
from typing import Final

PENDING_MAX: Final = 128
"""Inbound handshakes at once. One costs about 0.5 ms of work and some kilobytes for at most ten seconds."""
PENDING_PER_IP_MAX: Final = 8
PENDING_PER_SUBNET_MAX: Final = 32
CONNECTIONS_MAX: Final = 512
INBOUND_MAX: Final = 448
"""Of those: strangers cannot take the room that our own dials need."""
CONNECTIONS_PER_IP_MAX: Final = 32
CONNECTIONS_PER_SUBNET_MAX: Final = 64
"""Of inbound ones: to fill the room of 448, somebody must hold seven networks."""
IPV4_SUBNET_BITS: Final = 24
"""The smallest network that is routed by itself, and what a customer of a hosting company gets at most for little."""
IPV6_SUBNET_BITS: Final = 48
"""What one site is given (RFC 6177)."""
IPV6_HOST_BITS: Final = 64
"""Whoever has one IPv6 address has 2**64 of them: they count as one."""


class Refusal(enum.Enum):
    """Why a connection may not be."""

    FULL = "all room is taken"
    CROWDED = "its address or network has too many connections here"


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """An address as the limits count it."""

    host: str
    subnet: str
    counts_host: bool
    counts_subnet: bool


@functools.lru_cache(maxsize=4_096)
def place_of(host: str) -> Place:
    """`host` is an IPv4 or IPv6 address, with or without a zone."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if isinstance(address, ipaddress.IPv6Address):
        one, many = IPV6_HOST_BITS, IPV6_SUBNET_BITS
    else:
        one, many = address.max_prefixlen, IPV4_SUBNET_BITS
    return Place(
        host=str(ipaddress.ip_network((address, one), strict=False)),
        subnet=str(ipaddress.ip_network((address, many), strict=False)),
        counts_host=not address.is_loopback,
        counts_subnet=not (address.is_loopback or _is_private(address)),
    )


_PRIVATE: Final = tuple(
    map(
        ipaddress.ip_network,
        ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "fc00::/7", "fe80::/10"),
    )
)


def _is_private(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return any(address in network for network in _PRIVATE)


class Counter:
    """How often each key was taken; keys that are given back leave nothing behind."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def __getitem__(self, key: str) -> int:
        return self._counts.get(key, 0)

    def __len__(self) -> int:
        return len(self._counts)

    def take(self, key: str) -> None:
        self._counts[key] = self[key] + 1

    def give(self, key: str) -> None:
        if self[key] <= 1:
            self._counts.pop(key, None)
        else:
            self._counts[key] -= 1


class Room:
    """Counts by address and by network, and the bounds of both."""

    def __init__(self, per_host_max: int, per_subnet_max: int) -> None:
        self._per_host_max, self._per_subnet_max = per_host_max, per_subnet_max
        self.hosts, self.subnets = Counter(), Counter()

    def is_crowded(self, place: Place) -> bool:
        return (place.counts_host and self.hosts[place.host] >= self._per_host_max) or (
            place.counts_subnet and self.subnets[place.subnet] >= self._per_subnet_max
        )

    def take(self, place: Place) -> None:
        self.hosts.take(place.host)
        self.subnets.take(place.subnet)

    def give(self, place: Place) -> None:
        self.hosts.give(place.host)
        self.subnets.give(place.subnet)


class Handshake:
    """One inbound handshake in progress. `give_up` ends it."""

    __slots__ = ("give_up", "place")

    def __init__(self, place: Place, give_up: Callable[[], None]) -> None:
        self.place, self.give_up = place, give_up


class Admission:
    """Counts connections and says which may come in."""

    def __init__(self) -> None:
        self._pending: dict[Handshake, None] = {}  # oldest first
        self._pending_room = Room(PENDING_PER_IP_MAX, PENDING_PER_SUBNET_MAX)
        self._inbound_room = Room(CONNECTIONS_PER_IP_MAX, CONNECTIONS_PER_SUBNET_MAX)
        self.inbound = self.outbound = 0
        """Established connections."""

    @property
    def pending(self) -> int:
        return len(self._pending)

    def begin(self, host: str, give_up: Callable[[], None]) -> Handshake | None:
        """Let an inbound handshake start, to be followed by `end`; None when its address has enough of them.

        When all are taken, the oldest one of the network with the most gives way: an honest handshake is over in
        milliseconds, and those who only hold their place lose it (rule A3).
        """
        place = place_of(host)
        if self._pending_room.is_crowded(place) or self._inbound_room.is_crowded(place):
            return None
        if len(self._pending) >= PENDING_MAX:
            most = max(self._pending_room.subnets[one.place.subnet] for one in self._pending)
            oldest = next(one for one in self._pending if self._pending_room.subnets[one.place.subnet] == most)
            self.end(oldest)
            oldest.give_up()
        handshake = Handshake(place, give_up)
        self._pending[handshake] = None
        self._pending_room.take(place)
        return handshake

    def end(self, handshake: Handshake) -> None:
        """The handshake is over, well or badly; nothing when it gave way before."""
        if handshake in self._pending:
            del self._pending[handshake]
            self._pending_room.give(handshake.place)

    def refusal(self, host: str, *, outbound: bool) -> Refusal | None:
        """Why a finished handshake may not become a connection; None when it may."""
        if outbound:
            return Refusal.FULL if self.inbound + self.outbound >= CONNECTIONS_MAX else None
        if self._inbound_room.is_crowded(place_of(host)):
            return Refusal.CROWDED
        full = self.inbound >= INBOUND_MAX or self.inbound + self.outbound >= CONNECTIONS_MAX
        return Refusal.FULL if full else None

    def take(self, host: str, *, outbound: bool) -> None:
        """Count a connection; `release` must follow."""
        if outbound:
            self.outbound += 1
        else:
            self.inbound += 1
            self._inbound_room.take(place_of(host))

    def release(self, host: str, *, outbound: bool) -> None:
        if outbound:
            self.outbound -= 1
        else:
            self.inbound -= 1
            self._inbound_room.give(place_of(host))

    def crowd(self, host: str) -> int:
        """How many inbound connections the network of `host` has; 0 where networks do not count."""
        place = place_of(host)
        return self._inbound_room.subnets[place.subnet] if place.counts_subnet else 0
