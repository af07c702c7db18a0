"""The simulated network: who is connected to whom, when frames arrive, which never do."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Final, Protocol

from p2pcompute.protocol.machine import Missed, Now, Ok, Outcome, PeerInfo, Priority
from simnet.bank import Bank
from simnet.links import Dice, Links
from simnet.wheel import Phase, Wheel

WALL_START_MS: Final = 1_800_000_000_000
"""Virtual Unix time at the start of every world."""
DIAL_MS: Final = 5_000
"""How long a dial waits that nobody answers (node.dialling.DIAL_S)."""
DEAD_MS: Final = 25_000
"""A connection over which nothing comes for so long is dropped (transport.libp2p, IDLE_S + PONG_S)."""

# Kinds of what happens to a node, for the order within a millisecond.
_UP, _LOST, _DIALLED = 2, 3, 4
_REQUEST, _ANSWER, _BLOBS, _RECORD, _FOUND = 1, 2, 3, 5, 7

SEARCH_MS: Final = 500
"""A search of the DHT: three hops, each a dial and a question over lines of middling length."""
FOUND_MAX: Final = 20
"""Peers that it names (transport.routing.PROVIDERS_WANTED)."""

Providers = tuple[tuple[bytes, tuple[str, ...]], ...]
"""Peers, and where they are."""
Tap = Callable[["Endpoint", "Endpoint", str, bytes | None, bytes], None]
"""Told of everything that leaves a peer: (from, to, "gossip", "request" or "answer", frame, what it answers)."""
_first: Final = itemgetter(0)
Barrier = Callable[["Endpoint", "Endpoint"], bool]
"""Whether nothing gets from the first to the second."""


class Endpoint(Protocol):
    """A node, as the network sees it. `lines`, `dials`, `busy_until_ms` and the byte counts are the network's own."""

    name: str
    peer: bytes
    index: int
    address: str
    record: bytes
    region: int
    up: bool
    dialable: bool
    lag_ms: int
    lines: dict[bytes, Line]
    dials: int
    searches: int
    busy_until_ms: int
    bytes_out: int
    bytes_in: int

    def on_peer(self, info: PeerInfo) -> None: ...
    def on_lost(self, info: PeerInfo | None, unanswered: list[Callable[[Outcome], None]]) -> None:
        """A connection is gone: who it led to, unless there is another one by now, and what was asked over it, in the
        order in which it was asked."""

    def on_frame(self, source: bytes, channel: str, frame: bytes) -> None: ...
    def on_request(self, source: bytes, frame: bytes, reply: Callable[[bytes | None], None]) -> None: ...


class Line:
    """One direction of a connection."""

    __slots__ = ("asked", "blocked", "frames", "key", "latency_ms", "open", "requests", "seed", "source", "target")

    def __init__(self, source: Endpoint, target: Endpoint, latency_ms: int, seed: int) -> None:
        self.source, self.target, self.latency_ms, self.seed = source, target, latency_ms, seed
        self.key = (target.index << 48) | (source.index << 24)
        self.frames = self.requests = 0
        self.open, self.blocked = True, False
        self.asked: dict[int, tuple[int, Callable[[Outcome], None]]] = {}
        """Requests without an answer yet, each with its place among all that the node asked."""


