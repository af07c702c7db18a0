"""The simulator's own speed: gossip of signed offers among real cores in virtual time."""

from __future__ import annotations

import resource
import time
from typing import Final

from p2pcompute.protocol.machine import Emit
from simnet.node import Node
from simnet.world import Scenario, World

GOALS: Final = {"deliveries_per_cpu_s_1000": (">=", 50_000.0), "nodes_max": (">=", 10_000.0)}


def measure(*, quick: bool) -> dict[str, object]:
    """`deliveries_per_cpu_s_1000`: first-time deliveries of validated offers per second of processor time, 1,000 nodes,
    everything decoded, scored, and verified (each signature once in the process)."""
    nodes = 20 if quick else 1_000
    rate, seen = _gossip(nodes)
    return {
        "deliveries_per_cpu_s_1000": rate,
        "nodes_max": float(nodes),
        "deliveries": float(seen),
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _gossip(nodes: int) -> tuple[float, int]:
    world = World(Scenario(providers=nodes, tasks=0), seed=1)
    seen = 0

    def count(node: Node, event: Emit) -> None:
        nonlocal seen
        seen += event.name in ("offer.new", "offer.changed")

    for node in [*world.providers, world.requester]:
        node._observe = count
    world.start()
    begin = time.process_time()
    world.wheel.run(60_000, lambda: False)
    return seen / (time.process_time() - begin), seen
