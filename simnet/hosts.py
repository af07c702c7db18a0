"""The libp2p driver: whole nodes (transport, DHT, py-libp2p's host, blob exchange, runtime) on simulated sockets.

Everything of a node but its disk's journal and its engine is what `p2pcompute serve` runs. Worlds are small, up to
NODES_MAX, and the clock is the world's. Keys of connections are fresh in every run, so two runs of a seed send other
ciphertext; what the machines are told is the same.
"""

from __future__ import annotations

import contextlib
import random
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import trio

from p2pcompute.compute.engine import EngineResult, OnStep
from p2pcompute.errors import UsageError
from p2pcompute.identity.names import peer_id
from p2pcompute.node import exchange
from p2pcompute.node.company import Company
from p2pcompute.node.config import BLOB_BYTES_PER_S
from p2pcompute.node.engines import Engines
from p2pcompute.node.peers_file import PeersFile
from p2pcompute.node.reachability import Evidence, Sightings, Verdicts, inbound_directly
from p2pcompute.node.relays import Relays
from p2pcompute.node.runtime import Runtime
from p2pcompute.node.sources import PROTOCOL
from p2pcompute.node.workshop import Workshop
from p2pcompute.protocol import kademlia
from p2pcompute.protocol.commands import Command
from p2pcompute.protocol.core import RPC_CHANNEL
from p2pcompute.protocol.gossip import CHANNEL, OLDER_CHANNELS
from p2pcompute.protocol.machine import JobOutcome, JobStatus, PeerInfo
from p2pcompute.storage.blobs import BlobStore
from p2pcompute.transport.libp2p import Libp2pTransport
from p2pcompute.transport.relay import RelayLimits
from p2pcompute.transport.routing import Routing
from p2pcompute.wire import limits, merkle
from p2pcompute.wire.manifest import Manifest, encode_manifest
from simnet.node import JOB
from simnet.site import output_bytes
from simnet.sockets import Internet, here
from simnet.virtual import DiskCommitter, Reply, SiteClock, VirtualNode, VirtualWorld
from simnet.wheel import Phase

NODES_MAX: Final = 30


class SimulatedEngine:
    """compute.engine.Engine: takes virtual time, gives what the node's character says."""

    quarantine = ""

    def __init__(self, node: HostNode) -> None:
        self._node = node

    async def run(
        self,
        manifest: Manifest,
        ptx_text: bytes,
        inputs: Mapping[str, bytes | memoryview],
        *,
        on_step: OnStep | None = None,
    ) -> EngineResult:
        if on_step is not None:
            return EngineResult(JobStatus.REFUSED, reason="simulated engines have no states to show")
        node, data = self._node, encode_manifest(manifest)
        took_ms, outcome = node.compute(data)
        node.runs += 1
        reply = Reply[JobOutcome]()
        key = node.index, JOB, 0, node.runs
        node.network.wheel.at(node.network.wheel.now_ms + took_ms, Phase.SETTLE, key, reply.give, outcome)
        said = await reply.wait()
        if said.status is not JobStatus.OK:
            return EngineResult(said.status, device_us=said.device_us, reason=said.reason)
        honest = output_bytes(data)
        outputs = {
            buffer.name: right if root == merkle.blob_root(right) else _forged(root, len(right))
            for buffer, right, (root, _) in zip(manifest.outputs, honest, said.outputs)
        }
        return EngineResult(JobStatus.OK, outputs, said.device_us)

    async def aclose(self) -> None:
        pass