class Network:
    """Frames, requests and blobs between nodes, in virtual time."""

    def __init__(self, wheel: Wheel, seed: int, links: Links) -> None:
        self.wheel, self._seed = wheel, seed
        self.dice = Dice(seed, links)
        self.nodes: dict[bytes, Endpoint] = {}
        self.near: dict[bytes, bytes] = {}
        """Root of an honest machine's own bits -> that of the result it is close to."""
        self.addresses: dict[str, bytes] = {}
        self._now = Now(0, WALL_START_MS)
        self.taps: list[Tap] = []
        self.bank = Bank()
        self._connections = 0
        self._barriers: list[Barrier] = []
        self._serving: dict[str, dict[bytes, None]] = {}
        """Topic -> who told the DHT that they serve it."""
        self._served: dict[bytes, tuple[str, ...]] = {}

    @property
    def now(self) -> Now:
        """Both clocks; one object for all that happens in a millisecond."""
        ms = self.wheel.now_ms
        if self._now.mono_ms != ms:
            self._now = Now(ms, WALL_START_MS + ms)
        return self._now

    def set_links(self, links: Links) -> None:
        """From now on lines behave like this; the latency of open connections stays."""
        self.dice = Dice(self._seed, links)

    # -- connections -------------------------------------------------------------------------------------------------

    def connected(self, a: bytes, b: bytes) -> bool:
        return b in self.nodes[a].lines

    def latency_ms(self, a: Endpoint, b: Endpoint) -> int:
        """One way, at the moment."""
        return self.dice.latency_ms(a.index, b.index, (a.region, b.region)) + a.lag_ms + b.lag_ms

    def passes(self, a: Endpoint, b: Endpoint) -> bool:
        """Whether anything gets from the first to the second."""
        return not any(barrier(a, b) for barrier in self._barriers)

    def connect(self, source: Endpoint, peer: bytes, then: Callable[[bool], None]) -> None:
        """Dial. `then(success)` comes a round trip later, or at once for who is connected or unknown."""
        target = self.nodes.get(peer)
        if target is None or target is source or peer in source.lines:
            then(target is not None and peer in source.lines)
            return
        reachable = target.dialable and self.passes(source, target) and self.passes(target, source)
        delay_ms = 2 * self.latency_ms(source, target) if reachable or not target.up else DIAL_MS
        source.dials += 1
        key = _DIALLED, source.index, target.index, source.dials
        self.wheel.at(self.wheel.now_ms + delay_ms, Phase.LIFE, key, self._dialled, source, target, reachable, then)

    def _dialled(self, source: Endpoint, target: Endpoint, reachable: bool, then: Callable[[bool], None]) -> None:
        fresh = reachable and source.up and target.up and target.peer not in source.lines
        if fresh:
            self._connections += 1
            latency_ms = self.latency_ms(source, target)
            for a, b in ((source, target), (target, source)):
                a.lines[b.peer] = Line(a, b, latency_ms, self.dice.seed_of(a.index, b.index, self._connections))
        then(source.up and target.peer in source.lines)  # who waited to ask goes first, as tasks that wait do
        if fresh:
            target.on_peer(PeerInfo(source.peer, True, outbound=False, address=source.address))
            source.on_peer(PeerInfo(target.peer, True, outbound=True, address=target.address))

    def disconnect(self, source: Endpoint, peer: bytes) -> None:
        """`source` hangs up."""
        line = source.lines.get(peer)
        if line is not None:
            key = _LOST, source.index, line.target.index, 0
            self.wheel.at(self.wheel.now_ms + 1, Phase.LIFE, key, self._hang_up, line)

    def _hang_up(self, line: Line) -> None:
        if line.open:
            self._close(line)
            self._lose(line)

    def cut(self, node: Endpoint) -> None:
        """The node is gone: all its connections break; the other sides notice a little later."""
        for line in list(node.lines.values()):
            self._close(line)

    def _close(self, line: Line) -> None:
        """Break a connection; its other end notices one way later."""
        source, target = line.source, line.target
        back = target.lines[source.peer]
        line.open = back.open = False
        del source.lines[target.peer], target.lines[source.peer]
        key = _LOST, target.index, source.index, back.seed
        self.wheel.at(self.wheel.now_ms + line.latency_ms, Phase.LIFE, key, self._lose, back)

    @staticmethod
    def _lose(line: Line) -> None:
        """The line's source learns that the connection is gone."""
        asked, line.asked = line.asked, {}
        gone = line.source.up and line.target.peer not in line.source.lines
        answers = [answered for _, answered in sorted(asked.values(), key=_first)]
        line.source.on_lost(PeerInfo(line.target.peer, False) if gone else None, answers)

    def identify(self, source: Endpoint, peer: bytes, answered: Callable[[bytes], None]) -> bool:
        """Ask a neighbour for its signed record; nothing comes when the connection ends before. False without one."""
        line = source.lines.get(peer)
        if line is None:
            return False
        key = source.index, _RECORD, line.target.index, line.seed
        at_ms = self.wheel.now_ms + 2 * line.latency_ms
        self.wheel.at(at_ms, Phase.SETTLE, key, self._identified, line, answered)
        return True

    @staticmethod
    def _identified(line: Line, answered: Callable[[bytes], None]) -> None:
        if line.open and not line.blocked:
            answered(line.target.record)

    # -- the DHT -----------------------------------------------------------------------------------------------------

    def serve(self, source: Endpoint, topics: tuple[str, ...]) -> None:
        """From now on a peer serves these topics."""
        for topic in self._served.get(source.peer, ()):
            self._serving[topic].pop(source.peer, None)
        self._served[source.peer] = topics
        for topic in topics:
            self._serving.setdefault(topic, {})[source.peer] = None

    def find(self, source: Endpoint, topic: str, found: Callable[[Providers], None]) -> None:
        """Who serves a topic, some by chance; a few hops later."""
        source.searches += 1
        key = source.index, _FOUND, 0, source.searches
        self.wheel.at(
            self.wheel.now_ms + SEARCH_MS, Phase.SETTLE, key, self._found, source, topic, found, source.searches
        )

    def _found(self, source: Endpoint, topic: str, found: Callable[[Providers], None], number: int) -> None:
        known = list(self._serving.get(topic, ()))
        begin = self.dice.seed_of(source.index, number, _FOUND) % max(1, len(known))
        step = max(1, len(known) // FOUND_MAX)
        named = [self.nodes[known[(begin + i * step) % len(known)]] for i in range(min(FOUND_MAX, len(known)))]
        found(tuple((one.peer, (one.address,)) for one in named if one.up and one is not source))

    # -- faults ------------------------------------------------------------------------------------------------------

    def raise_barrier(self, barrier: Barrier) -> None:
        """From now on nothing passes where the barrier says so; connections that stay silent for too long break."""
        self._barriers.append(barrier)
        self._look_again()

    def remove_barrier(self, barrier: Barrier) -> None:
        """The barrier is gone."""
        self._barriers.remove(barrier)
        self._look_again()

    def _look_again(self) -> None:
        for node in self.nodes.values():
            for line in node.lines.values():
                was, line.blocked = line.blocked, not self.passes(line.source, line.target)
                if line.blocked and not was:
                    key = _LOST, line.source.index, line.target.index, line.seed
                    self.wheel.at(self.wheel.now_ms + DEAD_MS, Phase.LIFE, key, self._give_up, line)

    def _give_up(self, line: Line) -> None:
        if line.blocked:
            self._hang_up(line)

    # -- frames ------------------------------------------------------------------------------------------------------

    def send(self, source: Endpoint, peer: bytes, channel: str, frame: bytes, priority: Priority) -> bool:
        """A one-way frame; False when it was dropped for want of a connection or of room."""
        return not self.send_all(source, (peer,), channel, frame, priority)

    def send_all(
        self, source: Endpoint, peers: tuple[bytes, ...], channel: str, frame: bytes, priority: Priority
    ) -> list[bytes]:
        """One frame to each of these; those for whom it was dropped."""
        lines, dropped = source.lines, list[bytes]()
        queued = self.dice.links.uplink_kb_s > 0
        if queued and priority is not Priority.HIGH and self._is_behind(source):
            return list(peers)
        for peer in peers:
            line = lines.get(peer)
            if line is None:
                dropped.append(peer)
                continue
            for tap in self.taps:
                tap(source, line.target, "gossip", frame, b"")
            if queued:
                key = 0, source.index, line.target.index, line.frames
                self.wheel.at(self.wheel.now_ms, Phase.DEPART, key, self._depart, line, channel, frame, line.frames)
            else:
                self._fly(line, channel, frame, line.frames, 0)
            line.frames += 1
        return dropped

    def _is_behind(self, source: Endpoint) -> bool:
        """Whether a peer's line has no room for frames that may be dropped."""
        links = self.dice.links
        return (source.busy_until_ms - self.wheel.now_ms) * links.uplink_kb_s > links.queue_kb * 1_000

    def _depart(self, line: Line, channel: str, frame: bytes, number: int) -> None:
        self._fly(line, channel, frame, number, self._queue_ms(line.source, len(frame)))

    def _queue_ms(self, source: Endpoint, size_bytes: int) -> int:
        """Put something on a peer's line; after how many milliseconds its last byte has left."""
        rate = self.dice.links.uplink_kb_s
        if not rate:
            return 0
        now_ms = self.wheel.now_ms
        source.busy_until_ms = max(source.busy_until_ms, now_ms) + -(-size_bytes // rate)
        return source.busy_until_ms - now_ms

    def _fly(self, line: Line, channel: str, frame: bytes, number: int, queued_ms: int) -> None:
        line.source.bytes_out += len(frame)
        if line.blocked:
            return
        wheel, dice = self.wheel, self.dice
        key, at_ms = line.key | (number << 1 & 0xFFFFFF), wheel.now_ms + queued_ms + line.latency_ms
        if dice.plain:
            bucket = wheel.bucket(at_ms + dice.jitter_ms(line.seed, number), Phase.ARRIVE)
            bucket.append((key, self._arrive, (line, channel, frame)))
            return
        for copy, delay_ms in enumerate(dice.fate(line.seed, number)):
            wheel.bucket(at_ms + delay_ms, Phase.ARRIVE).append((key | copy, self._arrive, (line, channel, frame)))

    @staticmethod
    def _arrive(line: Line, channel: str, frame: bytes) -> None:
        if line.open:
            line.target.bytes_in += len(frame)
            line.target.on_frame(line.source.peer, channel, frame)

    # -- requests ----------------------------------------------------------------------------------------------------

    def request(
        self, source: Endpoint, peer: bytes, frame: bytes, answered: Callable[[Outcome], None], place: int = 0
    ) -> bool:
        """A request over an open connection; `answered` comes at most once, and never when it gets lost. False, and no
        answer, when there is no connection. `place`: its number among all that the node asks."""
        line = source.lines.get(peer)
        if line is None:
            return False
        for tap in self.taps:
            tap(source, line.target, "request", frame, b"")
        number, line.requests = line.requests, line.requests + 1
        line.asked[number] = place, answered
        key = 1, source.index, line.target.index, number
        self.wheel.at(self.wheel.now_ms, Phase.DEPART, key, self._ask, line, number, frame)
        return True

    def _ask(self, line: Line, number: int, frame: bytes) -> None:
        queued_ms = self._queue_ms(line.source, len(frame))
        line.source.bytes_out += len(frame)
        if not line.blocked and not self.dice.is_lost(line.seed, 2 * number):
            delay_ms = queued_ms + line.latency_ms + self.dice.jitter_ms(line.seed, ~number)
            key = line.target.index, _REQUEST, line.source.index, number
            self.wheel.at(self.wheel.now_ms + delay_ms, Phase.SETTLE, key, self._asked, line, number, frame)

    def _asked(self, line: Line, number: int, frame: bytes) -> None:
        if not line.open:
            return
        line.target.bytes_in += len(frame)

        def reply(data: bytes | None) -> None:
            for tap in self.taps:
                tap(line.target, line.source, "answer", data, frame)
            key = 2, line.target.index, line.source.index, number
            self.wheel.at(self.wheel.now_ms, Phase.DEPART, key, self._answer, line, number, data)

        line.target.on_request(line.source.peer, frame, reply)

    def _answer(self, line: Line, number: int, data: bytes | None) -> None:
        back = line.target.lines.get(line.source.peer)
        if not line.open or back is None:
            return
        queued_ms = self._queue_ms(line.target, len(data or b""))
        line.target.bytes_out += len(data or b"")
        if not back.blocked and not self.dice.is_lost(line.seed, 2 * number + 1):
            delay_ms = queued_ms + line.latency_ms + self.dice.jitter_ms(back.seed, ~number)
            key = line.source.index, _ANSWER, line.target.index, number
            self.wheel.at(self.wheel.now_ms + delay_ms, Phase.SETTLE, key, self._answered, line, number, data)

    @staticmethod
    def _answered(line: Line, number: int, data: bytes | None) -> None:
        asked = line.asked.pop(number, None)
        if asked is not None and line.open:
            line.source.bytes_in += len(data or b"")
            asked[1](Missed.CLOSED if data is None else Ok(data))

    # -- blobs -------------------------------------------------------------------------------------------------------

    def transfer(self, source: Endpoint, peer: bytes, size_bytes: int, arrived: Callable[[bool], None]) -> bool:
        """Blobs of `peer` on their way to `source`: two round trips and the time on `peer`'s line. `arrived(whole)`
        follows. False when there is no connection."""
        line = source.lines.get(peer)
        if line is None:
            return False
        number, line.requests = line.requests, line.requests + 1
        key = 3, source.index, line.target.index, number
        self.wheel.at(self.wheel.now_ms, Phase.DEPART, key, self._begin_transfer, line, number, size_bytes, arrived)
        return True

    def _begin_transfer(self, line: Line, number: int, size_bytes: int, arrived: Callable[[bool], None]) -> None:
        delay_ms = self._queue_ms(line.target, size_bytes)
        delay_ms += 4 * line.latency_ms + self.dice.jitter_ms(line.seed, ~number)
        line.target.bytes_out += size_bytes
        key = line.source.index, _BLOBS, line.target.index, number
        self.wheel.at(self.wheel.now_ms + delay_ms, Phase.SETTLE, key, self._transferred, line, size_bytes, arrived)

    @staticmethod
    def _transferred(line: Line, size_bytes: int, arrived: Callable[[bool], None]) -> None:
        whole = line.open and not line.blocked
        line.source.bytes_in += size_bytes if whole else 0
        arrived(whole)
