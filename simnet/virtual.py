"""The trio driver: the real runtime (node.runtime) over the simulated network, on a clock that the world turns.

Every event of the wheel is followed by all that it sets in motion among the tasks before the next one happens, and
tasks run in the order in which they were started: so a seed gives the same trace as on the wheel driver.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Generic, Never, TypeVar

import trio
import trio._core._run as trio_run
import trio.testing

from p2pcompute.errors import RemoteError, UsageError
from p2pcompute.node.ports import Streams
from p2pcompute.node.runtime import Runtime
from p2pcompute.node.sources import PaymentDueError
from p2pcompute.protocol.commands import Command
from p2pcompute.protocol.kademlia import Contact
from p2pcompute.protocol.machine import (
    Compare,
    Fetch,
    Grant,
    Inspect,
    InspectOutcome,
    JobOutcome,
    Locate,
    Missed,
    Now,
    Outcome,
    PeerInfo,
    Priority,
    Redeem,
    RunJob,
)
from p2pcompute.transport.mux import Stream
from simnet.disk import CrashState
from simnet.network import Providers
from simnet.node import JOB, LOCATING_MS, PAYING_MS, Node
from simnet.site import Site
from simnet.wheel import Phase
from simnet.world import World

T = TypeVar("T")

NEVER_MS: Final = 1 << 62
ROUNDING: Final = 1e-6
"""A deadline at 8.062 s lies in millisecond 8062, although 8.062 * 1000 is a little less."""
DEADLINE_S: Final = 0.0002
"""Within a millisecond deadlines come after everything that arrives in it."""


class TurnedClock(trio.abc.Clock):
    """Trio's time, moved by the world alone."""

    def __init__(self) -> None:
        self.time_s = 0.0
        self.next_deadline_s = math.inf

    def start_clock(self) -> None:
        pass

    def current_time(self) -> float:
        return self.time_s

    def deadline_to_sleep_time(self, deadline: float) -> float:
        self.next_deadline_s = deadline
        return 0.0 if deadline <= self.time_s else 1e6

    @property
    def next_deadline_ms(self) -> int:
        """The millisecond in which some task wakes; NEVER_MS when none will."""
        return math.floor(self.next_deadline_s * 1_000 + ROUNDING) if self.next_deadline_s < math.inf else NEVER_MS

    def turn(self, time_s: float) -> None:
        """Time never goes back."""
        self.time_s = max(self.time_s, time_s)


class SiteClock:
    """A node's clocks (node.ports.Clock)."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def now(self) -> Now:
        return self._site.now

    def deadline(self, mono_ms: int) -> float:
        return mono_ms / 1_000 + DEADLINE_S


class DiskTicket:
    """A record on its way to a simulated disk."""

    def __init__(self, committer: DiskCommitter, number: int) -> None:
        self._committer, self._number = committer, number

    async def wait(self) -> int:
        while self._number >= len(self._committer.site.disk.records):
            await self._committer.more.wait()
        return self._number


class DiskCommitter:
    """node.ports.Committer on a simulated disk."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.more = trio.Event()

    def durable(self) -> None:
        """The disk holds more than before."""
        self.more.set()
        self.more = trio.Event()

    def enqueue(self, record: bytes) -> DiskTicket:
        return DiskTicket(self, self.site.disk.append(record))


class Reply(Generic[T]):
    """What the world will say at some time; it never does when it gets lost."""

    def __init__(self) -> None:
        self._said: list[T] = []
        self._event = trio.Event()

    def give(self, value: T) -> None:
        self._said.append(value)
        self._event.set()

    async def wait(self) -> T:
        await self._event.wait()
        return self._said[0]


class SiteNetwork:
    """node.ports.Network and PeerFinder on the simulated network."""

    def __init__(self, site: Node) -> None:
        self._site, self._network = site, site.network

    def send(self, peer: bytes, channel: str, frame: bytes, priority: Priority) -> bool:
        return self._network.send(self._site, peer, channel, frame, priority)

    async def request(self, peer: bytes, channel: str, frame: bytes, *, timeout_s: float) -> bytes:
        reply = Reply[Outcome]()
        if not self._network.request(self._site, peer, frame, reply.give):
            raise RemoteError("not connected")
        outcome = await reply.wait()
        if isinstance(outcome, Missed):
            raise RemoteError("the connection ended")
        return outcome.frame

    async def connect(self, address: str, *, timeout_s: float) -> bytes:
        peer = self._network.addresses.get(address, b"")
        reply = Reply[bool]()
        self._network.connect(self._site, peer, reply.give)
        if not await reply.wait():
            raise RemoteError("nobody answers")
        return peer

    async def disconnect(self, peer: bytes) -> None:
        self._network.disconnect(self._site, peer)

    async def open_stream(self, peer: bytes, protocol: str) -> Stream:
        raise RemoteError("simulated peers have no streams")

    async def signed_record(self, peer: bytes) -> bytes:
        reply = Reply[bytes]()
        if not self._network.identify(self._site, peer, reply.give):
            raise RemoteError("not connected")
        return await reply.wait()

    def __len__(self) -> int:
        """Nobody is in a table: a new neighbour is asked for its record at once."""
        return 0

    async def find_peer(self, peer: bytes) -> Sequence[str]:
        return ()

    async def find_providers(self, topic: str) -> Sequence[Contact]:
        reply = Reply[Providers]()
        self._network.find(self._site, topic, reply.give)
        return [Contact(peer, addresses) for peer, addresses in await reply.wait()]

    def serves(self, topics: Sequence[str]) -> None:
        self._network.serve(self._site, tuple(topics))

    async def met(self, peer: bytes, addresses: Sequence[str]) -> bool:
        return False

    def told(self, peer: bytes, addresses: Sequence[str]) -> bool:
        return False

    async def serve(self, peer: bytes, stream: Stream) -> Never:
        raise RemoteError("simulated peers have no streams")


