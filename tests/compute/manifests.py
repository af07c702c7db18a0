"""Manifests for tests: a few lines instead of a page."""

from __future__ import annotations

import kernels_cu
from p2pcompute.wire import limits
from p2pcompute.wire.manifest import Argument, Buffer, Launch, Manifest, Role

ROLES = {"in": Role.IN, "out": Role.OUT, "inout": Role.INOUT}


def buffer(name: str, dtype: str, count: int, role: Role) -> Buffer:
    root = bytes(32) if role in (Role.IN, Role.INOUT) else b""
    return Buffer(name, dtype, (count,), role, root)


def launch(entry: str, *arguments: str | int, threads: int = 1, blocks: int = 1, repeats: int = 1) -> Launch:
    """Arguments are names of buffers or values of i32 scalars."""
    packed = tuple(
        Argument(buffer=a) if isinstance(a, str) else Argument(value=a.to_bytes(4, "little", signed=True))
        for a in arguments
    )
    return Launch(entry, (blocks, 1, 1), (threads, 1, 1), packed, repeats=repeats)


def manifest(
    ptx: bytes, buffers: list[Buffer], launches: list[Launch], *, device_ms_max: int = 60_000, memory: int = limits.MIB
) -> Manifest:
    return Manifest(
        name="test",
        toolchain="test",
        sources=(),
        ptx_root=bytes(32),
        ptx_size_bytes=len(ptx),
        buffers=tuple(buffers),
        launches=tuple(launches),
        device_ms_max=device_ms_max,
        memory_bytes_max=memory,
    )


def of_library(spec: kernels_cu.KernelSpec, work: kernels_cu.Work, ptx: bytes) -> Manifest:
    """The manifest that runs one work of the kernel library."""
    buffers, arguments = [], []
    for parameter in spec.parameters:
        if parameter.role == "scalar":
            arguments.append(Argument(value=work.scalars[parameter.name].tobytes()))
            continue
        arguments.append(Argument(buffer=parameter.name))
        array = work.inputs.get(parameter.name)
        shape = array.shape if array is not None else work.outputs[parameter.name][1]
        role = ROLES[parameter.role]
        root = bytes(32) if array is not None else b""
        buffers.append(Buffer(parameter.name, parameter.dtype, shape, role, root))
    only = Launch(spec.entry, work.grid, work.block, tuple(arguments), work.shared_bytes)
    return manifest(ptx, buffers, [only], memory=64 * limits.MIB)
