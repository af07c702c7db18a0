"""A provider and a requester in one process: what the one ran, the other inspects, with real engines and stores."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from p2pcompute.compute.cpu import CpuEngine
from p2pcompute.node.config import BLOB_BYTES_PER_S
from p2pcompute.node.engines import Engines
from p2pcompute.node.ports import SystemClock
from p2pcompute.node.sources import Source
from p2pcompute.node.workshop import Workshop
from p2pcompute.protocol.machine import Grant, Inspect, InspectOutcome, JobOutcome, JobStatus, Point, RunJob
from p2pcompute.storage.blobs import BlobStore
from p2pcompute.transport.mux import Stream
from p2pcompute.wire import limits, merkle
from p2pcompute.wire.manifest import Argument, Buffer, Launch, Manifest, Role, encode_manifest
from p2pcompute.wire.steps import launch_of, state_buffers, step_count
from tests.node.pipes import PEER, Pipe
from tests.node.tasks import compiled_ptx

ENGINE_BYTES = 256 * limits.MIB
DTYPES = {"float32": "f32", "int32": "i32", "uint32": "u32", "uint8": "u8", "float64": "f64"}
Change = Callable[[bytearray], None]
Place = tuple[int, str, int]
"""Step, buffer, byte."""


@dataclasses.dataclass
class Input:
    """A buffer of a task under test: an array where it starts from one."""

    role: Role
    array: np.ndarray | None = None
    dtype: str = "f32"
    count: int = 0


def scalar(value: int | float | bytes) -> Argument:
    """An i32, an f32 or the bytes of a struct."""
    if isinstance(value, bytes):
        return Argument(value=value)
    return Argument(value=(np.int32(value) if isinstance(value, int) else np.float32(value)).tobytes())


async def task(source: str, buffers: Mapping[str, Input], launches: Sequence[Launch]) -> tuple[Manifest, list[bytes]]:
    """A manifest of compiled kernels, and the blobs it names."""
    return task_of(await compiled_ptx(source), buffers, launches)


def task_of(ptx: bytes, buffers: Mapping[str, Input], launches: Sequence[Launch]) -> tuple[Manifest, list[bytes]]:
    """The same of canonical PTX."""
    blobs, made = [ptx], []
    for name, each in buffers.items():
        if each.array is None:
            made.append(Buffer(name, each.dtype, (each.count,), each.role))
            continue
        data = each.array.tobytes()
        blobs.append(data)
        kind = DTYPES[each.array.dtype.name]
        made.append(Buffer(name, kind, each.array.shape, each.role, merkle.blob_root(data)))
    manifest = Manifest(
        "test", "", (), merkle.blob_root(ptx), len(ptx), tuple(made), tuple(launches), 60_000, ENGINE_BYTES
    )
    return manifest, blobs


@dataclasses.dataclass
class Bench:
    """Two nodes. `states`: what the provider states after its run; a test may change it."""

    mine: BlobStore
    theirs: BlobStore
    requester: Workshop
    provider: Workshop
    manifest: Manifest
    pool: Engines
    """The requester's."""
    outcome: JobOutcome = dataclasses.field(default_factory=lambda: JobOutcome(JobStatus.CANCELLED))
    states: list[list[bytes]] = dataclasses.field(default_factory=list)
    leaves_max: int = 1_000_000
    opened: int = 0
    """Streams to the provider."""

    async def open_stream_to(self, peer: bytes, addresses: tuple[str, ...], protocol: str) -> Stream:
        self.opened += 1
        return Pipe(lambda pipe: self.provider.serve(PEER, pipe.end))  # type: ignore[arg-type,return-value]

    async def run(self) -> None:
        self.outcome = await self.provider.run(RunJob("job", encode_manifest(self.manifest), snapshots=True))
        assert (self.outcome.status, self.outcome.reason) == (JobStatus.OK, "")
        self.states = [list(state) for state in self.outcome.states]

    def place(self, name: str) -> int:
        return next(n for n, buffer in enumerate(self.manifest.buffers) if buffer.name == name)

    def root(self, step: int, name: str) -> bytes:
        return self.states[step][state_buffers(self.manifest).index(self.place(name))]

    def tamper(self, step: int, name: str, change: Change) -> None:
        """State other bytes for a buffer after a step, and keep them."""
        data = bytearray(self.theirs.read(self.root(step, name)))
        change(data)
        self.state(step, name, self.theirs.put(bytes(data), "lie")[0])

    def state(self, step: int, name: str, root: bytes) -> None:
        """State another root."""
        self.states[step][state_buffers(self.manifest).index(self.place(name))] = root

    def source(self) -> Source:
        """Where the requester has pieces from."""
        return Source(PEER, functools.partial(self.open_stream_to, PEER, (), ""))

    def effect(
        self, points: Sequence[Place], *, timeout_ms: int = 60_000, blocks: int = 100_000, leaves_max: int = 1 << 62
    ) -> Inspect:
        """Points by the name of their buffer; pieces of the states are granted."""
        roots = tuple(root for state in self.states for root in state)
        until_ms = SystemClock().now().wall_ms + 3_600_000
        self.provider.grant(Grant("inspect", PEER, roots, until_ms, self.leaves_max))
        chosen = tuple(Point(step, self.place(name), byte) for step, name, byte in points)
        states = tuple(tuple(state) for state in self.states)
        return Inspect("i", PEER, encode_manifest(self.manifest), states, chosen, blocks, timeout_ms, (), leaves_max)

    async def inspect(
        self, *points: Place, timeout_ms: int = 60_000, blocks: int = 100_000, leaves_max: int = 1 << 62
    ) -> InspectOutcome:
        """As the requester's node does it."""
        effect = self.effect(points, timeout_ms=timeout_ms, blocks=blocks, leaves_max=leaves_max)
        return await self.requester.inspect(effect, self)

    async def inspect_all(self, step: int, names: Sequence[str], stride: int) -> InspectOutcome:
        """Every `stride`-th byte of these buffers."""
        sizes = {name: self.manifest.buffers[self.place(name)].size_bytes for name in names}
        return await self.inspect(*((step, name, byte) for name in names for byte in range(0, sizes[name], stride)))

    def draw(self, rng: np.random.Generator, m: int, stored: Sequence[Sequence[int]]) -> list[Place]:
        """m points, evenly over the stored buffers of all steps."""
        pairs = [
            (step, number)
            for step in range(step_count(self.manifest))
            for number in stored[launch_of(self.manifest, step)]
        ]
        chosen = [pairs[i % len(pairs)] for i in range(m)]
        sizes = [buffer.size_bytes for buffer in self.manifest.buffers]
        return [(step, self.manifest.buffers[n].name, int(rng.integers(sizes[n]))) for step, n in chosen]


@contextlib.asynccontextmanager
async def open_bench(root: Path, made: tuple[Manifest, list[bytes]], *, threads: int = 1) -> AsyncIterator[Bench]:
    """The provider has run the task, and the requester has what it submitted."""
    manifest, blobs = made
    stores = []
    for name in ("mine", "theirs"):
        (root / name).mkdir()
        stores.append(BlobStore(root / name, merkle.blob_root))
        for blob in blobs:
            stores[-1].put(blob, "task")
    pools = [Engines([CpuEngine(threads=threads, memory_bytes_max=ENGINE_BYTES)]) for _ in stores]
    shops = [Workshop(store, pool, BLOB_BYTES_PER_S) for store, pool in zip(stores, pools, strict=True)]
    bench = Bench(*stores, *shops, manifest, pools[0])
    try:
        await bench.run()
        yield bench
    finally:
        for pool in pools:
            await pool.aclose()
