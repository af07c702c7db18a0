"""Peers of the local network, by multicast DNS: what zeroconf does in threads of its own, contained and bounded.

Source: the libp2p specification `discovery/mdns.md` (service _p2p._udp.local, a random peer name, TXT records
`dnsaddr=/ip4/…/p2p/ID`). Anybody on the network can say anything there: only private and loopback addresses that name a
peer are passed on, and a wrong one costs a failed dial.
"""

from __future__ import annotations

import functools
import ipaddress
import logging
import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

import trio

from p2pcompute.errors import UsageError
from p2pcompute.transport.address import ADDRESS_CHARACTERS_MAX, Address, parse_address

if TYPE_CHECKING:
    from zeroconf import ServiceStateChange, Zeroconf

log = logging.getLogger(__name__)

SERVICE: Final = "_p2p._udp.local."
NAME_BYTES: Final = 20
"""Of randomness in the peer name, which the specification wants at least 32 characters long."""
TEXT_BYTES_MAX: Final = 1_300
"""Of TXT records: an mDNS message should fit one Ethernet frame (RFC 6762, section 17)."""
ANSWER_MS: Final = 2_000
FOUND_MAX: Final = 64
"""Peers that are passed on in one run: beyond it the network is no office any more."""
CLOSE_S: Final = 3.0
_KEY: Final = b"dnsaddr="


def encode_text(addresses: Sequence[str]) -> bytes:
    """TXT records of as many of the addresses as fit."""
    out = b""
    for address in addresses:
        record = _KEY + address.encode()
        if len(record) < 256 and len(out) + 1 + len(record) <= TEXT_BYTES_MAX:
            out += bytes((len(record),)) + record
    return out


def decode_text(text: bytes) -> Iterator[Address]:
    """The addresses in TXT records that are private, and name a peer. What is anything else is skipped."""
    at, end = 0, min(len(text), TEXT_BYTES_MAX)
    while at < end:
        record = text[at + 1 : at + 1 + text[at]]
        at += 1 + text[at]
        if not record.startswith(_KEY) or len(record) > len(_KEY) + ADDRESS_CHARACTERS_MAX:
            continue
        try:
            address = parse_address(record[len(_KEY) :].decode("ascii", "replace"))
        except UsageError:
            continue
        if address.peer is not None and address.port and ipaddress.ip_address(address.host).is_private:
            yield address


class _Search:
    """One run of zeroconf. `changed` is called in its thread, `_tell` on trio's."""

    def __init__(self, me: bytes, found: Callable[[str], None], token: trio.lowlevel.TrioToken) -> None:
        self._me, self._found, self._token = me, found, token
        self._told: set[bytes] = set()

    def changed(self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        try:
            if state_change.name == "Removed":
                return
            info = zeroconf.get_service_info(service_type, name, timeout=ANSWER_MS)
            if info is not None and info.text:
                self._token.run_sync_soon(self._tell, bytes(info.text))
        except Exception as error:  # zeroconf's, or trio has ended meanwhile
            log.debug("mDNS: %r", error)

    def _tell(self, text: bytes) -> None:
        for address in decode_text(text):
            assert address.peer is not None
            if address.peer != self._me and (address.peer in self._told or len(self._told) < FOUND_MAX):
                self._told.add(address.peer)
                self._found(str(address))


def _open(search: _Search, addresses: Sequence[str], interfaces: Sequence[str] | None) -> Zeroconf:
    from zeroconf import InterfaceChoice, ServiceBrowser, ServiceInfo
    from zeroconf import Zeroconf as Open

    zeroconf = Open(interfaces=list(interfaces) if interfaces else InterfaceChoice.All)
    try:
        name, own = secrets.token_hex(NAME_BYTES), [parse_address(address) for address in addresses]
        zeroconf.register_service(
            ServiceInfo(
                SERVICE,
                f"{name}.{SERVICE}",
                port=own[0].port if own else 0,
                properties=encode_text(addresses),
                server=f"{name}.local.",
                addresses=[ipaddress.ip_address(one.host).packed for one in own],  # without any it is not listened to
            )
        )
        ServiceBrowser(zeroconf, SERVICE, handlers=[search.changed])
    except BaseException:
        zeroconf.close()
        raise
    return zeroconf


async def find_neighbours(
    me: bytes, addresses: Sequence[str], found: Callable[[str], None], *, interfaces: Sequence[str] | None = None
) -> None:
    """Tell the local network of `addresses` (with /p2p/ID) and call `found` with those of others, until cancelled.

    A network or machine that cannot do this is logged, and costs nothing else. `interfaces` are addresses; None: all.
    """
    search = _Search(me, found, trio.lowlevel.current_trio_token())
    try:
        opened = await trio.to_thread.run_sync(functools.partial(_open, search, addresses, interfaces))
    except Exception as error:
        log.info("peers of the local network are not looked for: %r", error)
        return
    try:
        await trio.sleep_forever()
    finally:
        with trio.CancelScope(shield=True), trio.move_on_after(CLOSE_S):
            await trio.to_thread.run_sync(opened.close, abandon_on_cancel=True)  # type: ignore[call-arg]  # old stubs
