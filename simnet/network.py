"""The simulated network: who is connected to whom, how long frames take, which are lost."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from p2pcompute.protocol.machine import Missed, Now, Ok, Outcome, PeerInfo
from simnet.wheel import Wheel

if TYPE_CHECKING:
    from simnet.node import Node

WALL_START_MS = 1_800_000_000_000
"""Virtual Unix time at the start of every world."""


@dataclasses.dataclass(frozen=True)
class Links:
    """How links behave. Latency is uniform between the bounds and fixed for each pair, with up to `jitter_ms` on each
    frame; `loss` is the share of one-way frames that vanish. Requests run on reliable streams: `request_loss` is the
    share of requests, and of answers, that nobody gets to see before the asker gives up."""

    latency_ms_min: int = 5
    latency_ms_max: int = 80
    jitter_ms: int = 10
    loss: float = 0.0
    request_loss: float = 0.0


class Network:
    """Frames between nodes, in virtual time."""

    def __init__(self, wheel: Wheel, rng: random.Random, links: Links) -> None:
        self.wheel, self.links = wheel, links
        self.nodes: dict[bytes, Node] = {}
        self._rng = rng
        self._now = Now(0, WALL_START_MS)
        self._latency: dict[tuple[bytes, bytes], int] = {}
        self._connections: dict[tuple[bytes, bytes], None] = {}
        self._links: dict[bytes, dict[bytes, int]] = {}
        """Of each node its connections, with their latency."""

    def delay_ms(self, a: bytes, b: bytes) -> int:
        """One frame's travel time."""
        pair = (a, b) if a < b else (b, a)
        base = self._latency.get(pair)
        if base is None:
            base = self._latency[pair] = self._rng.randrange(self.links.latency_ms_min, self.links.latency_ms_max + 1)
        return base + int(self._rng.random() * (self.links.jitter_ms + 1))

    def now(self) -> Now:
        """Both clocks; one object for all that happens in a millisecond."""
        ms = self.wheel.now_ms
        if self._now.mono_ms != ms:
            self._now = Now(ms, WALL_START_MS + ms)
        return self._now

    def connected(self, a: bytes, b: bytes) -> bool:
        return b in self._links.get(a, ())

    def connect(self, a: bytes, b: bytes, then: Callable[[bool], None]) -> None:
        """Dial; `then(success)` one round trip later."""

        def established() -> None:
            up = self.nodes[a].up and self.nodes[b].up
            if up and not self.connected(a, b):
                pair = (a, b) if a < b else (b, a)
                self._connections[pair] = None
                self._links.setdefault(a, {})[b] = self._links.setdefault(b, {})[a] = self._latency[pair]
                self.nodes[b].on_peer(PeerInfo(a, True, outbound=False))
                self.nodes[a].on_peer(PeerInfo(b, True, outbound=True))
            then(up)

        if a != b and b in self.nodes:
            self.wheel.after(2 * self.delay_ms(a, b), established)

    def cut(self, a: bytes) -> None:
        """`a` crashed: all its connections break; the other sides notice a little later."""
        for pair in [p for p in self._connections if a in p]:
            del self._connections[pair], self._links[pair[0]][pair[1]], self._links[pair[1]][pair[0]]
            other = pair[0] if pair[1] == a else pair[1]
            self.wheel.after(self.delay_ms(a, other), self._notice_of_loss(other, a))

    def _notice_of_loss(self, node: bytes, lost: bytes) -> Callable[[], None]:
        return lambda: self.nodes[node].on_peer(PeerInfo(lost, False))

    def send(self, source: bytes, targets: tuple[bytes, ...], channel: str, frame: bytes) -> None:
        """A one-way frame over existing connections."""
        wheel, uniform, links = self.wheel, self._rng.random, self._links.get(source, {})
        loss, now_ms, jitter_ms = self.links.loss, self.wheel.now_ms, self.links.jitter_ms + 1
        for target in targets:
            latency_ms = links.get(target)
            if latency_ms is not None and (not loss or uniform() >= loss):
                at_ms = now_ms + latency_ms + int(uniform() * jitter_ms)
                wheel.bucket(at_ms).append((self._arrive, (links, source, target, channel, frame)))

    def _arrive(self, links: dict[bytes, int], source: bytes, target: bytes, channel: str, frame: bytes) -> None:
        if target in links:
            self.nodes[target].on_frame(source, channel, frame)

    def request(
        self, source: bytes, target: bytes, frame: bytes, timeout_ms: int, dial: bool, answer: Callable[[Outcome], None]
    ) -> None:
        """A request; `answer` is called exactly once."""
        settled = False

        def settle(outcome: Outcome) -> None:
            nonlocal settled
            if not settled:
                settled = True
                answer(outcome)

        def go() -> None:
            if not self.connected(source, target):
                settle(Missed.CLOSED)
            elif self._arrives():
                self.wheel.after(self.delay_ms(source, target), arrive)

        def arrive() -> None:
            if not self.connected(source, target):
                settle(Missed.CLOSED)
                return
            self.nodes[target].on_request(source, frame, reply)

        def reply(data: bytes | None) -> None:
            outcome: Outcome = Missed.CLOSED if data is None else Ok(data)
            if self._arrives():
                self.wheel.after(
                    self.delay_ms(source, target),
                    lambda: settle(outcome if self.connected(source, target) else Missed.CLOSED),
                )

        self.wheel.after(timeout_ms, lambda: settle(Missed.TIMEOUT))
        if dial and not self.connected(source, target):
            self.connect(source, target, lambda up: go() if up else settle(Missed.CLOSED))
        else:
            go()

    def _arrives(self) -> bool:
        return not self.links.request_loss or self._rng.random() >= self.links.request_loss
