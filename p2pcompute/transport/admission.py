"""How many connections there may be: in the handshake and established, in total and per address of the network.

Loopback is exempt from the limits per address: every peer of a local network of processes has the same one.
"""

from __future__ import annotations

import ipaddress
from typing import Final

from p2pcompute.transport.address import is_loopback

PENDING_MAX: Final = 128
"""Inbound handshakes at once. One costs about 0.5 ms of work and some kilobytes for at most ten seconds."""
PENDING_PER_IP_MAX: Final = 8
CONNECTIONS_MAX: Final = 512
INBOUND_MAX: Final = 448
"""Of those: strangers cannot take the room that our own dials need."""
CONNECTIONS_PER_IP_MAX: Final = 32
IPV6_PREFIX: Final = 64
"""Whoever has one IPv6 address has 2**64 of them: they count as one."""


class Counter:
    """How often each key was taken; keys that are given back leave nothing behind."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def __getitem__(self, key: str) -> int:
        return self._counts.get(key, 0)

    def take(self, key: str) -> None:
        self._counts[key] = self[key] + 1

    def give(self, key: str) -> None:
        if self[key] <= 1:
            self._counts.pop(key, None)
        else:
            self._counts[key] -= 1


class Admission:
    """Counts connections and says which may come in."""

    def __init__(self) -> None:
        self._pending, self._established = Counter(), Counter()
        self._pending_count = self._established_count = self._inbound_count = 0

    def begin(self, host: str) -> bool:
        """Whether an inbound handshake may start; if so, `end` must follow."""
        key = _subnet(host)
        if self._pending_count >= PENDING_MAX or self._inbound_count >= INBOUND_MAX:
            return False
        if not is_loopback(host) and (
            self._pending[key] >= PENDING_PER_IP_MAX or self._established[key] >= CONNECTIONS_PER_IP_MAX
        ):
            return False
        self._pending.take(key)
        self._pending_count += 1
        return True

    def end(self, host: str) -> None:
        self._pending.give(_subnet(host))
        self._pending_count -= 1

    def admit(self, host: str, *, outbound: bool) -> bool:
        """Whether a finished handshake may become a connection; if so, `release` must follow."""
        key = _subnet(host)
        if self._established_count >= CONNECTIONS_MAX:
            return False
        if not outbound and (
            self._inbound_count >= INBOUND_MAX
            or (not is_loopback(host) and self._established[key] >= CONNECTIONS_PER_IP_MAX)
        ):
            return False
        self._established.take(key)
        self._established_count += 1
        self._inbound_count += not outbound
        return True

    def release(self, host: str, *, outbound: bool) -> None:
        self._established.give(_subnet(host))
        self._established_count -= 1
        self._inbound_count -= not outbound


def _subnet(host: str) -> str:
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, IPV6_PREFIX), strict=False))
    return str(address)
