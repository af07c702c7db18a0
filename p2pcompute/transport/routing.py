"""The DHT on our connections: answers peers, searches for peers and for providers of a topic, keeps the table fresh.

The rules are protocol/kademlia's; here are streams, dials and deadlines (docs/spec/discovery.md). What a peer says
costs its own stream at most.
"""

from __future__ import annotations

import contextlib
import logging
import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Protocol

import trio

from p2pcompute.errors import P2PComputeError, RemoteError
from p2pcompute.identity.names import peer_id_bytes, short
from p2pcompute.protocol import kademlia
from p2pcompute.protocol.kademlia import MESSAGE_BYTES_MAX, PROTOCOL, Contact, Kademlia, Kind, Message, Search
from p2pcompute.protocol.kademlia.messages import ADDRESSES_MAX, peer_position, position
from p2pcompute.protocol.kademlia.node import believable
from p2pcompute.protocol.kademlia.search import ASKED_AT_ONCE, NEAREST_ASKED, RESULT_PEERS
from p2pcompute.transport.channels import FrameReader, pack_frame
from p2pcompute.transport.mux import Stream

log = logging.getLogger(__name__)

ASK_S: Final = 5.0
"""Dialling a peer and having its answer."""
SEARCH_S: Final = 30.0
SEARCHES_AT_ONCE: Final = 4
IDLE_S: Final = 60.0
"""A peer's stream without a question for so long is closed."""
STREAMS_PER_PEER_MAX: Final = 8
QUESTIONS_PER_STREAM_MAX: Final = 64
REFRESH_S: Final = 600.0
"""How often the table is refreshed, as the specification has it."""
PROVIDE_S: Final = 1_800.0
"""How often a topic is told anew: a quarter of the lifetime of a record."""
FIRST_S: Final = 30.0
"""The first pause of both; each is twice the one before, since a newcomer knows more peers every minute."""
RETRY_S: Final = 5.0
"""While nobody is in the table."""
VISITED_MAX: Final = 64
"""Connections that searches under way hold open for one another."""
PROVIDERS_WANTED: Final = 20
TELLERS_MIN: Final = 3
"""Peers that named providers, before a search for them may end early."""


class Network(Protocol):
    """The part of the transport used here."""

    peer: bytes

    def addresses(self) -> tuple[str, ...]: ...
    def address_of(self, peer: bytes) -> str | None: ...
    async def connect(self, address: str, *, timeout_s: float) -> bytes: ...
    async def open_stream(self, peer: bytes, protocol: str) -> Stream: ...
    def part_with(self, peers: Iterable[bytes]) -> None: ...


class Found:
    """Providers that several peers named. One of them alone cannot fill the list, nor hide where somebody is."""

    def __init__(self, known: Iterable[Contact], count: int, rng: random.Random) -> None:
        self._count, self._tellers, self._rng = count, 0, rng
        self._contacts = {one.peer: one for one in known}

    @property
    def is_enough(self) -> bool:
        return len(self._contacts) >= self._count and self._tellers >= TELLERS_MIN

    def add(self, contacts: Sequence[Contact]) -> None:
        """What one peer named."""
        self._tellers += bool(contacts)
        for one in contacts:
            known = self._contacts.get(one.peer)
            addresses = (*(known.addresses if known is not None else ()), *one.addresses)
            self._contacts[one.peer] = Contact(one.peer, tuple(dict.fromkeys(addresses))[:ADDRESSES_MAX])

    def some(self, me: bytes) -> list[Contact]:
        """As many as are wanted, drawn by chance, without `me`."""
        others = [one for peer, one in self._contacts.items() if peer != me]
        return self._rng.sample(others, min(self._count, len(others)))


