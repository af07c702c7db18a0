"""`python -m tests.bench.gossip_peers N TOPIC`: N of our peers in this process, as bench.mjs has N js peers in its own.

Driven by tests/bench/gossip.py over standard input and output, one JSON object per line.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from typing import Final

import trio

from p2pcompute.identity.keys import verify
from p2pcompute.protocol.gossip import GossipParams
from p2pcompute.protocol.gossip.codec import encode_message
from p2pcompute.transport import noise
from tests.interop.member import Member

WINDOW: Final = 64
BYTES: Final = 300
STEPS: Final = (1, 2, 4)
"""Whom each peer dials: the ones so many places on. Every peer has six neighbours."""


class Peers:
    """All peers, and what they were delivered."""

    def __init__(self, count: int, topic: str) -> None:
        params = GossipParams(flood_publish=False)
        self._members = [Member(index, topic, params, libp2p_host=False) for index in range(count)]
        for member in self._members:
            member.on_delivery = self._count
        self._delivered = 0

    def _count(self, data: bytes) -> None:
        self._delivered += 1

    async def start(self, nursery: trio.Nursery) -> None:
        for member in self._members:
            await nursery.start(member.run)
        for at, member in enumerate(self._members):
            for step in STEPS:
                await member.transport.connect(self._members[(at + step) % len(self._members)].address)

    def mesh_min(self) -> int:
        return min(len(member.mesh) for member in self._members)

    async def run(self, rate: float, seconds: float) -> dict[str, float]:
        """`rate` messages per second of all peers together; 0 for as many as they deliver, with `WINDOW` under way."""
        for member in self._members:
            member.delivered.clear()
        self._delivered, published, others = 0, 0, len(self._members) - 1
        cpu, start = time.process_time(), time.perf_counter()
        while time.perf_counter() - start < seconds:
            self._members[published % len(self._members)].publish(os.urandom(BYTES))
            published += 1
            if rate:
                await trio.sleep(max(0.0, start + published / rate - time.perf_counter()))
            while not rate and published * others - self._delivered > WINDOW * others:
                await trio.sleep(0.001)
                if time.perf_counter() - start > seconds:
                    break
        took, idle, last = time.perf_counter() - start, 0, -1
        while self._delivered < published * others and idle < 60:
            idle, last = (idle + 1, last) if last == self._delivered else (0, self._delivered)
            await trio.sleep(0.05)
        return {
            "published": published,
            "delivered": self._delivered,
            "lost": published * others - self._delivered,
            "cpu_us": (time.process_time() - cpu) * 1e6,
            "seconds": took,
        }


def check_us() -> float:
    """Processor time of one signature check of a message of that size, the median of rounds."""
    public, sign = noise.signer(bytes(32))
    message = encode_message(public, "bench", os.urandom(BYTES), 1, sign)
    rounds = []
    for _ in range(9):
        begin = time.process_time()
        for _ in range(500):
            assert verify(public, message.signed, message.signature)
        rounds.append((time.process_time() - begin) / 500 * 1e6)
    return statistics.median(rounds)


def say(event: dict[str, float]) -> None:
    print(json.dumps(event), flush=True)


async def main(count: int, topic: str) -> None:
    """Until standard input ends."""
    peers = Peers(count, topic)
    async with trio.open_nursery() as nursery:
        await peers.start(nursery)
        say({"ready": True})
        while line := await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
            command = json.loads(line)
            if command["command"] == "run":
                say(await peers.run(command["rate"], command["seconds"]))
            elif command["command"] == "check":
                say({"check_us": check_us()})
            else:
                say({"mesh_min": peers.mesh_min()})
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]), sys.argv[2])
