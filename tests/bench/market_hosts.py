"""The market among real peers in one process: libp2p hosts on loopback, real signatures, journals on the disk.

Engines are the only thing that is not real: a run waits, and gives zeros.
"""

from __future__ import annotations

import contextlib
import gc
import json
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from p2pcompute.compute.engine import EngineResult, OnStep
from p2pcompute.errors import RemoteError
from p2pcompute.protocol.commands import Submit
from p2pcompute.protocol.machine import Emit, JobStatus
from p2pcompute.wire import merkle
from p2pcompute.wire.manifest import Argument, Buffer, Launch, Manifest, Role, encode_manifest
from p2pcompute.wire.policy import Policy

if TYPE_CHECKING:
    from p2pcompute.node.peer import Peer

CHORDS: Final = (1, 7, 31)
"""Each peer dials those this far ahead: six connections, as in a mesh."""
LOOPBACK: Final = "/ip4/127.0.0.1/tcp/0"
NETWORK: Final = "bench"
CONNECT_S: Final = 60.0
CONNECT_ATTEMPTS: Final = 8
LEVEL_S: Final = 240.0
"""Until every book holds every offer, on a busy machine."""
SETTLE_S: Final = 240.0
LOOK_S: Final = 2.0
QUIET_SHARE: Final = 0.3
"""Of one processor, with all who joined looking for nobody any more."""
QUIET_LOOKS: Final = 3
BUYERS: Final = 10
REPLICAS: Final = 2
RUN_S: Final = (10.0, 30.0)
LOAD: Final = 0.6
PATIENCE_S: Final = 5.0
PTX: Final = b"//"


class Waiting:
    """compute.engine.Engine: takes the time that the task's name says."""

    quarantine = ""

    async def run(
        self,
        manifest: Manifest,
        ptx_text: bytes,
        inputs: Mapping[str, bytes | memoryview],
        *,
        on_step: OnStep | None = None,
    ) -> EngineResult:
        run_s = float(manifest.name)
        await trio.sleep(run_s)
        outputs = {buffer.name: bytes(buffer.size_bytes) for buffer in manifest.outputs}
        if on_step:
            await on_step(outputs)
        return EngineResult(JobStatus.OK, {} if on_step else outputs, int(run_s * 1e6))

    async def aclose(self) -> None:
        pass


@contextlib.asynccontextmanager
async def open_host(root: Path) -> AsyncIterator[Peer]:
    """A whole node with an engine that waits."""
    from p2pcompute.node import factory
    from p2pcompute.node.config import load_config, with_changes
    from p2pcompute.node.keyring import load_keyring
    from p2pcompute.node.peer import open_peer
    from p2pcompute.storage.home import Home
    from p2pcompute.storage.keystore import Keystore

    factory.create_home(root, "", "", NETWORK)
    changes = {"network": NETWORK, "listen": (LOOPBACK,), "slots": 1, "credit": 10**12}
    with Home.open(root) as home:
        config = with_changes(load_config(home.layout.config), changes)
        keyring = load_keyring(
            home.layout, lambda: "", network=NETWORK, wall_ms=factory.wall_ms(), store=Keystore(home.layout.keys)
        )
        async with open_peer(home, keyring, config, [Waiting()]) as peer:
            yield peer


def _task(run_s: float) -> bytes:
    return encode_manifest(
        Manifest(
            name=f"{run_s:.3f}",
            toolchain="bench",
            sources=(),
            ptx_root=merkle.blob_root(PTX),
            ptx_size_bytes=len(PTX),
            buffers=(Buffer("out", "f32", (256,), Role.OUT),),
            launches=(Launch("k", (1, 1, 1), (32, 1, 1), (Argument("out"),)),),
            device_ms_max=int(RUN_S[1] * 1_000),
            memory_bytes_max=2**20,
        )
    )