class Routing:
    """One peer's DHT. `serve` what others ask; `met` every new neighbour; `run` beside the transport."""

    def __init__(self, network: Network, topics: Sequence[str] = (), rng: random.Random | None = None) -> None:
        """`topics` are told in provider records, for as long as `run` runs. `rng`: the system's, unless given."""
        self._network, self._rng = network, rng or random.SystemRandom()
        self._topics = tuple(topics)
        self.kademlia = Kademlia(network.peer)
        self._searches = trio.Semaphore(SEARCHES_AT_ONCE)
        self._streams: dict[bytes, int] = {}
        self._visits, self._visited = 0, dict[bytes, None]()
        self._told: dict[str, dict[bytes, float]] = {}
        """Topic -> the peers nearest to it, and when they were told."""
        self._grown, self._moved = trio.Event(), trio.Event()

    def serves(self, topics: Sequence[str]) -> None:
        """From now on these topics are told; those that we serve no longer are forgotten by and by."""
        if tuple(topics) != self._topics:
            self._topics = tuple(topics)
            self._moved.set()

    def moved(self) -> None:
        """Our addresses changed: our provider records are told anew."""
        self._told.clear()
        self._moved.set()

    def __len__(self) -> int:
        """Peers in the table."""
        return len(self.kademlia.table)

    # What peers ask -----------------------------------------------------------------------------------------------

    async def serve(self, peer: bytes, stream: Stream) -> None:
        """Answer one stream of questions. Raises RemoteError or DecodeError where it must be reset."""
        if self._streams.get(peer, 0) >= STREAMS_PER_PEER_MAX:
            raise RemoteError("the peer opens too many streams to the DHT")
        self._streams[peer] = self._streams.get(peer, 0) + 1
        try:
            await self._serve(peer, stream)
        finally:
            self._streams[peer] -= 1
            if not self._streams[peer]:
                del self._streams[peer]

    async def _serve(self, peer: bytes, stream: Stream) -> None:
        reader = FrameReader(stream)
        for _ in range(QUESTIONS_PER_STREAM_MAX):
            with trio.move_on_after(IDLE_S) as scope:
                frame = await reader.next_or_end(MESSAGE_BYTES_MAX)
            if scope.cancelled_caught or frame is None:
                return
            address = self._network.address_of(peer)
            if address is None:
                return
            answer = self.kademlia.answer(peer, address, frame, _now_ms())
            if answer is not None:
                with trio.fail_after(ASK_S):
                    await stream.send_all(pack_frame(answer))
        raise RemoteError("the peer asks the DHT too much on one stream")

    # What we ask --------------------------------------------------------------------------------------------------

    async def met(self, peer: bytes, addresses: Sequence[str]) -> bool:
        """A new neighbour and where it says it listens: when it answers a question, it is one for the table."""
        question = Message(Kind.FIND_NODE, peer_id_bytes(self._network.peer))
        answer: Message | None = None
        with trio.move_on_after(ASK_S):
            answer = await self._ask(Contact(peer, tuple(addresses)), question)
        return answer is not None

    def told(self, peer: bytes, addresses: Sequence[str]) -> bool:
        """A neighbour says where it is reached now. In the table it moves there, if it may name any of these; whether
        it is in the table."""
        if self.kademlia.table.get(peer) is None:
            return False
        self._learn(Contact(peer, tuple(addresses)), self._network.address_of(peer) or "")
        return True

    async def find_peer(self, peer: bytes) -> tuple[str, ...]:
        """Where a peer is reached, as far as anybody knows; nothing when nobody does."""
        known = self.kademlia.table.get(peer)
        if known is not None:
            return known.addresses
        search = await self._search(peer_position(peer), Message(Kind.FIND_NODE, peer_id_bytes(peer)))
        found = search.contact(peer)
        return found.addresses if found is not None else ()

    async def find_providers(self, topic: str, count: int = PROVIDERS_WANTED) -> list[Contact]:
        """Up to `count` peers that say they serve `topic`."""
        key = kademlia.provider_key(topic)
        found = Found(self.kademlia.providers.get(key, count, _now_ms()), count, self._rng)
        await self._search(position(key), Message(Kind.GET_PROVIDERS, key), found)
        return found.some(self._network.peer)

    async def provide(self, topic: str) -> int:
        """Tell the peers nearest to a topic that we serve it, unless they know; how many know."""
        key, now = kademlia.provider_key(topic), trio.current_time()
        self.kademlia.providers.add(key, self._me(), _now_ms())
        with self._visit():
            search = await self._search(position(key), Message(Kind.FIND_NODE, key), nearest_asked=NEAREST_ASKED)
            before, nearest = self._told.get(topic, {}), search.result()
            told = {one.peer: at for one in nearest if (at := before.get(one.peer, -PROVIDE_S)) > now - PROVIDE_S}
            news = iter([one for one in nearest if one.peer not in told])

            async def tell() -> None:
                for contact in news:
                    if await self._tell(contact, key):
                        told[contact.peer] = now

            with trio.move_on_after(SEARCH_S):
                async with trio.open_nursery() as nursery:
                    for _ in range(ASKED_AT_ONCE):
                        nursery.start_soon(tell)
        self._told[topic] = told
        return len(told)

    async def refresh(self) -> None:
        """Search for ourselves and for a place somewhere: the table learns who answers on the way."""
        for peer in (self._network.peer, self._rng.randbytes(32)):
            question = Message(Kind.FIND_NODE, peer_id_bytes(peer))
            await self._search(peer_position(peer), question, nearest_asked=NEAREST_ASKED)

    async def run(self) -> None:
        """Keep the table and our provider records fresh, until cancelled."""
        refresh_at = provide_at = trio.current_time()
        refresh_s = provide_s = FIRST_S
        while True:
            if not len(self):
                with trio.move_on_after(RETRY_S):
                    await self._grown.wait()
                continue
            now = trio.current_time()
            with self._visit():
                if now >= refresh_at:
                    await self.refresh()
                    refresh_at, refresh_s = now + self._spread(refresh_s), min(2 * refresh_s, REFRESH_S)
                if now >= provide_at:
                    told = [await self.provide(topic) for topic in self._topics]
                    provide_at = now + (self._spread(provide_s) if all(told) else RETRY_S)
                    provide_s = min(2 * provide_s, PROVIDE_S)
            with trio.move_on_at(min(refresh_at, provide_at)):
                await self._moved.wait()
                self._moved, provide_at = trio.Event(), 0.0

    def _spread(self, interval_s: float) -> float:
        """Give or take a quarter: nodes that start together do not search together ever after."""
        return interval_s * self._rng.uniform(0.75, 1.25)

    @contextlib.contextmanager
    def _visit(self) -> Iterator[None]:
        """Who is dialled meanwhile is dialled for a moment only. Visits that overlap part at their common end, so that
        what belongs together dials each peer once."""
        self._visits += 1
        try:
            yield
        finally:
            self._visits -= 1
            if not self._visits:
                self._network.part_with(self._visited)
                self._visited.clear()

    async def _search(
        self, target: int, question: Message, found: Found | None = None, *, nearest_asked: int = RESULT_PEERS
    ) -> Search:
        """Ask until nobody knows nearer peers, enough is found, or time is up."""
        start = self.kademlia.table.closest(target, kademlia.messages.CLOSER_MAX)
        search, wake = Search(self._network.peer, target, start, nearest_asked), trio.Event()

        async def ask(contact: Contact) -> None:
            nonlocal wake
            answer: Message | None = None
            with trio.move_on_after(ASK_S):
                answer = await self._ask(contact, question)
            if answer is None:
                search.failed(contact.peer)
                self.kademlia.table.failed(contact.peer)
            else:
                search.answered(contact.peer, answer.closer)
                if found is not None:
                    found.add(answer.providers)
            wake.set()

        async with self._searches:
            with self._visit(), trio.move_on_after(SEARCH_S):
                async with trio.open_nursery() as nursery:
                    while not search.done and (found is None or not found.is_enough):
                        wake = trio.Event()
                        for contact in search.next():
                            nursery.start_soon(ask, contact)
                        await wake.wait()
                    nursery.cancel_scope.cancel()
        return search

    async def _ask(self, contact: Contact, question: Message) -> Message | None:
        """The answer, without the addresses that this peer may not name; None when there is none."""
        try:
            if not await self._reach(contact):
                raise RemoteError("no address of it answers")
            stream = await self._network.open_stream(contact.peer, PROTOCOL)
            try:
                await stream.send_all(pack_frame(kademlia.messages.encode(question)))
                answer = kademlia.messages.decode(await FrameReader(stream).next(MESSAGE_BYTES_MAX))
            finally:
                stream.reset()
            if answer.kind is not question.kind:
                raise RemoteError("it answers another question")
        except (P2PComputeError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            log.debug("DHT: %s gives no answer: %s", short(contact.peer), error)
            return None
        address = self._network.address_of(contact.peer) or ""
        self._learn(contact, address)
        return Message(
            answer.kind,
            answer.key,
            tuple(believable(one, address) for one in answer.closer),
            tuple(believable(one, address) for one in answer.providers),
        )

    def _learn(self, contact: Contact, address: str) -> None:
        """A peer answered: it goes into the table, at the addresses that it may have."""
        if self.kademlia.table.add(believable(contact, address), _now_ms()):
            self._grown.set()
            self._grown = trio.Event()

    async def _reach(self, contact: Contact) -> bool:
        if self._network.address_of(contact.peer) is not None:
            return True
        for address in contact.addresses:
            try:
                if await self._network.connect(address, timeout_s=ASK_S) == contact.peer:
                    self._visited[contact.peer] = None
                    if len(self._visited) > VISITED_MAX:
                        oldest = next(iter(self._visited))
                        del self._visited[oldest]
                        self._network.part_with([oldest])
                    return True
            except P2PComputeError as error:
                log.debug("DHT: %s", error)
        return False

    async def _tell(self, contact: Contact, key: bytes) -> bool:
        record = kademlia.messages.encode(Message(Kind.ADD_PROVIDER, key, (), (self._me(),)))
        try:
            with trio.fail_after(ASK_S):
                if not await self._reach(contact):
                    return False
                stream = await self._network.open_stream(contact.peer, PROTOCOL)
                await stream.send_all(pack_frame(record))
                await stream.aclose()
        except (P2PComputeError, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError) as error:
            log.debug("DHT: %s takes no provider record: %r", short(contact.peer), error)
            return False
        return True

    def _me(self) -> Contact:
        return Contact(self._network.peer, self._network.addresses()[:ADDRESSES_MAX])


def _now_ms() -> int:
    return int(trio.current_time() * 1000)


assert ASKED_AT_ONCE * ASK_S < SEARCH_S, "a search must outlive a few peers that do not answer"
