"""The simulator's own speed: gossip of signed offers among real cores in virtual time.

The load is a market in motion: a quarter of the nodes are providers whose offers are known everywhere, and each changes
its offer once in ten seconds, one after the other. So the figure is the cost of a delivery on a busy network in its
steady state: with the duplicates that a mesh brings, the heartbeats, and the anti-entropy that runs beside, which all
are measured and count as no delivery. A flood of first offers into empty books, as at a network's birth, would measure
anti-entropy instead, and a quiet network its heartbeats; what a quiet node costs is a figure of its own.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import subprocess
import sys
import time
from typing import Final

from p2pcompute.identity.keys import KeyPair, verify
from p2pcompute.protocol.commands import Publish
from p2pcompute.protocol.machine import Emit
from simnet.scenario import Scenario, Work
from simnet.site import Site
from simnet.world import World

GOALS: Final = {"deliveries_per_cpu_s_1000": (">=", 50_000.0), "nodes_max": (">=", 10_000.0)}
JOIN_MS: Final = 10_000
"""Until meshes have grown and the nodes that dialled have compared their books."""
QUIET_MS: Final = 10_000
"""Ten heartbeats and a round of anti-entropy of every node."""
LARGE_CPU_S_MAX: Final = 900.0
LARGE_MB_MAX: Final = 8_000.0
ROUND_MS: Final = 10_000
"""In which every provider publishes once."""


def measure(*, quick: bool) -> dict[str, object]:
    """`deliveries_per_cpu_s_1000`: offers taken into a node's book for the first time, decoded, scored and verified
    there (each signature is computed once in the process), per second of processor time, among 1,000 nodes.
    `nodes_max`: how many nodes the scenario `ten-thousand` was given (`python -m simnet run ten-thousand`), when every
    invariant held in it and it took no more than 15 minutes of one processor and 8 GB for its 60 virtual seconds.
    `quiet_us_per_node_s`: processor time of a node in a virtual second without any offer. `verify_us`: that of one
    signature check in the same minute, to compare runs on machines that are busy with other things."""
    nodes, providers, rounds = (20, 3, 1) if quick else (1_000, 250, 1)
    large = _large(120 if quick else 10_000)
    market = _Market(nodes, providers)
    quiet_s = market.run(QUIET_MS)
    market.publish_for(rounds)
    seen, busy_s = market.seen, market.run(rounds * ROUND_MS)
    delivered = market.seen - seen
    return {
        "deliveries_per_cpu_s_1000": delivered / busy_s,
        **large,
        "deliveries": float(delivered),
        "verify_us": _verify_s() * 1e6,
        "quiet_us_per_node_s": quiet_s * 1e6 / nodes / (QUIET_MS / 1000),
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _large(nodes: int) -> dict[str, float]:
    """The market of many nodes, in a process of its own."""
    command = [sys.executable, "-m", "simnet", "run", "ten-thousand", "--nodes", str(nodes), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        said = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    cpu_s, memory_mb = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024
    outcome = json.loads(said)
    fits = process.returncode == 0 and cpu_s <= LARGE_CPU_S_MAX and memory_mb <= LARGE_MB_MAX
    return {
        "nodes_max": float(outcome["nodes"]) if fits else 0.0,
        "large_cpu_s": cpu_s,
        "large_memory_mb": memory_mb,
        "large_virtual_s": outcome["virtual_ms"] / 1000,
        "large_tasks_done": float(outcome["done"]),
    }


def _verify_s() -> float:
    key, message, count = KeyPair(bytes(32)), bytes(400), 500
    signature = key.sign(message)
    begin = time.process_time()
    for _ in range(count):
        assert verify(key.public, message, signature)
    return (time.process_time() - begin) / count


class _Market:
    """Nodes of which the first are providers; their meshes have grown and every node knows every provider's offer."""

    def __init__(self, nodes: int, providers: int) -> None:
        self.seen = self._turn = 0
        self._world = World(Scenario(providers=nodes, acquaintances=4, work=Work(tasks=0)), seed=1, keep_events=False)
        self._world.observers.append(self._count)
        self._providers = self._world.providers[:providers]
        for node in self._world.providers:
            node.start()
        self.run(JOIN_MS)
        self.publish_for(1)
        self.run(JOIN_MS)
        gc.collect()
        gc.freeze()  # what lasts as long as the world is not looked through again and again for garbage

    def _count(self, now_ms: int, node: Site, event: Emit) -> None:
        self.seen += event.name in ("offer.new", "offer.changed")

    def publish_for(self, rounds: int) -> None:
        """From now on, so many rounds of new offers, at even distances."""
        world, count = self._world, len(self._providers)
        for i in range(rounds * count):
            world.schedule(world.wheel.now_ms + i * ROUND_MS // count, self._publish_next)

    def _publish_next(self) -> None:
        node = self._providers[self._turn % len(self._providers)]
        node.command(Publish(self._world.terms(node, self._turn)))
        self._turn += 1

    def run(self, virtual_ms: int) -> float:
        """Seconds of processor time that so much virtual time takes."""
        begin = time.process_time()
        self._world.wheel.run(self._world.wheel.now_ms + virtual_ms, lambda: False)
        return time.process_time() - begin
