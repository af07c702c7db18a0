"""Finds out whether peers can dial this node and, where they cannot, holds places at relays.

Rules C6 to C9 of docs/spec/discovery.md.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import trio

from p2pcompute.errors import P2PComputeError
from p2pcompute.node.reachability import Evidence, Verdicts
from p2pcompute.protocol.machine import PeerInfo
from p2pcompute.transport.address import parse_address
from p2pcompute.transport.relayed import Place
from p2pcompute.wire.multiaddr import is_relayed, reach_of

log = logging.getLogger(__name__)

PLACES_WANTED: Final = 2
TICK_S: Final = 1.0
RETRY_S: Final = 60.0
"""After a relay refused."""
RETRY_CONFIGURED_S: Final = 5.0
"""After a relay that the operator named refused or did not answer."""
RENEW_S: Final = 600.0
"""Before a place runs out it is renewed, or at half of its time where that is sooner."""


class Reachable(Protocol):
    """The part of the transport used here."""

    def places(self) -> Mapping[bytes, Place]: ...
    def give_up_place(self, relay: bytes) -> None: ...
    async def reserve(self, address: str, *, timeout_s: float = ...) -> float: ...
    async def dialled_back(self, peer: bytes) -> bool | None: ...


class Relays:
    """Keeps one node reachable. `run` it beside the transport."""

    def __init__(
        self,
        transport: Reachable,
        peers: Mapping[bytes, PeerInfo],
        configured: Sequence[str],
        evidence: Callable[[], Evidence],
        verdicts: Verdicts,
        changed: Callable[[], None],
    ) -> None:
        """`configured` relays are always used, others when nobody reaches us. `changed` is called with every change of
        the places held."""
        self._transport, self._peers, self._evidence, self._verdicts = transport, peers, evidence, verdicts
        self._configured = tuple(configured)
        self._changed = changed
        self._not_before_s: dict[str, float] = {}
        self._renew_s: dict[bytes, float] = {}
        self._known: tuple[bytes, ...] = ()

    async def run(self) -> None:
        """Until cancelled; raises nothing else."""
        while True:
            await self._ask()
            await self._renew()
            await self._seek()
            self._tell()
            await trio.sleep(TICK_S)

    async def _ask(self) -> None:
        """One peer at a time is asked to dial back."""
        for info in list(self._peers.values()):
            now_s = trio.current_time()
            if info.outbound and not is_relayed(info.address) and self._verdicts.wants(info.peer, now_s):
                reached = await self._transport.dialled_back(info.peer)
                self._verdicts.add(info.peer, reached, now_s, reach_of(info.address))
                return

    async def _renew(self) -> None:
        for relay, place in self._transport.places().items():
            if trio.current_time() >= self._renew_s.get(relay, 0.0):
                await self._reserve(str(place.address), RETRY_CONFIGURED_S)

    async def _seek(self) -> None:
        places = self._transport.places()
        needed = self._evidence().only_outbound
        if not needed:
            self._let_go(places)
        for address in self._candidates(places, needed=needed):
            if len(self._transport.places()) >= max(PLACES_WANTED, len(self._configured)):
                return
            named = address in self._configured
            if self._not_before_s.get(address, 0.0) <= trio.current_time():
                await self._reserve(address, RETRY_CONFIGURED_S if named else RETRY_S)

    def _let_go(self, places: Mapping[bytes, Place]) -> None:
        """Peers reach us again: places that nobody asked for by name go, unless they are all there is to show it."""
        if self._evidence().reached:
            named = {parse_address(text).peer for text in self._configured}
            for relay in places:
                if relay not in named:
                    self._transport.give_up_place(relay)

    def _candidates(self, places: Mapping[bytes, Place], *, needed: bool) -> list[str]:
        wanted = [a for a in self._configured if parse_address(a).peer not in places]
        if needed:
            wanted += [
                info.address
                for info in self._peers.values()
                if info.outbound and not is_relayed(info.address) and info.peer not in places
            ]
        return wanted

    async def _reserve(self, address: str, retry_s: float) -> None:
        try:
            lifetime_s = await self._transport.reserve(address)
        except P2PComputeError as error:
            log.info("%s: %s", address, error)
            self._not_before_s[address] = trio.current_time() + retry_s
        else:
            relay = next((k for k, p in self._transport.places().items() if str(p.address) == address), None)
            if relay is not None:
                self._renew_s[relay] = trio.current_time() + max(lifetime_s - RENEW_S, lifetime_s / 2)

    def _tell(self) -> None:
        places = self._transport.places()
        self._renew_s = {relay: at_s for relay, at_s in self._renew_s.items() if relay in places}
        here = {info.address for info in self._peers.values()} | set(self._configured)
        self._not_before_s = {text: at_s for text, at_s in self._not_before_s.items() if text in here}
        if tuple(places) != self._known:
            self._known = tuple(places)
            self._changed()
