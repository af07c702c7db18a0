"""The engines of one node: a pool, one job at a time each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import trio

from p2pcompute.compute.engine import EngineResult
from p2pcompute.errors import P2PComputeError
from p2pcompute.protocol.machine import JobOutcome, JobStatus
from p2pcompute.storage.blobs import BlobStore
from p2pcompute.wire.manifest import Manifest, decode_manifest


class Engine(Protocol):
    """What runs one manifest at a time; compute.cpu.CpuEngine is one."""

    async def run(
        self, manifest: Manifest, ptx_text: bytes, inputs: Mapping[str, bytes | memoryview]
    ) -> EngineResult: ...
    async def aclose(self) -> None: ...


class Engines:
    """Lends a free engine to each run; runs beyond their number wait their turn."""

    def __init__(self, engines: Sequence[Engine]) -> None:
        self._all = tuple(engines)
        self._free = list(engines)
        self._room = trio.CapacityLimiter(max(1, len(engines)))

    async def aclose(self) -> None:
        """Kill every worker."""
        for engine in self._all:
            await engine.aclose()

    async def run(self, token: str, manifest_bytes: bytes, blobs: BlobStore) -> JobOutcome:
        """Run a manifest whose blobs are in the store; its outputs go into the store, pinned under `token`.

        Never raises for what a task or this machine's limits could cause.
        """
        async with self._room:
            engine = self._free.pop()
            try:
                return await self._run_on(engine, token, decode_manifest(manifest_bytes), blobs)
            except P2PComputeError as error:
                return JobOutcome(JobStatus.CRASHED, reason=str(error))
            finally:
                self._free.append(engine)

    @staticmethod
    async def _run_on(engine: Engine, token: str, manifest: Manifest, blobs: BlobStore) -> JobOutcome:
        ptx_text = blobs.read(manifest.ptx_root)
        inputs = {b.name: blobs.mapped(b.root) for b in manifest.inputs}
        result = await engine.run(manifest, ptx_text, inputs)
        if result.status is not JobStatus.OK:
            return JobOutcome(result.status, device_us=result.device_us, reason=result.reason)
        outputs = [
            await trio.to_thread.run_sync(blobs.put, result.outputs[buffer.name], token) for buffer in manifest.outputs
        ]
        return JobOutcome(JobStatus.OK, tuple(outputs), result.device_us)
