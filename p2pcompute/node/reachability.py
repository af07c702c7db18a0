"""Whether others can reach this node, as far as it can tell: who dialled it, and where others see it."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Sequence
from typing import Final

from p2pcompute.errors import UsageError
from p2pcompute.transport.address import parse_address

OBSERVERS_MAX: Final = 8
"""Peers that are asked, and one answer of each: a few liars change nothing but a hint."""


class Sightings:
    """Under which host the peers that we dialled see us."""

    def __init__(self) -> None:
        self._hosts: dict[bytes, str | None] = {}

    def wants(self, peer: bytes) -> bool:
        return peer not in self._hosts and len(self._hosts) < OBSERVERS_MAX

    def add(self, peer: bytes, host: str | None) -> None:
        self._hosts[peer] = host

    def hosts(self) -> list[str]:
        """The one most often seen first."""
        return [host for host, _ in Counter(h for h in self._hosts.values() if h is not None).most_common()]


def describe(addresses: Sequence[str], observed: Sequence[str], inbound: int, *, announced: bool) -> tuple[str, str]:
    """(what is known, what to do; empty when all is well). `inbound` counts connections that others opened."""
    hosts = [_host(address) for address in addresses]
    if all(host is None or host.is_loopback for host in hosts):
        return "reached from this machine only", ""
    if inbound:
        return f"reached: others hold {inbound} connections that they opened", ""
    public = [host for host in observed if ipaddress.ip_address(host).is_global]
    listed = {str(host) for host in hosts}
    if public and not announced and not listed.intersection(public):
        port = addresses[0].split("/")[4]
        kind = "ip6" if ":" in public[0] else "ip4"
        return (
            f"others see this node at {public[0]}, where it does not listen",
            f"forward port {port} there, and: p2pcompute config set announce /{kind}/{public[0]}/tcp/{port}",
        )
    return "nobody has dialled this node yet", ""


def _host(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(parse_address(address).host)
    except UsageError:
        return None
