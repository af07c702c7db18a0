"""The engines of one node: a pool, one job at a time each."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence

import trio

from p2pcompute.compute.engine import Engine
from p2pcompute.errors import LocalError, P2PComputeError
from p2pcompute.protocol.machine import JobOutcome, JobStatus
from p2pcompute.storage.blobs import BlobStore
from p2pcompute.wire.manifest import Manifest, decode_manifest
from p2pcompute.wire.steps import state_buffers


class Engines:
    """Lends a free engine to each run; runs beyond their number wait their turn. An engine in quarantine is only lent
    when all are."""

    def __init__(self, engines: Sequence[Engine]) -> None:
        self._all = tuple(engines)
        self._free = list(engines)
        self._waiting = trio.lowlevel.ParkingLot()

    async def aclose(self) -> None:
        """Kill every worker."""
        for engine in self._all:
            await engine.aclose()

    async def run(self, token: str, manifest_bytes: bytes, blobs: BlobStore, *, snapshots: bool = False) -> JobOutcome:
        """Run a manifest whose blobs are in the store; its outputs, and with `snapshots` every state, go into the
        store, pinned under `token`.

        Never raises for what a task or this machine's limits could cause.
        """
        try:
            manifest = decode_manifest(manifest_bytes)
            async with self.lend() as engine:
                return await self._run_on(engine, manifest, _Keeper(blobs, token, manifest, snapshots=snapshots))
        except P2PComputeError as error:
            return JobOutcome(JobStatus.CRASHED, reason=str(error))

    @contextlib.asynccontextmanager
    async def lend(self) -> AsyncIterator[Engine]:
        """An engine for as long as the block runs, when one is free. Raises LocalError when there is none at all."""
        if not self._all:
            raise LocalError("this node has no engine")
        engine = await self._taken()
        try:
            yield engine
        finally:
            self._free.append(engine)
            self._waiting.unpark()

    async def _taken(self) -> Engine:
        """A free engine; waits for one whose device can be used, if there is any."""
        await trio.lowlevel.checkpoint()
        while True:
            is_any = any(not engine.quarantine for engine in self._all)
            fit = [engine for engine in self._free if not (is_any and engine.quarantine)]
            if fit:
                self._free.remove(fit[-1])
                return fit[-1]
            await self._waiting.park()

    @staticmethod
    async def _run_on(engine: Engine, manifest: Manifest, keeper: _Keeper) -> JobOutcome:
        ptx_text = keeper.blobs.read(manifest.ptx_root)
        inputs = {b.name: keeper.blobs.mapped(b.root) for b in manifest.inputs}
        try:
            result = await engine.run(manifest, ptx_text, inputs, on_step=keeper.keep if keeper.snapshots else None)
            if result.status is JobStatus.OK and not keeper.snapshots:
                await keeper.keep(result.outputs)
        except BaseException:
            keeper.forget()
            raise
        if result.status is not JobStatus.OK:
            keeper.forget()
            return JobOutcome(result.status, device_us=result.device_us, reason=result.reason)
        return JobOutcome(JobStatus.OK, keeper.outputs(), result.device_us, states=keeper.states())


class _Keeper:
    """Puts what a run leaves into the store: its outputs, or every state, of which the last holds the outputs."""

    def __init__(self, blobs: BlobStore, token: str, manifest: Manifest, *, snapshots: bool) -> None:
        self.blobs, self.snapshots = blobs, snapshots
        self._token, self._manifest = token, manifest
        self._kept: list[dict[str, tuple[bytes, int]]] = []

    async def keep(self, buffers: Mapping[str, bytes]) -> None:
        """Buffers that are alike are one blob."""
        self._kept.append(
            {name: await trio.to_thread.run_sync(self.blobs.put, data, self._token) for name, data in buffers.items()}
        )

    def forget(self) -> None:
        """The run came to nothing."""
        self.blobs.unpin(self._token)

    def outputs(self) -> tuple[tuple[bytes, int], ...]:
        """Root and size of each, in the manifest's order."""
        return tuple(self._kept[-1][buffer.name] for buffer in self._manifest.outputs)

    def states(self) -> tuple[tuple[bytes, ...], ...]:
        """Of each step the roots of its state; none without snapshots."""
        names = [self._manifest.buffers[number].name for number in state_buffers(self._manifest)]
        return tuple(tuple(kept[name][0] for name in names) for kept in self._kept) if self.snapshots else ()