class SiteWork:
    """node.ports.Work: blobs and engines of a simulated peer."""

    def __init__(self, node: VirtualNode) -> None:
        self._node = node

    def grant(self, effect: Grant) -> None:
        self._node.grant(effect)

    async def run(self, effect: RunJob) -> JobOutcome:
        node = self._node
        node.runs += 1
        took_ms, outcome = node.compute(effect.manifest, snapshots=effect.snapshots)
        reply = Reply[JobOutcome]()
        key = node.index, JOB, 0, node.runs
        node.network.wheel.at(node.network.wheel.now_ms + took_ms, Phase.SETTLE, key, reply.give, outcome)
        return await reply.wait()

    async def inspect(self, effect: Inspect, network: Streams) -> InspectOutcome:
        node = self._node
        node.runs += 1
        took_ms, outcome = node.inspect(effect)
        reply = Reply[InspectOutcome]()
        key = node.index, JOB, 1, node.runs
        node.network.wheel.at(node.network.wheel.now_ms + took_ms, Phase.SETTLE, key, reply.give, outcome)
        return await reply.wait()

    async def locate(self, effect: Locate, network: Streams) -> tuple[int | None, tuple[bytes, ...]]:
        node = self._node
        node.runs += 1
        located = node.locate(effect)
        reply = Reply[tuple[int | None, tuple[bytes, ...]]]()
        key = node.index, JOB, 2, node.runs
        node.network.wheel.at(node.network.wheel.now_ms + LOCATING_MS, Phase.SETTLE, key, reply.give, located)
        return await reply.wait()

    async def compare(self, effect: Compare) -> tuple[tuple[int, int], ...] | None:
        return self._node.compare(effect)

    async def fetch(self, effect: Fetch, network: Streams) -> tuple[bytes, ...]:
        """From the first source that gives the blobs, one after the other."""
        node, roots = self._node, [root for root, _ in effect.blobs]
        fault = RemoteError("no source")
        for peer, addresses in ((effect.peer, effect.addresses), *effect.others):
            reply = Reply[bool]()
            if peer not in node.lines and addresses:
                node.network.connect(node, peer, reply.give)
                await reply.wait()
                reply = Reply()
            if not node.network.transfer(node, peer, sum(size for _, size in effect.blobs), reply.give):
                fault = RemoteError("not connected")
                continue
            whole, source = await reply.wait(), node.network.nodes[peer]
            assert isinstance(source, Site)
            if whole and source.gives(node.peer, roots):
                return node.take(source, effect.token, roots)
            if whole and peer == effect.peer and (held := source.slice_for(node.peer, effect.blobs)):
                raise PaymentDueError("the rest is not paid", held)
            fault = RemoteError("the source does not have it")
        raise fault

    async def serve(self, peer: bytes, stream: Stream) -> Never:
        raise RemoteError("simulated peers have no streams")

    async def run_retention(self) -> None:
        await trio.sleep_forever()


class SitePayments:
    """node.ports.Payments of a simulated peer."""

    def __init__(self, node: VirtualNode) -> None:
        self._node = node

    async def pay(self, effect: Redeem) -> str:
        node = self._node
        node.runs += 1
        fault, key = node.redeem(effect), (node.index, JOB, 3, node.runs)
        reply = Reply[str]()
        node.network.wheel.at(node.network.wheel.now_ms + PAYING_MS, Phase.SETTLE, key, reply.give, fault)
        return await reply.wait()


