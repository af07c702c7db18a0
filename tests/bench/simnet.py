"""The simulator's own speed: gossip of signed offers among real cores in virtual time."""

from __future__ import annotations

import resource
import time
from typing import Final

from p2pcompute.protocol.commands import Publish
from p2pcompute.protocol.machine import Emit
from simnet.scenario import Scenario, Work
from simnet.site import Site
from simnet.world import World

GOALS: Final = {"deliveries_per_cpu_s_1000": (">=", 50_000.0), "nodes_max": (">=", 10_000.0)}


def measure(*, quick: bool) -> dict[str, object]:
    """`deliveries_per_cpu_s_1000`: first-time deliveries of validated offers per second of processor time, 1,000 nodes,
    everything decoded, scored, and verified (each signature once in the process)."""
    nodes, publishers = (20, 3) if quick else (1_000, 20)
    rate, seen = _gossip(nodes, publishers)
    return {
        "deliveries_per_cpu_s_1000": rate,
        "nodes_max": float(nodes),
        "deliveries": float(seen),
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _gossip(nodes: int, publishers: int) -> tuple[float, int]:
    """All nodes join and grow a mesh, then a few publish an offer each; the time from there until all have them."""
    world = World(Scenario(providers=nodes, work=Work(tasks=0)), seed=1)
    seen = 0

    def count(node: Site, event: Emit) -> None:
        nonlocal seen
        seen += event.name == "offer.new"

    for i, node in enumerate(world.providers):
        node._observe = count
        node.bootstrap = [world.providers[world.rng.randrange(i)].peer for _ in range(4)] if i else []
        node.start()
    world.wheel.run(5_000, lambda: False)
    begin = time.process_time()
    for i, node in enumerate(world.providers[:publishers]):
        node.command(Publish(world.terms(node, i)))
    world.wheel.run(world.wheel.now_ms + 10_000, lambda: seen >= nodes * publishers)
    return seen / (time.process_time() - begin), seen