def _forged(root: bytes, size: int) -> bytes:
    """Bytes for a result that is wrong: the same for all who state the same."""
    return (root * (size // len(root) + 1))[:size]


class HostNode(VirtualNode):
    """A peer with sockets."""

    folder: Path

    async def _live(self, commands: Sequence[Command], scope: trio.CancelScope) -> None:
        here.set(self)
        committer, clock = DiskCommitter(self), SiteClock(self)
        self.folder.mkdir(exist_ok=True)
        (self.folder / "blobs").mkdir(exist_ok=True)
        self.store_of_blobs = BlobStore(self.folder / "blobs", merkle.blob_root)
        for root, data in self.blobs.items():
            if data is not None:
                self.store_of_blobs.put(data, "task")
                self.store_of_blobs.pin(root, "task")
        pool = Engines([SimulatedEngine(self) for _ in range(self.terms.slots if self.terms is not None else 1)])
        work = Workshop(self.store_of_blobs, pool, BLOB_BYTES_PER_S, clock)
        runtime = self._runtime = Runtime(committer, work, clock)
        runtime.listen(self.emit)
        transport = self._transport(runtime)
        self.core = core = self.make_core()
        routing = Routing(transport, core.topics, random.Random(f"{self.seed}/routing/{self.name}"))
        runtime.attach(core, transport, routing)
        journal = self.disk.mount(committer.durable)

        def ready() -> None:
            for command in commands:
                runtime.command(command)

        with scope:
            async with trio.open_nursery() as nursery:
                await nursery.start(transport.run)
                nursery.start_soon(lambda: runtime.run(journal, ready=ready))
                await trio.lowlevel.checkpoint()
                self._keep_company(nursery, transport, routing)

    def _transport(self, runtime: Runtime) -> Libp2pTransport:
        return Libp2pTransport(
            self.key.seed,
            listen=(self.address,),
            events=runtime,
            channels={CHANNEL: limits.GOSSIP_RPC_BYTES_MAX},
            requests={RPC_CHANNEL: limits.RPC_FRAME_BYTES_MAX},
            streams=(PROTOCOL, kademlia.PROTOCOL),
            older={CHANNEL: OLDER_CHANNELS},
            usefulness=lambda peers: runtime.core.usefulness(peers),
            relay=RelayLimits(),
            told=runtime.on_addresses,
        )

    def _keep_company(self, nursery: trio.Nursery, transport: Libp2pTransport, routing: Routing) -> None:
        """As node.peer does."""
        core, sightings, verdicts = self._runtime.core, Sightings(), Verdicts()
        known = [self.network.nodes[peer] for peer in self.bootstrap]
        bootstrap = [f"{one.address}/p2p/{peer_id(one.peer)}" for one in known]
        company = Company(
            transport,
            core,
            bootstrap,
            PeersFile(self.folder / "peers"),
            sightings,
            random.Random(f"{self.seed}/company/{self.name}"),
            routing,
        )

        def evidence() -> Evidence:
            reached, missed = verdicts.counts(trio.current_time())
            return Evidence(
                addresses=transport.addresses(),
                observed=sightings.hosts(),
                inbound=inbound_directly(core.peers),
                reached=reached,
                missed=missed,
                relays=len(transport.places()),
                announced=False,
            )

        relays = Relays(transport, core.peers, (), evidence, verdicts, routing.moved)
        for task in (company.run, relays.run, routing.run):
            nursery.start_soon(task)

    def store(self, manifest: bytes, ptx: bytes) -> None:
        super().store(manifest, ptx)
        for blob in (manifest, ptx):
            root, _ = self.store_of_blobs.put(blob, "task")
            self.store_of_blobs.pin(root, "task")

    def on_peer(self, info: PeerInfo) -> None:
        raise AssertionError("connections are the transport's")


class HostWorld(VirtualWorld):
    """A world of whole nodes."""

    node_class = HostNode

    def run(self) -> int:
        if len(self.nodes) > NODES_MAX:
            raise UsageError(f"the libp2p driver takes at most {NODES_MAX} nodes, not {len(self.nodes)}")
        import p2pcompute.transport.host  # noqa: F401 # nodes import it in a thread, and there are none here

        with tempfile.TemporaryDirectory(prefix="simnet-") as folder, _no_threads():
            random.seed(self.seed)  # who must go, among equals (transport.trimming)
            for node in self.nodes:
                assert isinstance(node, HostNode)
                node.folder = Path(folder) / node.name
            return super().run()

    def prepare(self, nursery: trio.Nursery) -> None:
        internet = Internet(
            nursery, lambda a, b: b.dialable and self.network.passes(a, b) and self.network.passes(b, a)
        )
        trio.socket.set_custom_socket_factory(internet)


@contextlib.contextmanager
def _no_threads() -> Iterator[None]:
    """While time stands still nothing can wait for a thread: what would run in one runs at once."""

    async def at_once(sync_fn: Callable[..., Any], *args: Any, **options: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return sync_fn(*args)

    before = trio.to_thread.run_sync, exchange._off_loop
    trio.to_thread.run_sync = exchange._off_loop = at_once
    try:
        yield
    finally:
        trio.to_thread.run_sync, exchange._off_loop = before
