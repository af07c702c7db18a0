"""A task on this machine: on its own engine, as a provider would run it, or under the checker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from p2pcompute.client.arguments import Array
from p2pcompute.client.task import Task
from p2pcompute.compute.checker import check_apart
from p2pcompute.compute.engine import EngineResult
from p2pcompute.compute.preflight import Preflight
from p2pcompute.compute.ptx.interpret import Progress
from p2pcompute.errors import KernelError
from p2pcompute.protocol.machine import JobStatus
from p2pcompute.wire import merkle
from p2pcompute.wire.manifest import Manifest, decode_manifest


class _Engine(Protocol):
    async def run(
        self, manifest: Manifest, ptx_text: bytes, inputs: Mapping[str, bytes | memoryview]
    ) -> EngineResult: ...


async def run_here(task: Task, engine: _Engine) -> tuple[dict[str, Array], int]:
    """The task's outputs by name, and the device time in microseconds. Raises KernelError with the engine's reason."""
    manifest = decode_manifest(task.manifest)
    by_root = {merkle.blob_root(blob): blob for blob in task.blobs}
    inputs = {buffer.name: by_root[buffer.root] for buffer in manifest.inputs}
    result = await engine.run(manifest, bytes(by_root[manifest.ptx_root]), inputs)
    if result.status is not JobStatus.OK:
        raise KernelError(f"{manifest.name}: {result.reason}")
    outputs = {
        name: np.frombuffer(result.outputs[name], dtype).reshape(shape) for name, dtype, shape, _ in task.outputs
    }
    return outputs, result.device_us


async def check_here(task: Task, *, steps_max: int, progress: Progress | None = None, jail: bool = True) -> Preflight:
    """The task under the checker, in a process of its own: slow, and changes nothing. Raises UsageError, PtxError,
    SandboxError, KernelError.
    """
    manifest = decode_manifest(task.manifest)
    by_root = {merkle.blob_root(blob): blob for blob in task.blobs}
    inputs = {buffer.name: by_root[buffer.root] for buffer in manifest.inputs}
    text = bytes(by_root[manifest.ptx_root])
    return await check_apart(manifest, text, inputs, steps_max=steps_max, progress=progress, jail=jail)