class VirtualNode(Node):
    """A peer that node.runtime drives."""

    runs = 0
    nursery: trio.Nursery

    def start(self, commands: Sequence[Command] = ()) -> None:
        """Boot, in a task of its own."""
        self.up = True
        self._life += 1
        self._scope = trio.CancelScope()
        self.nursery.start_soon(self._live, commands, self._scope)

    async def _live(self, commands: Sequence[Command], scope: trio.CancelScope) -> None:
        committer = DiskCommitter(self)
        runtime = self._runtime = Runtime(committer, SiteWork(self), SiteClock(self), SitePayments(self))
        runtime.listen(self.emit)
        core, network = self.make_core(), SiteNetwork(self)
        self.core = core
        runtime.attach(core, network, network)
        journal = self.disk.mount(committer.durable)

        def ready() -> None:
            for command in commands:
                runtime.command(command)
            for peer in self.bootstrap:
                self._seek(peer, self._life)

        with scope:
            async with trio.open_nursery() as self._answers:
                await runtime.run(journal, ready=ready)

    def crash(self, state: CrashState = CrashState.CLEAN) -> None:
        if self.up:
            self._scope.cancel()
        super().crash(state)

    def pause(self) -> None:
        raise UsageError("the trio driver cannot stop a node while time goes on; use the wheel driver")

    def command(self, command: Command) -> None:
        if self.core is not None:
            self._runtime.command(command)

    def on_peer(self, info: PeerInfo) -> None:
        if self.core is not None:
            self._runtime.on_peer(info)
            if not info.up and info.peer in self.bootstrap:
                self._seek_later(info.peer)

    def on_lost(self, info: PeerInfo | None, unanswered: list[Callable[[Outcome], None]]) -> None:
        Site.on_lost(self, info, unanswered)

    def on_frame(self, source: bytes, channel: str, frame: bytes) -> None:
        if self.core is not None:
            self._runtime.on_frame(source, channel, frame)

    def on_request(self, source: bytes, frame: bytes, reply: Callable[[bytes | None], None]) -> None:
        if self.core is not None:
            self._answers.start_soon(self._answer, source, frame, reply)

    async def _answer(self, source: bytes, frame: bytes, reply: Callable[[bytes | None], None]) -> None:
        reply(await self._runtime.on_request(source, "", frame))


class VirtualWorld(World):
    """A world whose nodes the real runtime drives, one event at a time."""

    node_class = VirtualNode

    def run(self) -> int:
        clock = TurnedClock()
        with _orderly():
            return trio.run(self._run, clock, clock=clock)

    async def _run(self, clock: TurnedClock) -> int:
        async with trio.open_nursery() as nursery:
            for node in self.nodes:
                assert isinstance(node, VirtualNode)
                node.nursery = nursery
            self.prepare(nursery)
            self.start()
            calls = await self._turn(clock)
            nursery.cancel_scope.cancel()
        return calls

    def prepare(self, nursery: trio.Nursery) -> None:
        """What a kind of world needs before it starts."""

    async def _turn(self, clock: TurnedClock) -> int:
        """Millisecond after millisecond, until the end: what arrives, then deadlines, then what leaves."""
        calls = 0
        while True:
            await _idle()
            event_ms, deadline_ms = self.wheel.next_ms(), clock.next_deadline_ms
            now_ms = deadline_ms if event_ms is None else min(event_ms, deadline_ms)
            if now_ms > self.scenario.until_ms or self.settled():
                return calls
            clock.turn(now_ms / 1_000)
            self.wheel.now_ms = now_ms
            calls += await self._phases(now_ms, Phase.LIFE, Phase.SETTLE)
            while clock.next_deadline_ms == now_ms:
                clock.turn(clock.next_deadline_s)
                await _idle()
            calls += await self._phases(now_ms, Phase.TIMER, Phase.DEPART)

    async def _phases(self, now_ms: int, first: Phase, last: Phase) -> int:
        calls = 0
        if self.wheel.next_ms() == now_ms:
            for _ in self.wheel.step(first, last):
                calls += 1
                await _idle()
        return calls


async def _idle() -> None:
    """Every task has done what it can."""
    await trio.testing.wait_all_tasks_blocked()


class _InOrder:
    """Instead of trio's random generator: ready tasks run in the order in which they were started."""

    @staticmethod
    def shuffle(batch: list[object]) -> None:
        batch.reverse()  # trio takes them from the end

    @staticmethod
    def random() -> float:
        return 1.0


@contextlib.contextmanager
def _orderly() -> Iterator[None]:
    """Trio's own switch for reproducible runs (it has it for hypothesis), and no chance in it."""
    before = trio_run._ALLOW_DETERMINISTIC_SCHEDULING, trio_run._r
    trio_run._ALLOW_DETERMINISTIC_SCHEDULING, trio_run._r = True, _InOrder()  # type: ignore[misc, assignment]
    try:
        yield
    finally:
        trio_run._ALLOW_DETERMINISTIC_SCHEDULING, trio_run._r = before  # type: ignore[misc]
