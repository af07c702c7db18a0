"""The effect loop: runs one PeerCore on trio and on what ports.py asks for.

Everything that reaches the core comes through here, on the trio thread, one call at a time. Ordered effects pass
through one queue behind the journal (protocol/machine.py says which and why).
"""

from __future__ import annotations

import heapq
import logging
import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import trio

from p2pcompute.errors import DecodeError, LocalError, P2PComputeError, RemoteError
from p2pcompute.node.dialling import Dialler
from p2pcompute.node.ports import Clock, Committer, Network, Payments, PeerFinder, SystemClock, Ticket, Work
from p2pcompute.node.sources import PaymentDueError
from p2pcompute.protocol import kademlia
from p2pcompute.protocol.commands import Command
from p2pcompute.protocol.core import NEIGHBOURS_MIN, RPC_CHANNEL, PeerCore
from p2pcompute.protocol.gossip.exchange import decode_record
from p2pcompute.protocol.machine import (
    CancelJob,
    Compare,
    Connect,
    Disconnect,
    Effect,
    Emit,
    Fetch,
    Find,
    Grant,
    Inspect,
    Locate,
    Missed,
    Now,
    Ok,
    Ordered,
    Outcome,
    PeerInfo,
    Persist,
    Redeem,
    Reply,
    Request,
    RunJob,
    Send,
    SendOutcome,
    Serve,
    SetTimer,
)
from p2pcompute.transport.mux import Stream
from p2pcompute.transport.push import Whereabouts
from p2pcompute.wire import multiaddr

log = logging.getLogger(__name__)

EARLY_MAX: Final = 1_024
SETTLED_S: Final = 5.0
"""From then on a neighbour is one that stays: a search of the DHT is over sooner."""
Listener = Callable[[Emit], None]


