"""Many nodes in one process: memory of 100 whole hosts in a ring with chords, and how long one more takes to connect.

Each host is what `p2pcompute serve` composes, without the engine, which is a process of its own: transport, py-libp2p
guest, gossip, book and anti-entropy, market machines, supervisor of its company, journal and blob store. All are in one
mesh, have exchanged offers, and answer pings.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from p2pcompute.node.peer import Peer

GOALS: Final = {"rss_mb_100_hosts": ("<=", 500.0), "connect_ms_median": ("<=", 50.0)}
HOSTS: Final = 100
CHORDS: Final = (1, 7, 31)
"""Each host dials those this far ahead: six connections a host, as in a mesh."""
PAGE_BYTES: Final = 4096
LOOPBACK: Final = "/ip4/127.0.0.1/tcp/0"
NETWORK: Final = "bench"
PING: Final = "/ipfs/ping/1.0.0"
LEVEL_S: Final = 240.0
"""Until every book holds every offer, on a busy machine."""


def measure(*, quick: bool) -> dict[str, object]:
    """Memory of a process of its own, in MB of 10**6 bytes; milliseconds of connecting, with both ends in it."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.hosts", str(10 if quick else HOSTS)], check=True, stdout=subprocess.PIPE
    )
    figures: dict[str, object] = json.loads(done.stdout)
    return figures


def _memory_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * PAGE_BYTES / 1e6


async def _run(count: int, directory: Path) -> dict[str, object]:
    from p2pcompute.node import factory
    from p2pcompute.node.api import LocalNode

    before = _memory_mb()
    times_ms: list[float] = []
    async with contextlib.AsyncExitStack() as stack:
        peers = []
        for index in range(count):
            root = directory / str(index)
            factory.create_home(root, "", "", NETWORK)
            changes = {"network": NETWORK, "listen": (LOOPBACK,)}
            node = await stack.enter_async_context(factory.open_requester(root, lambda: "", changes))
            assert isinstance(node, LocalNode)
            peers.append(node.peer)
        for index, peer in enumerate(peers):
            for chord in CHORDS:
                begin = time.perf_counter()
                await peer.transport.connect(peers[(index + chord) % count].addresses()[0])
                times_ms.append(1000 * (time.perf_counter() - begin))
        for peer in peers:
            peer.offer("cpu", "simulated", isolation="none", mflops=1, copy_mb_s=1)
        with trio.fail_after(LEVEL_S):
            while any(len(peer.core.book) < count for peer in peers):
                await trio.sleep(0.1)
            await _answered(peers)
        statuses = [await LocalNode(peer).status() for peer in peers]
        return {
            "rss_mb_100_hosts": _memory_mb(),
            "rss_mb_without_hosts": before,
            "connect_ms_median": statistics.median(times_ms),
            "hosts": count,
            "connections": sum(int(str(status["outbound"])) for status in statuses),
            "offers_min": min(int(str(status["offers"])) for status in statuses),
            "tasks": statuses[0]["tasks"],
            "threads": threading.active_count(),
        }


async def _answered(peers: Sequence[Peer]) -> None:
    """Every py-libp2p guest is up: it answers a ping of its neighbour."""
    for index, peer in enumerate(peers):
        transport = peers[index - 1].transport
        target = await transport.connect(peer.addresses()[0])
        stream = await transport.open_stream(target, PING)
        await stream.send_all(bytes(32))
        assert await stream.receive_some()
        stream.reset()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(trio.run(_run, int(sys.argv[1]), Path(folder))))
