"""Churn: real nodes that are killed, stopped and started again, and must end as one mesh without having grown.

`python -m tests.soak --processes 20 --minutes 10` prints what was seen.
"""

from __future__ import annotations

import dataclasses
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import trio

from p2pcompute.errors import P2PComputeError
from p2pcompute.node.control import RemoteNode
from p2pcompute.protocol.core import NEIGHBOURS_MIN
from p2pcompute.storage.home import Layout
from tests.cli.command import Provider, start
from tests.hostile.node import memory_bytes, sockets

EVENT_S: Final = 2.0
"""Mean time between two blows."""
DOWN_S_MAX: Final = 5.0
STOPPED_S_MEAN: Final = 8.0
STOPPED_S_MAX: Final = 40.0
"""Beyond what it takes to be given up by the others (IDLE_S + PONG_S)."""
HEAL_S: Final = 120.0
TASKS_PER_CONNECTION_MAX: Final = 12
SLACK: Final = 6


@dataclasses.dataclass(frozen=True)
class Footprint:
    """What one node holds."""

    memory_bytes: int
    sockets: int
    tasks: int
    connections: int

    @property
    def tasks_beside_connections(self) -> int:
        return self.tasks - TASKS_PER_CONNECTION_MAX * self.connections

    @property
    def sockets_beside_connections(self) -> int:
        return self.sockets - self.connections


@dataclasses.dataclass
class Report:
    """How it went: blows by kind, seconds until the mesh was whole again, and the witness before and after."""

    blows: dict[str, int]
    healed_s: float
    before: Footprint
    after: Footprint

    @property
    def grown_bytes(self) -> int:
        return self.after.memory_bytes - self.before.memory_bytes


class Node:
    """One home, and the process that lives in it at the moment."""

    def __init__(self, provider: Provider) -> None:
        self.home, self.process = provider.home, provider.process
        self.address = provider.address
        self.peer = str(provider.listening["peer"])
        self.busy = False
        """Down or stopped, and somebody sees to it."""

    async def status(self) -> dict[str, Any]:
        with trio.fail_after(30):
            return await RemoteNode(Layout(self.home).control_socket).status()

    async def neighbours(self) -> set[str]:
        rows = await RemoteNode(Layout(self.home).control_socket).table("peers")
        return {str(row["peer"]) for row in rows}

    async def footprint(self) -> Footprint:
        status = await self.status()
        return Footprint(
            memory_bytes=memory_bytes(self.process.pid),
            sockets=sockets(self.process.pid),
            tasks=status["tasks"],
            connections=status["inbound"] + status["outbound"],
        )

    async def end(self, number: int) -> None:
        self.process.send_signal(number)
        await trio.to_thread.run_sync(self.process.communicate)

    async def begin(self) -> None:
        """Start again on the same port, without a bootstrap: peers.txt must do."""
        listen = self.address.partition("/p2p/")[0]
        self.process = start(
            "serve", "--json", "--home", self.home, "--listen", listen, "--memory", "64MiB", "--threads", "1"
        )
        first = await trio.to_thread.run_sync(self._first_line)
        assert first, "a node did not start again"

    def _first_line(self) -> str:
        assert self.process.stdout is not None
        return str(self.process.stdout.readline())


@asynccontextmanager
async def nodes(directory: Path, count: int) -> AsyncIterator[list[Node]]:
    """Running nodes; the first one is every other one's bootstrap."""
    found: list[Node] = []
    try:
        for index in range(count):
            bootstrap = ("--bootstrap", found[0].address) if found else ()
            found.append(Node(Provider(directory / str(index), "--threads", "1", *bootstrap)))
        yield found
    finally:
        for node in found:
            if node.process.poll() is None:
                node.process.send_signal(signal.SIGCONT)
                node.process.kill()
            node.process.communicate()


async def churn(directory: Path, *, processes: int, seconds: float, seed: int) -> Report:
    """Raises AssertionError when the mesh does not become whole again. The last node is the witness: it is stopped at
    times, but never ended; the bootstrap of all is ended like any other."""
    rng, blows = random.Random(seed), {"kill": 0, "restart": 0, "stop": 0}
    async with nodes(directory, processes) as all_nodes:
        await _whole(all_nodes)
        witness = all_nodes[-1]
        before = await _warm(witness, min(processes - 1, NEIGHBOURS_MIN))
        async with trio.open_nursery() as nursery:
            with trio.move_on_after(seconds):
                while True:
                    await trio.sleep(rng.expovariate(1 / EVENT_S))
                    idle = [node for node in all_nodes if not node.busy]
                    if len(idle) <= processes // 2:
                        continue
                    node = rng.choice(idle)
                    kind = "stop" if node is witness else rng.choice(sorted(blows))
                    blows[kind] += 1
                    node.busy = True
                    stopped_s = min(STOPPED_S_MAX, rng.expovariate(1 / STOPPED_S_MEAN))
                    pause_s = stopped_s if kind == "stop" else rng.uniform(0, DOWN_S_MAX)
                    nursery.start_soon(_strike, node, kind, pause_s)
        healed_s = await _whole(all_nodes)
        after = await _settled(witness, before)
        for node in all_nodes:
            assert node.process.poll() is None
        return Report(blows, healed_s, before, after)


async def _strike(node: Node, kind: str, pause_s: float) -> None:
    if kind == "stop":
        node.process.send_signal(signal.SIGSTOP)
        await trio.sleep(pause_s)
        node.process.send_signal(signal.SIGCONT)
    else:
        await node.end(signal.SIGKILL if kind == "kill" else signal.SIGTERM)
        await trio.sleep(pause_s)
        await node.begin()
    node.busy = False


async def _whole(all_nodes: list[Node]) -> float:
    """Wait until all nodes are one connected mesh and every book holds every offer; how many seconds it took."""
    begin = trio.current_time()
    state = "nobody was asked"
    with trio.move_on_after(HEAL_S):
        while True:
            try:
                links = {node.peer: await node.neighbours() for node in all_nodes}
                books = [(await node.status())["offers"] for node in all_nodes]
            except (P2PComputeError, trio.TooSlowError) as error:  # still starting
                state = str(error)
            else:
                state = f"reached {len(_reached(links))} of {len(all_nodes)} nodes, books of {books}"
                if len(_reached(links)) == len(all_nodes) and all(size == len(all_nodes) for size in books):
                    return trio.current_time() - begin
            await trio.sleep(0.2)
    raise AssertionError(f"no whole mesh after {HEAL_S:g} s: {state}")


def _reached(links: dict[str, set[str]]) -> set[str]:
    """Who is connected with the first, over others."""
    reached, edge = set[str](), {next(iter(links))}
    while edge:
        reached |= edge
        edge = {peer for one in edge for peer in links[one] if peer in links} - reached
    return reached


async def _warm(node: Node, connections: int) -> Footprint:
    """The node's footprint when it has found as many neighbours as it seeks."""
    with trio.fail_after(HEAL_S):
        while (now := await node.footprint()).connections < connections:
            await trio.sleep(0.2)
    return now


async def _settled(node: Node, before: Footprint) -> Footprint:
    """The node's footprint when what the last blows left is gone."""
    after = await node.footprint()
    with trio.move_on_after(60):
        while leaks(before, after):
            await trio.sleep(0.5)
            after = await node.footprint()
    return after


def leaks(before: Footprint, after: Footprint) -> bool:
    """Whether tasks or sockets are left that no connection accounts for."""
    return (
        after.tasks_beside_connections > before.tasks_beside_connections + SLACK
        or after.sockets_beside_connections > before.sockets_beside_connections + SLACK
    )
