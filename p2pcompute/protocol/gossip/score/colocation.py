"""P6: how many peers share an address. Many identities are cheap, many addresses are not."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Final

from p2pcompute.wire.multiaddr import is_relayed

_IP6_PREFIX_BITS: Final = 64
"""What one customer of a provider is given; addresses within it cost nothing."""


class Colocation:
    """Peers by network: an IPv4 address, or an IPv6 /64."""

    def __init__(self, threshold: int, exempt: Sequence[str]) -> None:
        self._threshold = threshold
        self._exempt = tuple(ipaddress.ip_network(text) for text in exempt)
        self._peers: dict[str, dict[bytes, None]] = {}

    def add(self, peer: bytes, address: str) -> str:
        """Count a peer at its address; the network to give to `remove` and `excess`, "" for one that is not counted."""
        network = self._network(address)
        if network:
            self._peers.setdefault(network, {})[peer] = None
        return network

    def remove(self, peer: bytes, network: str) -> None:
        peers = self._peers.get(network)
        if peers is not None:
            peers.pop(peer, None)
            if not peers:
                del self._peers[network]

    def excess(self, network: str) -> int:
        """Peers beyond the threshold."""
        return max(0, len(self._peers.get(network, ())) - self._threshold)

    def _network(self, address: str) -> str:
        if is_relayed(address):
            return ""  # the address is the relay's; it bounds how many it brings
        parts = address.split("/")
        try:
            host = ipaddress.ip_address(parts[2])
        except (IndexError, ValueError):
            return ""  # simulated
        if not host.is_global or any(host in network for network in self._exempt):
            return ""
        if host.version == 4:
            return str(host)
        return str(ipaddress.ip_network((int(host), _IP6_PREFIX_BITS), strict=False))
