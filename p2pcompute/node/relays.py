"""Finds out whether peers can dial this node and, where they cannot, holds places at relays.

Rules C6 to C10 of docs/spec/discovery.md.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from itertools import islice
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
NAMED_AT_ONCE: Final = 8
"""Relays that the operator named and that are asked at one time; the dead ones among them take turns."""
TICK_S: Final = 1.0
RETRY_S: Final = 60.0
"""After a relay refused."""
RETRY_CONFIGURED_S: Final = 5.0
"""After a relay that the operator named refused or did not answer."""
RENEW_S: Final = 600.0
"""Before a place runs out it is renewed, or at half of its time where that is sooner."""


class Reachable(Protocol):
    """The part of the transport used here."""

    def addresses(self) -> tuple[str, ...]: ...
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
        our addresses."""
        self._transport, self._peers, self._evidence, self._verdicts = transport, peers, evidence, verdicts
        self._configured = tuple(configured)
        self._changed = changed
        self._not_before_s: dict[str, float] = {}
        self._renew_s: dict[bytes, float] = {}
        self._reserving: set[str] = set()
        self._known: tuple[str, ...] = ()

    async def run(self) -> None:
        """Until cancelled; raises nothing else. Whoever is slow to answer delays nobody else."""
        self._known = self._transport.addresses()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep, self._ask)
            nursery.start_soon(self._keep, self._seek)
            while True:
                for address in (*self._due_for_renewal(), *self._due_of_the_named()):
                    self._reserving.add(address)
                    nursery.start_soon(self._reserve, address, RETRY_CONFIGURED_S)
                self._tell()
                await trio.sleep(TICK_S)

    @staticmethod
    async def _keep(task: Callable[[], Awaitable[None]]) -> None:
        while True:
            await task()
            await trio.sleep(TICK_S)

    async def _ask(self) -> None:
        """One peer at a time is asked to dial back, where this node means to be dialled by others than this machine."""
        if self._evidence().stays_here:
            return
        for info in list(self._peers.values()):
            now_s = trio.current_time()
            reach = reach_of(info.address)
            if info.outbound and not is_relayed(info.address) and self._verdicts.wants(info.peer, now_s, reach):
                reached = await self._transport.dialled_back(info.peer)
                self._verdicts.add(info.peer, reached, now_s, reach)
                return

    def _due_for_renewal(self) -> Iterator[str]:
        """Each place renews by itself: there are no more of them than PLACES_WANTED and those that are named."""
        now_s = trio.current_time()
        for relay, place in self._transport.places().items():
            address = str(place.address)
            if now_s >= place.expires_s:
                self._transport.give_up_place(relay)
            elif now_s >= self._renew_s.get(relay, 0.0) and self._may_ask(address):
                yield address

    def _due_of_the_named(self) -> Iterator[str]:
        """Named relays where no place is held, a few at a time, the one asked longest ago first."""
        held = self._transport.places()
        missing = [text for text in self._configured if parse_address(text).peer not in held]
        room = NAMED_AT_ONCE - sum(text in self._reserving for text in missing)
        due = [text for text in missing if self._may_ask(text)]
        return islice(sorted(due, key=lambda text: self._not_before_s.get(text, 0.0)), max(room, 0))

    async def _seek(self) -> None:
        """Where nobody reaches us, peers that we dialled are asked one after the other."""
        if not self._evidence().only_outbound:
            self._let_go(self._transport.places())
            return
        for info in list(self._peers.values()):
            if self._has_enough():
                return
            direct = info.outbound and not is_relayed(info.address)
            if direct and info.peer not in self._transport.places() and self._may_ask(info.address):
                self._reserving.add(info.address)
                await self._reserve(info.address, RETRY_S)

    def _has_enough(self) -> bool:
        return len(self._transport.places()) >= PLACES_WANTED

    def _may_ask(self, address: str) -> bool:
        return address not in self._reserving and self._not_before_s.get(address, 0.0) <= trio.current_time()

    def _let_go(self, places: Mapping[bytes, Place]) -> None:
        """Peers reach us again: places that nobody asked for by name go, unless they are all there is to show it."""
        if self._evidence().reached:
            named = {parse_address(text).peer for text in self._configured}
            for relay in places:
                if relay not in named:
                    self._transport.give_up_place(relay)

    async def _reserve(self, address: str, retry_s: float) -> None:
        try:
            lifetime_s = await self._transport.reserve(address)
        except P2PComputeError as error:
            log.info("%s: %s", address, error)
            self._not_before_s[address] = trio.current_time() + retry_s
        else:
            self._not_before_s.pop(address, None)
            relay = next((k for k, p in self._transport.places().items() if str(p.address) == address), None)
            if relay is not None:
                self._renew_s[relay] = trio.current_time() + max(lifetime_s - RENEW_S, lifetime_s / 2)
        finally:
            self._reserving.discard(address)

    def _tell(self) -> None:
        places = self._transport.places()
        self._renew_s = {relay: at_s for relay, at_s in self._renew_s.items() if relay in places}
        here = {info.address for info in self._peers.values()} | set(self._configured)
        here |= {str(place.address) for place in places.values()}
        self._not_before_s = {text: at_s for text, at_s in self._not_before_s.items() if text in here}
        addresses = self._transport.addresses()
        if addresses != self._known:
            self._known = addresses
            self._changed()
