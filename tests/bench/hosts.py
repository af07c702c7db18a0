"""Many peers in one process: memory of 100 hosts in a ring with chords, and how long one more takes to connect."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import trio

GOALS: Final = {"rss_mb_100_hosts": ("<=", 500.0), "connect_ms_median": ("<=", 50.0)}
HOSTS: Final = 100
CHORDS: Final = (1, 7, 31)
"""Each host dials those this far ahead: six connections a host, as in a mesh."""
PAGE_BYTES: Final = 4096


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


async def _run(count: int) -> dict[str, object]:
    from p2pcompute.transport.libp2p import Libp2pTransport
    from tests.transport.harness import Recorder, make

    before = _memory_mb()
    hosts: list[Libp2pTransport] = [make(index + 1, Recorder()) for index in range(count)]
    times_ms: list[float] = []
    async with trio.open_nursery() as nursery:
        for host in hosts:
            await nursery.start(host.run)
        for index, host in enumerate(hosts):
            for chord in CHORDS:
                begin = time.perf_counter()
                await host.connect(hosts[(index + chord) % count].addresses()[0])
                times_ms.append(1000 * (time.perf_counter() - begin))
        memory = _memory_mb()
        connections = sum(host.load()["outbound"] for host in hosts)
        nursery.cancel_scope.cancel()
    return {
        "rss_mb_100_hosts": memory,
        "rss_mb_without_hosts": before,
        "connect_ms_median": statistics.median(times_ms),
        "hosts": count,
        "connections": connections,
    }


if __name__ == "__main__":
    print(json.dumps(trio.run(_run, int(sys.argv[1]))))