class Runtime:
    """Implements the transport's events. `attach` gives it the transport and core; `run` runs until cancelled."""

    def __init__(
        self, committer: Committer, work: Work, clock: Clock | None = None, payments: Payments | None = None
    ) -> None:
        """`payments`: for a core that redeems its cheques."""
        self._committer, self._work, self._clock, self._payments = committer, work, clock or SystemClock(), payments
        self._core: PeerCore | None = None
        self._transport: Network | None = None
        self._routing: PeerFinder | None = None
        self._nursery: trio.Nursery | None = None
        self._listeners: list[Listener] = []
        self._ordered: deque[tuple[Ordered, Ticket | None]] = deque()
        self._ordered_more = trio.Event()
        self._last_ticket: Ticket | None = None
        self._timers: dict[str, int] = {}
        self._due: list[tuple[int, str]] = []
        self._timer_moved = trio.Event()
        self._replies: dict[int, tuple[trio.Event, list[bytes | None]]] = {}
        self._next_request = 0
        self._runs: dict[str, trio.CancelScope] = {}
        self._early: list[PeerInfo] = []
        self._dialler: Dialler | None = None

    def attach(self, core: PeerCore, transport: Network, routing: PeerFinder | None = None) -> None:
        """All exist only after this object, since they call it. A node that dials needs `routing`."""
        self._core, self._transport, self._routing = core, transport, routing
        self._dialler = Dialler(transport, routing, self._spawn)

    @property
    def core(self) -> PeerCore:
        assert self._core is not None
        return self._core

    @property
    def transport(self) -> Network:
        assert self._transport is not None
        return self._transport

    @property
    def dialler(self) -> Dialler:
        assert self._dialler is not None
        return self._dialler

    @property
    def routing(self) -> PeerFinder:
        """Where peers are that nobody is connected to."""
        assert self._routing is not None
        return self._routing

    def now(self) -> Now:
        return self._clock.now()

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Have every Emit; call the result to stop."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    # -- life --------------------------------------------------------------------------------------------------------

    async def run(self, journal: Sequence[bytes], *, ready: Callable[[], None]) -> None:
        """Replay, then serve. The transport must be listening. Raises HomeError when the journal fails."""
        async with trio.open_nursery() as self._nursery:
            self._nursery.start_soon(self._run_ordered)
            self._nursery.start_soon(self._run_timers)
            self._nursery.start_soon(self._work.run_retention)
            self._do(self.core.start(self.now(), journal))
            for info in self._early:
                self.on_peer(info)
            ready()

    def command(self, command: Command) -> None:
        """The owner wants something; what follows shows as events."""
        self._do(self.core.on_command(self.now(), command))

    # -- transport events ----------------------------------------------------------------------------------------------

    def on_peer(self, info: PeerInfo) -> None:
        if self._nursery is None:  # connected while the journal is being replayed
            self._early = [*self._early[-EARLY_MAX:], info]
        else:
            self.emit(Emit("peer.up" if info.up else "peer.down", {"peer": info.peer, "address": info.address}))
            self._do(self.core.on_peer(self.now(), info))
            if info.up:
                self._spawn(self._learn_record, info)

    def on_addresses(self, where: Whereabouts) -> None:
        """A neighbour told us that it is reached elsewhere now."""
        if self._nursery is not None:
            self.emit(Emit("peer.moved", {"peer": where.peer, "addresses": where.addresses}))
            if where.record:
                self._do(self.core.on_record(self.now(), where.peer, where.record))
            self.routing.told(where.peer, where.addresses)

    def on_frame(self, peer: bytes, channel: str, frame: bytes) -> None:
        if self._nursery is not None:
            self._do(self.core.on_frame(self.now(), peer, channel, frame))

    async def on_request(self, peer: bytes, channel: str, frame: bytes) -> bytes | None:
        if self._nursery is None:
            return None
        self._next_request += 1
        request_id, answered, answer = self._next_request, trio.Event(), list[bytes | None]()
        self._replies[request_id] = answered, answer
        try:
            self._do(self.core.on_request(self.now(), peer, request_id, frame))
            await answered.wait()
        finally:
            self._replies.pop(request_id, None)
        return answer[0]

    async def on_stream(self, peer: bytes, protocol: str, stream: Stream) -> None:
        if protocol == kademlia.PROTOCOL:
            await self.routing.serve(peer, stream)
        else:
            await self._work.serve(peer, stream)

    # -- effects -----------------------------------------------------------------------------------------------------

    def _do(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send():
                    self._send(effect)
                case SetTimer():
                    self._set_timer(effect)
                case Persist():
                    self._last_ticket = self._committer.enqueue(effect.record)
                case Emit():
                    self.emit(effect)
                case Connect():
                    self._spawn(self.dialler.reach, effect.peer, effect.addresses)
                case Find():
                    self._spawn(self._find, effect.topic)
                case Serve():
                    if self._routing is not None:
                        self._routing.serves(effect.topics)
                case Disconnect():
                    self._spawn(self.transport.disconnect, effect.peer)
                case _:
                    self._ordered.append((effect, self._last_ticket))
                    self._ordered_more.set()

    def _send(self, effect: Send) -> None:
        for peer in effect.peers:
            if not self.transport.send(peer, effect.channel, effect.frame, effect.priority):
                self._do(self.core.on_sent(self.now(), peer, SendOutcome.DROPPED))

    def _spawn(self, task: Callable[..., object], *args: object) -> None:
        assert self._nursery is not None
        self._nursery.start_soon(task, *args)  # type: ignore[arg-type]

    def emit(self, event: Emit) -> None:
        """Tell those who listen."""
        log.debug("%s %s", event.name, event.fields)
        for listener in list(self._listeners):
            try:
                listener(event)
            except Exception:
                log.exception("a listener failed on %s", event.name)

    async def _run_ordered(self) -> None:
        while True:
            while self._ordered:
                effect, ticket = self._ordered.popleft()
                if ticket is not None:
                    await ticket.wait()
                self._start_ordered(effect)
            self._ordered_more = trio.Event()
            await self._ordered_more.wait()

    def _start_ordered(self, effect: Ordered) -> None:
        match effect:
            case Request():
                self._spawn(self._request, effect)
            case Reply():
                slot = self._replies.get(effect.request_id)
                if slot is not None:
                    slot[1].append(effect.frame)
                    slot[0].set()
            case Grant():
                self._work.grant(effect)
            case RunJob():
                self._spawn(self._run_job, effect)
            case CancelJob():
                scope = self._runs.get(effect.token)
                if scope is not None:
                    scope.cancel()
            case Compare():
                self._spawn(self._compare, effect)
            case Inspect():
                self._spawn(self._inspect, effect)
            case Locate():
                self._spawn(self._locate, effect)
            case Fetch():
                self._spawn(self._fetch, effect)
            case Redeem():
                self._spawn(self._redeem, effect)

    # -- timers ------------------------------------------------------------------------------------------------------

    def _set_timer(self, effect: SetTimer) -> None:
        if effect.at_mono_ms is None:
            self._timers.pop(effect.key, None)
            return
        self._timers[effect.key] = effect.at_mono_ms
        heapq.heappush(self._due, (effect.at_mono_ms, effect.key))
        if self._due[0] == (effect.at_mono_ms, effect.key):
            self._timer_moved.set()

    async def _run_timers(self) -> None:
        while True:
            now = self.now()
            while self._due and self._due[0][0] <= now.mono_ms:
                at, key = heapq.heappop(self._due)
                if self._timers.get(key) == at:
                    del self._timers[key]
                    self._do(self.core.on_timer(self.now(), key))
            self._timer_moved = trio.Event()
            with trio.CancelScope(deadline=self._clock.deadline(self._due[0][0]) if self._due else math.inf):
                await self._timer_moved.wait()

    # -- the network ---------------------------------------------------------------------------------------------------

    async def _find(self, topic: str) -> None:
        """Ask the DHT who serves a topic."""
        found = [(one.peer, tuple(one.addresses)) for one in await self.routing.find_providers(topic)]
        self._do(self.core.on_found(self.now(), topic, tuple(found)))

    async def _learn_record(self, info: PeerInfo) -> None:
        """Ask a new neighbour for its signed addresses, to be named to others who look for peers. Who knows enough
        peers waits a while: many come for one question, and go."""
        if len(self.routing) >= NEIGHBOURS_MIN:
            await trio.sleep(SETTLED_S)
            if self.core.peers.get(info.peer) is not info:
                return
        record = await self.transport.signed_record(info.peer)
        self._do(self.core.on_record(self.now(), info.peer, record))
        addresses = self._listens_at(info.peer, record)
        if not self.routing.told(info.peer, addresses):
            await self.routing.met(info.peer, addresses)

    def _listens_at(self, peer: bytes, record: bytes) -> tuple[str, ...]:
        """Where a neighbour is reached: where we dialled it, and where its own signed record says."""
        info = self.core.peers.get(peer)
        found = [info.address] if info is not None and info.outbound else []
        try:
            found += decode_record(record, self.core.post.env.verify).addresses if record else ()
        except DecodeError as error:
            log.debug("the record of a neighbour: %s", error)
        return tuple(dict.fromkeys(full for text in found if (full := multiaddr.of_peer(text, peer))))

    async def _request(self, effect: Request) -> None:
        outcome: Outcome = Missed.TIMEOUT
        with self._at_most(effect.timeout_ms):
            try:
                if effect.peer not in self.core.peers and not await self.dialler.reach(effect.peer, effect.addresses):
                    raise RemoteError("not connected")
                timeout_s = effect.timeout_ms / 1000
                answer = await self.transport.request(effect.peer, RPC_CHANNEL, effect.frame, timeout_s=timeout_s)
                outcome = Ok(answer)
            except trio.TooSlowError:
                pass
            except P2PComputeError as error:
                log.debug("request failed: %s", error)
                outcome = Missed.CLOSED
        self._do(self.core.on_response(self.now(), effect.request_id, outcome))

    def _at_most(self, timeout_ms: int) -> trio.CancelScope:
        return trio.CancelScope(deadline=self._clock.deadline(self.now().mono_ms + timeout_ms))

    # -- blobs and jobs ------------------------------------------------------------------------------------------------

    async def open_stream_to(self, peer: bytes, addresses: tuple[str, ...], protocol: str) -> Stream:
        """A stream to a peer, dialled first where nobody is connected to it and addresses are given."""
        if peer not in self.core.peers:
            await self.dialler.reach(peer, addresses)
        return await self.transport.open_stream(peer, protocol)

    async def _fetch(self, effect: Fetch) -> None:
        reason = "the transfer took too long"
        blobs: tuple[bytes, ...] | None = None
        held_bytes = 0
        with self._at_most(effect.timeout_ms):
            try:
                blobs = await self._work.fetch(effect, self)
            except PaymentDueError as error:
                reason, held_bytes = str(error), error.held_bytes
            except (RemoteError, LocalError) as error:
                reason = str(error)
        self._do(self.core.on_fetch(self.now(), effect.token, blobs, reason, held_bytes))

    async def _run_job(self, effect: RunJob) -> None:
        with trio.CancelScope() as scope:
            self._runs[effect.token] = scope
            try:
                outcome = await self._work.run(effect)
            finally:
                del self._runs[effect.token]
            self._do(self.core.on_job(self.now(), effect.token, outcome))

    async def _redeem(self, effect: Redeem) -> None:
        assert self._payments is not None
        fault = await self._payments.pay(effect)
        self._do(self.core.on_redeemed(self.now(), effect.key, fault))

    async def _compare(self, effect: Compare) -> None:
        pairs = await self._work.compare(effect)
        self._do(self.core.on_compared(self.now(), effect.token, pairs))

    async def _locate(self, effect: Locate) -> None:
        byte, silent = await self._work.locate(effect, self)
        self._do(self.core.on_located(self.now(), effect.token, byte, silent))

    async def _inspect(self, effect: Inspect) -> None:
        outcome = await self._work.inspect(effect, self)
        self._do(self.core.on_inspected(self.now(), effect.token, outcome))
