"""Whether others can reach this node, as far as it can tell: who dialled it, who tried on its wish, where others see
it, and at which relays it holds a place."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from p2pcompute.errors import UsageError
from p2pcompute.protocol.machine import PeerInfo
from p2pcompute.transport.address import parse_address
from p2pcompute.wire.multiaddr import Reach, is_relayed, reach_of

OBSERVERS_MAX: Final = 8
"""Peers that answered, and one answer of each: a few liars change nothing but a hint."""
ASKED_MAX: Final = 24
"""Peers that are asked within ASK_AGAIN_S, where most do not answer."""
VERDICT_S: Final = 1_800.0
"""A verdict older than this counts no more."""
ASK_AGAIN_S: Final = 600.0
"""The same peer is asked to dial back no sooner."""


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


class Verdicts:
    """What peers that tried to dial us back have said. Times are seconds on any one clock."""

    def __init__(self) -> None:
        self._said: dict[bytes, tuple[bool | None, float, Reach]] = {}

    def wants(self, peer: bytes, now_s: float, reach: Reach) -> bool:
        """Whether to ask this peer: not when it was asked of late, nor when enough others as far away have answered."""
        recent = [one for one in self._said.values() if now_s - one[1] < ASK_AGAIN_S and one[2] >= reach]
        answered = sum(reached is not None for reached, _, _ in recent)
        again = peer not in self._said or now_s - self._said[peer][1] >= ASK_AGAIN_S
        return again and answered < OBSERVERS_MAX and len(recent) < ASKED_MAX

    def add(self, peer: bytes, reached: bool | None, now_s: float, reach: Reach) -> None:
        """`reached` is None when the peer did not say; `reach` is that of its own address."""
        self._said[peer] = reached, now_s, reach
        for old in [one for one, (_, at_s, _) in self._said.items() if now_s - at_s > VERDICT_S]:
            del self._said[old]

    def counts(self, now_s: float) -> tuple[int, int]:
        """(peers that reached us, peers that did not), of those farthest away: neighbours prove nothing."""
        recent = [one for one in self._said.values() if one[0] is not None and now_s - one[1] <= VERDICT_S]
        far = [reached for reached, _, reach in recent if reach == max(reach for _, _, reach in recent)]
        return far.count(True), far.count(False)


@dataclasses.dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known. `inbound` counts connections that others opened directly; `reached` and `missed` the peers
    that dialled back and those that could not; `relays` the places held."""

    addresses: Sequence[str]
    observed: Sequence[str]
    inbound: int
    reached: int
    missed: int
    relays: int
    announced: bool

    @property
    def only_outbound(self) -> bool:
        """Whether this node wants to be reached, peers tried in vain to dial it, and nobody has come in."""
        return self.missed > 0 and not self.reached and not self.inbound and not self.stays_here

    @property
    def stays_here(self) -> bool:
        """Whether it listens on loopback only, or not at all: then nobody else is meant to reach it directly."""
        hosts = [_host(text) for text in self.addresses if not is_relayed(text)]
        return all(host is None or host.is_loopback for host in hosts)


def inbound_directly(peers: Mapping[bytes, PeerInfo]) -> int:
    """Of all connections, those that others opened, not through a relay, and from as far away as those that we opened:
    where strangers are met, neighbours prove nothing."""
    direct = [info for info in peers.values() if not is_relayed(info.address)]
    far = max((reach_of(info.address) for info in direct if info.outbound), default=Reach.MACHINE)
    return sum(not info.outbound and reach_of(info.address) >= far for info in direct)


def describe(evidence: Evidence) -> tuple[str, str]:
    """(what is known, what to do; empty when all is well)."""
    own = [text for text in evidence.addresses if not is_relayed(text)]
    if evidence.stays_here and not evidence.relays:
        return "reached from this machine only", ""
    if evidence.reached:
        return f"reached: {evidence.reached} peers dialled back", ""
    if evidence.inbound:
        return f"reached: others hold {evidence.inbound} connections that they opened", ""
    advice = _advice(evidence, own, {str(_host(text)) for text in own})
    if evidence.relays:
        return f"reached through {evidence.relays} relays only", advice
    if evidence.missed:
        seek = "open its port, or name a relay: p2pcompute config set relays ADDRESS"
        return f"only outbound: {evidence.missed} peers could not dial this node", advice or seek
    if advice:
        public = next(host for host in evidence.observed if ipaddress.ip_address(host).is_global)
        return f"others see this node at {public}, where it does not listen", advice
    return "nobody has dialled this node yet", ""


def _advice(evidence: Evidence, own: Sequence[str], listed: set[str]) -> str:
    """What to forward, where others see this node at an address that it does not have."""
    public = [host for host in evidence.observed if ipaddress.ip_address(host).is_global]
    if not public or not own or evidence.announced or listed.intersection(public):
        return ""
    port = own[0].split("/")[4]
    kind = "ip6" if ":" in public[0] else "ip4"
    return f"forward port {port} there, and: p2pcompute config set announce /{kind}/{public[0]}/tcp/{port}"


def _host(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(parse_address(address).host)
    except UsageError:
        return None
