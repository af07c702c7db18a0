"""Multiaddrs, binary and as text: ip4 or ip6 with tcp, and through a relay. Of all others nothing is known here.

Source: the multiaddr specification and its protocol table (ip4 4, tcp 6, ip6 41, p2p-circuit 290, p2p 421).

    /ip4/203.0.113.5/tcp/9000                                a socket
    /ip4/203.0.113.5/tcp/9000/p2p/ID                         the peer there
    /ip4/203.0.113.5/tcp/9000/p2p/RELAY/p2p-circuit/p2p/ID   a peer that the relay there reaches
"""

from __future__ import annotations

import enum
import functools
import ipaddress
from collections.abc import Sequence
from typing import Final

from p2pcompute.errors import UsageError
from p2pcompute.identity.names import PEER_ID_PREFIX, parse_peer_id, peer_id

CIRCUIT: Final = "p2p-circuit"
IPV4_NETWORK_BITS: Final = 24
IPV6_NETWORK_BITS: Final = 48
_IP4, _IP6, _TCP = b"\x04", b"\x29", b"\x06"
_P2P: Final = b"\xa5\x03\x26" + PEER_ID_PREFIX
"""The code 421, and all but the key of the 38 bytes of an ed25519 peer id."""
_CIRCUIT: Final = b"\xa2\x02"
_KEY_BYTES: Final = 32


class Reach(enum.IntEnum):
    """From where an address can be dialled. Who is met within one reach may name addresses of that reach and wider
    ones: a stranger in the internet cannot make a node dial into its own machine or office."""

    MACHINE = 0
    OFFICE = 1
    INTERNET = 2


def encode(text: str) -> bytes:
    """The binary form. Raises UsageError for an address of another kind."""
    parts: Sequence[str] = text.split("/")
    if len(parts) < 5 or parts[1] not in ("ip4", "ip6") or parts[3] != "tcp":
        raise UsageError(f"{text!r} is not an address like /ip4/203.0.113.5/tcp/9000.")
    host = ipaddress.ip_address(parts[2])
    out = (_IP4 if host.version == 4 else _IP6) + host.packed + _TCP + int(parts[4]).to_bytes(2, "big")
    rest = parts[5:]
    while rest:
        if rest[0] == CIRCUIT:
            out, rest = out + _CIRCUIT, rest[1:]
        elif rest[0] == "p2p" and len(rest) > 1:
            out, rest = out + _P2P + parse_peer_id(rest[1]), rest[2:]
        else:
            raise UsageError(f"{text!r} goes on with {rest[0]!r}, which is not known here.")
    return out


@functools.lru_cache(maxsize=4_096)
def decode(data: bytes) -> str:
    """The text; "" for an address of another kind. The same few addresses come in every answer of the DHT."""
    size = {_IP4: 4, _IP6: 16}.get(data[:1], 0)
    at = size + 4
    if not size or len(data) < at or data[1 + size : 2 + size] != _TCP:
        return ""
    host = ipaddress.ip_address(data[1 : 1 + size])
    text = f"/ip{host.version}/{host}/tcp/{int.from_bytes(data[at - 2 : at], 'big')}"
    for expected in (_P2P, _CIRCUIT, _P2P):
        if at == len(data):
            break
        if not data.startswith(expected, at):
            return ""
        at += len(expected)
        if expected is _CIRCUIT:
            text += f"/{CIRCUIT}"
        elif at + _KEY_BYTES <= len(data):
            text += f"/p2p/{peer_id(data[at : at + _KEY_BYTES])}"
            at += _KEY_BYTES
        else:
            return ""
    return text if at == len(data) else ""


def of_peer(text: str, peer: bytes) -> str:
    """An address that is said to be `peer`'s, ending in its id; "" when it is another one's."""
    suffix = f"/p2p/{peer_id(peer)}"
    if text.endswith(suffix):
        return text
    if text.endswith(f"/{CIRCUIT}") or text.count("/") == 4:
        return text + suffix
    return ""


def is_relayed(text: str) -> bool:
    return f"/{CIRCUIT}" in text


@functools.lru_cache(maxsize=4_096)
def reach_of(text: str) -> Reach:
    """Where the socket of an address lies; an address without an IP address lies in the machine."""
    try:
        host = ipaddress.ip_address(text.split("/")[2])
    except (IndexError, ValueError):
        return Reach.MACHINE
    if host.is_loopback or host.is_unspecified or host.is_multicast:
        return Reach.MACHINE
    return Reach.INTERNET if host.is_global else Reach.OFFICE


@functools.lru_cache(maxsize=4_096)
def network_of(text: str) -> str:
    """The /24 or /48 of an address in the internet; "" for others, where many peers share a network by right."""
    if reach_of(text) is not Reach.INTERNET:
        return ""
    host = ipaddress.ip_address(text.split("/")[2])
    bits = IPV4_NETWORK_BITS if host.version == 4 else IPV6_NETWORK_BITS
    return str(ipaddress.ip_network((host, bits), strict=False))
