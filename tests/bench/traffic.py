"""What a quiet market costs its nodes: bytes a second of a simulated network in which everybody sells.

Offers are made anew at the rate at which nodes do it by themselves, every five minutes, spread evenly; nothing else
happens. What is counted is all that the machines send, and what encryption, framing and TCP add to each frame.
"""

from __future__ import annotations

import gc
import time
from typing import Final

from p2pcompute.protocol.commands import Publish
from p2pcompute.protocol.core import OFFER_RENEW_MS
from simnet.scenario import Scenario, Work
from simnet.world import World
from tests.bench.settled import settle

STRIDE: Final = 7_919
"""A prime: whose turn is next is nobody's neighbour."""
FRAME_BYTES: Final = 12 + 18 + 52
"""For each frame: a yamux header, length and tag of Noise, IPv4 and TCP with timestamps."""


class Traffic(World):
    """So many nodes, each with an offer of its own, long after they came."""

    def __init__(self, nodes: int, *, seed: int = 1) -> None:
        scenario = Scenario(providers=nodes, work=Work(tasks=0), until_ms=100_000)
        super().__init__(scenario, seed, keep_events=False)
        self._turn = 0
        self.depth = settle(self)

    def sent_bytes(self) -> int:
        """By everybody, over the connections that are open now."""
        lines = [line for node in self.providers for line in node.lines.values()]
        frames = sum(line.frames + 2 * line.requests for line in lines)
        return sum(node.bytes_out for node in self.providers) + FRAME_BYTES * frames

    def pass_time(self, virtual_ms: int) -> None:
        """Let so much time go by, with new offers at the usual rate."""
        begin_ms = self.wheel.now_ms
        count = len(self.providers) * virtual_ms // OFFER_RENEW_MS
        for i in range(count):
            self.schedule(begin_ms + i * virtual_ms // count, self._renew)
        self.wheel.run(begin_ms + virtual_ms, lambda: False)

    def _renew(self) -> None:
        number = self._turn * STRIDE % len(self.providers)
        self._turn += 1
        self.providers[number].command(Publish(self.terms(self.providers[number], self._turn)))


def measure(nodes: int, *, join_ms: int, window_ms: int) -> dict[str, float]:
    """`bytes_per_node_s`: what a node sends in a second on average, and so receives; after so long in which everybody
    connects, counted over so long."""
    begin = time.process_time()
    world = Traffic(nodes)
    gc.collect()
    gc.freeze()  # what lasts as long as the world is not looked through again and again for garbage
    world.pass_time(join_ms)
    before = world.sent_bytes()
    world.pass_time(window_ms)
    sent = world.sent_bytes() - before
    gc.unfreeze()
    return {
        "bytes_per_node_s": sent * 1_000 / window_ms / nodes,
        "depth": float(world.depth),
        "offers_held": sum(len(node.core.book) for node in world.providers if node.core) / nodes,
        "connections": sum(len(node.lines) for node in world.providers) / nodes,
        "cpu_s": time.process_time() - begin,
    }
