"""Addresses and peer ids as text: /ip4/203.0.113.5/tcp/9000/p2p/12D3KooW…, and through a relay.

Source: the multiaddr specification, and libp2p `peer-ids/peer-ids.md` (an ed25519 peer id is the identity multihash of
the protobuf public key, in base58btc). Only what the transport can dial is accepted.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import socket
from typing import Final

from p2pcompute.errors import UsageError
from p2pcompute.identity.names import parse_peer_id, peer_id
from p2pcompute.wire.multiaddr import CIRCUIT

ADDRESS_CHARACTERS_MAX: Final = 256
_RELAYED_PARTS: Final = 10


@dataclasses.dataclass(frozen=True, slots=True)
class Address:
    """Where a peer listens. `peer` is its public key, where the address names one. With `relay`, a public key too, the
    socket is the relay's."""

    host: str
    port: int
    peer: bytes | None = None
    relay: bytes | None = None

    def __str__(self) -> str:
        version = ipaddress.ip_address(self.host).version
        text = f"/ip{version}/{self.host}/tcp/{self.port}"
        if self.relay is not None:
            text += f"/p2p/{peer_id(self.relay)}/{CIRCUIT}"
        return text if self.peer is None else f"{text}/p2p/{peer_id(self.peer)}"


def parse_address(text: str) -> Address:
    """/ip4|ip6/HOST/tcp/PORT with an optional /p2p/ID, or /p2p/RELAY/p2p-circuit/p2p/ID. Raises UsageError with what is
    wrong."""
    if len(text) > ADDRESS_CHARACTERS_MAX:
        raise UsageError(f"An address has at most {ADDRESS_CHARACTERS_MAX} characters, this one has {len(text)}.")
    parts = text.split("/")
    if len(parts) not in (5, 7, _RELAYED_PARTS) or parts[0] or parts[1] not in ("ip4", "ip6") or parts[3] != "tcp":
        raise UsageError(f"{text!r} is not an address like /ip4/203.0.113.5/tcp/9000/p2p/12D3KooW….")
    try:
        host = ipaddress.IPv4Address(parts[2]) if parts[1] == "ip4" else ipaddress.IPv6Address(parts[2])
    except ValueError:
        raise UsageError(f"{parts[2]!r} in {text!r} is not an {parts[1]} address.") from None
    if not (parts[4].isascii() and parts[4].isdigit() and int(parts[4][:6]) <= 65_535 and len(parts[4]) <= 5):
        raise UsageError(f"{parts[4]!r} in {text!r} is not a port from 0 to 65535.")
    if len(parts) == 5:
        return Address(str(host), int(parts[4]))
    if parts[5] != "p2p":
        raise UsageError(f"{text!r} goes on with {parts[5]!r} where only /p2p/ID may follow.")
    peer = parse_peer_id(parts[6])
    if len(parts) == 7:
        return Address(str(host), int(parts[4]), peer)
    if parts[7:9] != [CIRCUIT, "p2p"]:
        raise UsageError(f"{text!r} goes on with {parts[7]!r} where only /{CIRCUIT}/p2p/ID may follow.")
    return Address(str(host), int(parts[4]), parse_peer_id(parts[9]), peer)


def reachable_hosts(host: str) -> tuple[str, ...]:
    """Addresses under which a socket bound to `host` is reached: for 0.0.0.0 and ::, loopback and the address that this
    machine would use towards the internet. Sends nothing."""
    address = ipaddress.ip_address(host)
    if not address.is_unspecified:
        return (host,)
    family, loopback, elsewhere = (
        (socket.AF_INET, "127.0.0.1", "192.0.2.1") if address.version == 4 else (socket.AF_INET6, "::1", "2001:db8::1")
    )
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((elsewhere, 9))  # picks a route; a datagram socket says nothing by this
            name = str(probe.getsockname()[0]).partition("%")[0]
        except OSError:
            return (loopback,)
    return (loopback,) if name == loopback else (loopback, name)


def is_loopback(host: str) -> bool:
    return ipaddress.ip_address(host.partition("%")[0]).is_loopback
