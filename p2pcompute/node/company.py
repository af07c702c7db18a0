"""The reconnect supervisor: a node stays in touch with its bootstraps and, when lonely, with peers of earlier days.

Rules R1 to R5 of docs/spec/transport.md.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from typing import Final, Protocol

import trio

from p2pcompute.errors import P2PComputeError
from p2pcompute.node.peers_file import PeersFile
from p2pcompute.node.reachability import Sightings
from p2pcompute.protocol.core import NEIGHBOURS_MIN, PeerCore
from p2pcompute.protocol.kademlia import Contact
from p2pcompute.protocol.machine import PeerInfo
from p2pcompute.transport.address import parse_address
from p2pcompute.wire.multiaddr import is_relayed

log = logging.getLogger(__name__)

REDIAL_S_MIN: Final = 0.5
REDIAL_S_MAX: Final = 30.0
JITTER: Final = 0.25
"""A pause is this share shorter or longer, so that those who lost one peer together do not return together."""
DIALS_AT_ONCE: Final = 4
DIAL_S: Final = 10.0
TICK_S: Final = 0.5
RECHECK_S: Final = 5.0
"""How often a node that lacks nobody looks again."""
SEARCH_S: Final = 15.0
"""How often a node with few neighbours asks the DHT for more."""
FAILURES_MAX: Final = 10
"""A peer of earlier days that did not answer so often, while others did, is forgotten."""


class Dialler(Protocol):
    """The part of the transport used here."""

    async def connect(self, address: str, *, timeout_s: float) -> bytes: ...
    async def observed_by(self, peer: bytes) -> str | None: ...
    def told_by(self, peer: bytes) -> tuple[str, ...]: ...


class Directory(Protocol):
    """The part of the DHT used here."""

    async def find_providers(self, topic: str, count: int = ...) -> list[Contact]: ...


class Backoff:
    """When each address may be tried again. Times are seconds on any one clock."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._tries: dict[str, tuple[int, float]] = {}

    def is_due(self, address: str, now_s: float) -> bool:
        return self._tries.get(address, (0, now_s))[1] <= now_s

    def failed(self, address: str, now_s: float) -> int:
        """How often in a row it has failed now."""
        count = self._tries.get(address, (0, 0.0))[0] + 1
        pause_s = min(REDIAL_S_MIN * 2 ** min(count, 16), REDIAL_S_MAX)
        self._tries[address] = count, now_s + pause_s * self._rng.uniform(1 - JITTER, 1 + JITTER)
        return count

    def succeeded(self, address: str) -> None:
        self._tries.pop(address, None)


class Company:
    """Keeps one node in touch. `run` it beside the transport."""

    def __init__(
        self,
        transport: Dialler,
        core: PeerCore,
        bootstrap: Sequence[str],
        known: PeersFile,
        sightings: Sightings,
        rng: random.Random,
        directory: Directory,
    ) -> None:
        self._directory, self._search_at_s, self._searching = directory, 0.0, False
        self._transport, self._core, self._known, self._sightings = transport, core, known, sightings
        self._bootstrap = tuple(bootstrap)
        self._rng, self._backoff = rng, Backoff(rng)
        self._dialling: set[str] = set()
        self._here: set[bytes] = set()  # who was connected when notes were taken last
        self._saving = False
        self._peer_of: dict[str, bytes] = {}  # of addresses that name no peer, once they were reached

    async def run(self) -> None:
        """Until cancelled; raises nothing else."""
        async with trio.open_nursery() as nursery:
            while True:
                wanted = self._wanted()
                for address in self._due(wanted):
                    self._dialling.add(address)
                    nursery.start_soon(self._dial, address)
                if self._is_lonely() and not self._searching and trio.current_time() >= self._search_at_s:
                    self._search_at_s = trio.current_time() + SEARCH_S * self._rng.uniform(1 - JITTER, 1 + JITTER)
                    nursery.start_soon(self._search)
                await self._ask_who_we_are()
                self._take_notes()
                if self._known.is_unsaved and not self._saving:
                    nursery.start_soon(self._save)
                await trio.sleep(TICK_S if wanted else RECHECK_S)

    def _is_lonely(self) -> bool:
        return 0 < len(self._core.peers) < NEIGHBOURS_MIN

    async def _search(self) -> None:
        """Ask the DHT who else serves our topics, and get in touch."""
        self._searching = True
        try:
            for topic in self._core.topics:
                for contact in await self._directory.find_providers(topic):
                    await self._meet(contact)
        finally:
            self._searching = False

    async def _meet(self, contact: Contact) -> None:
        for address in contact.addresses:
            if contact.peer in self._core.peers or len(self._core.peers) >= NEIGHBOURS_MIN:
                return
            if self._backoff.is_due(address, trio.current_time()):
                await self._dial(address)

    def _due(self, wanted: Sequence[str]) -> list[str]:
        now_s = trio.current_time()
        idle = [a for a in wanted if a not in self._dialling and self._backoff.is_due(a, now_s)]
        return idle[: DIALS_AT_ONCE - len(self._dialling)]

    def _wanted(self) -> list[str]:
        wanted = [address for address in self._bootstrap if not self._is_connected(address)]
        if len(self._core.peers) < NEIGHBOURS_MIN:
            wanted += [a for a in self._known.addresses() if a not in wanted and not self._is_connected(a)]
        return wanted

    def _is_connected(self, address: str) -> bool:
        peer = self._peer_of.get(address) or parse_address(address).peer
        return peer in self._core.peers or peer == self._core.post.env.me

    async def _dial(self, address: str) -> None:
        try:
            self._peer_of[address] = await self._transport.connect(address, timeout_s=DIAL_S)
        except P2PComputeError as error:
            log.info("%s: %s", address, error)
            count = self._backoff.failed(address, trio.current_time())
            if count >= FAILURES_MAX and self._core.peers:
                self._known.forget(address)
        else:
            self._backoff.succeeded(address)
        finally:
            self._dialling.discard(address)

    async def _ask_who_we_are(self) -> None:
        """Ask a few peers that we dialled under which address they see us."""
        for info in list(self._core.peers.values()):
            if info.outbound and self._sightings.wants(info.peer):
                self._sightings.add(info.peer, await self._transport.observed_by(info.peer))
                return  # one at a time: nothing is in a hurry

    def _take_notes(self) -> None:
        """A newcomer is worth a line in the file when it is still here next time: many come for one question."""
        before, self._here = self._here, set(self._core.peers)
        for info in list(self._core.peers.values()):
            listing = self._core.book.get(info.peer)
            if self._known.knows(info.peer):
                self._follow(info)
            elif info.peer not in before:
                continue
            elif info.outbound:
                self._known.remember(info.address)
            elif listing is not None and listing.offer.body.addresses:
                self._known.remember(listing.offer.body.addresses[-1])

    async def _save(self) -> None:
        """In a thread: nothing else waits for a slow disk."""
        self._saving = True
        try:
            await trio.to_thread.run_sync(self._known.save, self._known.addresses())
        finally:
            self._saving = False

    def _follow(self, info: PeerInfo) -> None:
        """A peer of the file that moved is kept where it says, unless we dialled it just where it was kept."""
        told = self._transport.told_by(info.peer)
        proven = info.outbound and not is_relayed(info.address)
        if told and not proven and self._known.address_of(info.peer) not in told:
            self._known.remember(told[-1])