class _Buying:
    """Tasks on their way, and how long each of those that count took to get all its replicas."""

    def __init__(self, counts_from_s: float) -> None:
        self.took_s: list[float] = []
        self.counted = 0
        self._counts_from_s = counts_from_s
        self._begun: dict[bytes, float] = {}
        self._assigned: dict[bytes, int] = {}

    async def buy(self, peer: Peer, job: bytes, manifest: bytes) -> None:
        from p2pcompute.node.api import LocalNode

        self._begun[job], self._assigned[job] = trio.current_time(), 0
        self.counted += self._begun[job] >= self._counts_from_s
        await LocalNode(peer).submit(
            Submit(job, manifest, Policy(replicas=REPLICAS, quorum=REPLICAS), budget=10**15, timeout_ms=600_000)
        )

    def note(self, event: Emit) -> None:
        if event.name == "job.assigned":
            job = event.fields["job"]
            assert isinstance(job, bytes)
            self._assigned[job] += 1
            took_s = trio.current_time() - self._begun[job]
            if self._assigned[job] == REPLICAS and self._begun[job] >= self._counts_from_s and took_s <= PATIENCE_S:
                self.took_s.append(took_s)


async def _connect(peer: Peer, address: str) -> None:
    """A hundred nodes on two processors may keep one waiting longer than a handshake may take."""
    for attempt in range(CONNECT_ATTEMPTS):
        try:
            await peer.transport.connect(address, timeout_s=CONNECT_S)
            return
        except RemoteError:
            if attempt + 1 == CONNECT_ATTEMPTS:
                raise
            await trio.sleep(attempt)


async def _settle() -> None:
    """Nodes that join look for neighbours, which with a hundred in one process takes all of a processor for a while."""
    quiet, deadline = 0, trio.current_time() + SETTLE_S
    while quiet < QUIET_LOOKS and trio.current_time() < deadline:
        spent, begin = time.process_time(), trio.current_time()
        await trio.sleep(LOOK_S)
        quiet = quiet + 1 if time.process_time() - spent < QUIET_SHARE * (trio.current_time() - begin) else 0


async def _run(count: int, seconds: float, directory: Path) -> dict[str, float]:
    """Boot, level, then buy for so long, of which the first third does not count."""
    from p2pcompute.node.api import LocalNode

    rng = random.Random(1)
    async with contextlib.AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(open_host(directory / str(index))) for index in range(count)]
        for index, peer in enumerate(peers):
            for chord in CHORDS:
                await _connect(peer, peers[(index + chord) % count].addresses()[0])
        for peer in peers:
            peer.offer("cpu", "exact", isolation="none", mflops=1, copy_mb_s=1)
        with trio.fail_after(LEVEL_S):
            while any(len(peer.core.book) < count for peer in peers):
                await trio.sleep(0.1)
        await _settle()
        gc.collect()
        gc.freeze()  # or all would stand still for a second whenever what a hundred nodes hold is looked through
        buyers = peers[: min(BUYERS, count)]
        for buyer in buyers:
            await LocalNode(buyer).put(PTX)
        mean_s = sum(RUN_S) / 2 * REPLICAS / (LOAD * count)
        begin_s = trio.current_time()
        buying = _Buying(begin_s + seconds / 3)
        for buyer in buyers:
            buyer.runtime.listen(buying.note)
        while trio.current_time() < begin_s + seconds:
            await buying.buy(rng.choice(buyers), rng.randbytes(16), _task(rng.uniform(*RUN_S)))
            await trio.sleep(rng.expovariate(1 / mean_s))
        await trio.sleep(PATIENCE_S)
        took = sorted(buying.took_s)
        return {
            "real_match_p99_ms": 1_000 * took[int(0.99 * len(took))] if took else PATIENCE_S * 1_000,
            "real_match_p50_ms": 1_000 * took[len(took) // 2] if took else PATIENCE_S * 1_000,
            "real_unmatched": 1 - len(took) / max(1, buying.counted),
            "real_tasks": float(buying.counted),
        }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(trio.run(_run, int(sys.argv[1]), float(sys.argv[2]), Path(folder))))
