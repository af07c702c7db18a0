"""Churn: real nodes that are killed, stopped and started again, and must end as one mesh without having grown.

`python -m tests.soak --processes 20 --minutes 10` prints what was seen.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import trio

from p2pcompute.errors import P2PComputeError
from p2pcompute.protocol.core import NEIGHBOURS_MIN
from p2pcompute.transport import guest
from tests.soak.node import Footprint, Node
from tests.soak.plan import KINDS, Blow, plan
from tests.soak.record import Report, Sample, leaks

HEAL_S: Final = 120.0
SHOWN_S: Final = 2 * guest.SETTLED_S
"""Until py-libp2p is shown a connection, which has its tasks from then on only."""
SETTLE_S: Final = 60.0
SAMPLE_S: Final = 5.0
PROGRESS_S: Final = 30.0
WITNESSES: Final = 3
"""Nodes that are stopped at times but never ended: what they hold at the end is from the whole run."""
STARTS_AT_ONCE: Final = 4


@asynccontextmanager
async def nodes(directory: Path, count: int) -> AsyncIterator[list[Node]]:
    """Running nodes; the first one is every other one's bootstrap."""
    found = [Node(directory / str(index), f"node {index}") for index in range(count)]
    room = trio.CapacityLimiter(STARTS_AT_ONCE)

    async def join(node: Node) -> None:
        async with room:
            await node.begin("--bootstrap", found[0].address)

    try:
        await found[0].begin()
        async with trio.open_nursery() as nursery:
            for node in found[1:]:
                nursery.start_soon(join, node)
        yield found
    finally:
        for node in found:
            node.destroy()


class Churn:
    """One run: its nodes, what was done to them, and what was seen."""

    def __init__(self, all_nodes: list[Node], blows: list[Blow], say: Callable[[str], None]) -> None:
        self.nodes, self.blows, self._say = all_nodes, blows, say
        self.samples: list[Sample] = []
        self.done: Counter[str] = Counter(dict.fromkeys(KINDS, 0))
        self._begin = trio.current_time()

    @property
    def at_s(self) -> float:
        return trio.current_time() - self._begin

    async def run(self, seconds: float) -> None:
        """All blows, each node's one after the other; returns when every node is back."""
        async with trio.open_nursery() as watchers:
            watchers.start_soon(self._sample)
            watchers.start_soon(self._report, seconds)
            async with trio.open_nursery() as strikers:
                for index in range(len(self.nodes)):
                    strikers.start_soon(self._strike_all, index)
                await trio.sleep(seconds)
            watchers.cancel_scope.cancel()

    async def _strike_all(self, index: int) -> None:
        for blow in self.blows:
            if blow.node == index:
                await trio.sleep_until(self._begin + blow.at_s)
                await self._strike(self.nodes[index], blow)

    async def _strike(self, node: Node, blow: Blow) -> None:
        assert node.is_running, f"{node.name} went down by itself: {node.log.read_text()[-2_000:]}"
        node.busy = True
        if blow.kind == "stop":
            node.signal(signal.SIGSTOP)
            await trio.sleep(blow.pause_s)
            node.signal(signal.SIGCONT)
            node.busy = False
        else:
            await node.end(signal.SIGKILL if blow.kind == "kill" else signal.SIGTERM)
            await trio.sleep(blow.pause_s)
            await node.begin()
        self.done[blow.kind] += 1

    async def _sample(self) -> None:
        while True:
            for index, node in enumerate(self.nodes):
                if not node.busy and (seen := await _look(node)) is not None:
                    self.samples.append(Sample(self.at_s, index, seen))
            await trio.sleep(SAMPLE_S)

    async def _report(self, seconds: float) -> None:
        while True:
            await trio.sleep(PROGRESS_S)
            here = sum(not node.busy for node in self.nodes)
            last = {s.node: s.footprint for s in self.samples}
            memory = [one.memory_bytes >> 20 for one in last.values()] or [0]
            degree = [one.connections for one in last.values()] or [0]
            blows = " ".join(f"{kind} {count}" for kind, count in self.done.items())
            self._say(
                f"{self.at_s:4.0f} of {seconds:.0f} s   {blows}   {here} of {len(self.nodes)} here   "
                f"memory {min(memory)}-{max(memory)} MiB   connections {min(degree)}-{max(degree)}   "
                f"load {os.getloadavg()[0]:.1f}"
            )


async def _look(node: Node) -> Footprint | None:
    """None for one that is struck at this very moment."""
    try:
        with trio.fail_after(SAMPLE_S):
            return await node.footprint()
    except (P2PComputeError, trio.TooSlowError, AssertionError, OSError):
        return None


async def churn(
    directory: Path, *, processes: int, seconds: float, seed: int, say: Callable[[str], None] = print
) -> Report:
    """Raises AssertionError when the mesh does not become whole again, or a node goes down by itself."""
    witnesses = tuple(range(processes))[-WITNESSES:]
    blows = plan(seed, processes, len(witnesses), seconds)
    async with nodes(directory, processes) as all_nodes:
        say(f"{processes} processes up, whole after {await whole(all_nodes):.1f} s; {len(blows)} blows to come")
        wanted = min(processes - 1, NEIGHBOURS_MIN)
        before = {index: await _warm(all_nodes[index], wanted) for index in witnesses}
        run = Churn(all_nodes, blows, say)
        await run.run(seconds)
        healed_s = await whole(all_nodes)
        say(f"the last one was struck, and the mesh was whole after {healed_s:.1f} s")
        after = [await _settled(node, list(before.values())) for node in all_nodes]
        defects = [f"{node.name}: {line}" for node in all_nodes for line in node.defects()]
        return Report(seconds, dict(run.done), healed_s, before, after, run.samples, defects, witnesses)


async def whole(all_nodes: list[Node]) -> float:
    """Wait until all nodes are one connected mesh and every book holds every offer; how many seconds it took."""
    begin = trio.current_time()
    state = "nobody was asked"
    everybody = {node.peer for node in all_nodes}
    with trio.move_on_after(HEAL_S):
        while True:
            try:
                links = {node.peer: await node.neighbours() for node in all_nodes}
                books = {node.peer: await node.known_providers() for node in all_nodes}
            except (P2PComputeError, trio.TooSlowError) as error:  # still starting
                state = str(error)
            else:
                lacking = sum(len(everybody - book) for book in books.values())
                state = f"{len(reached(links))} of {len(all_nodes)} nodes reached, {lacking} offers lacking"
                if len(reached(links)) == len(all_nodes) and not lacking:
                    return trio.current_time() - begin
            await trio.sleep(0.2)
    raise AssertionError(f"no whole mesh after {HEAL_S:g} s: {state}")


def reached(links: dict[str, set[str]]) -> set[str]:
    """Who is connected with the first, over others."""
    found, edge = set[str](), {next(iter(links))}
    while edge:
        found |= edge
        edge = {peer for one in edge for peer in links[one] if peer in links} - found
    return found


async def _warm(node: Node, connections: int) -> Footprint:
    """The node's footprint when it has found as many neighbours as it seeks."""
    with trio.fail_after(HEAL_S):
        while (await node.footprint()).connections < connections:
            await trio.sleep(0.2)
    await trio.sleep(SHOWN_S)
    return await node.footprint()


async def _settled(node: Node, usual: list[Footprint]) -> Footprint:
    """The node's footprint when what the last blows left is gone."""
    after = await node.footprint()
    with trio.move_on_after(SETTLE_S):
        while leaks(usual, after):
            await trio.sleep(0.5)
            after = await node.footprint()
    return after
