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

FRAME_BYTES: Final = 12 + 18 + 52
"""For each frame: a yamux header, length and tag of Noise, IPv4 and TCP with timestamps."""


class Traffic(World):
    """So many nodes, each with an offer of its own."""

    def __init__(self, nodes: int, *, boot_ms: int, seed: int = 1) -> None:
        every_ms = max(1, boot_ms // nodes)
        scenario = Scenario(
            providers=nodes, requesters=1, acquaintances=4, boot_every_ms=every_ms, work=Work(tasks=0), until_ms=100_000
        )
        super().__init__(scenario, seed, keep_events=False)
        self.boot_ms, self._turn = every_ms * nodes, 0

    def settled(self) -> bool:
        """The time is over when it is over."""
        return False

    def sent_bytes(self) -> int:
        """By everybody, over the connections that are open now."""
        lines = [line for node in self.nodes for line in node.lines.values()]
        return sum(node.bytes_out for node in self.nodes) + FRAME_BYTES * sum(x.frames + 2 * x.requests for x in lines)

    def pass_time(self, virtual_ms: int, *, renewing: bool) -> None:
        """Let so much time go by, with new offers at the usual rate or none."""
        begin_ms = self.wheel.now_ms
        if renewing:
            count = len(self.providers) * virtual_ms // OFFER_RENEW_MS
            for i in range(count):
                self.schedule(begin_ms + i * virtual_ms // count, self._renew)
        self.wheel.run(begin_ms + virtual_ms, lambda: False)

    def _renew(self) -> None:
        node = self.providers[self._turn * 7_919 % len(self.providers)]
        self._turn += 1
        node.command(Publish(self.terms(node, self._turn)))


def measure(nodes: int, *, boot_ms: int, join_ms: int, window_ms: int) -> dict[str, float]:
    """`bytes_per_node_s`: what a node sends in a second on average, and so receives."""
    begin = time.process_time()
    world = Traffic(nodes, boot_ms=boot_ms)
    world.start()
    world.pass_time(world.boot_ms + join_ms, renewing=False)
    gc.collect()
    gc.freeze()  # what lasts as long as the world is not looked through again and again for garbage
    world.pass_time(window_ms // 4, renewing=True)
    before = world.sent_bytes()
    world.pass_time(window_ms, renewing=True)
    sent = world.sent_bytes() - before
    gc.unfreeze()
    return {
        "bytes_per_node_s": sent * 1_000 / window_ms / len(world.nodes),
        "offers_held": sum(len(node.core.book) for node in world.providers if node.core) / nodes,
        "connections": sum(len(node.lines) for node in world.providers) / nodes,
        "cpu_s": time.process_time() - begin,
    }
