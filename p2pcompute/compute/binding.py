"""From a launch's arguments to the bytes that its kernel reads."""

from __future__ import annotations

from typing import Protocol

from p2pcompute.compute import ptx
from p2pcompute.errors import PtxError, UsageError
from p2pcompute.wire.manifest import Argument, Launch, Manifest
from p2pcompute.wire.texture import Texture


class Addresses(Protocol):
    """Where the buffers of a manifest lie, by their place in it; `ptx.Memory` is one."""

    def address(self, index: int) -> int: ...
    def texture(self, index: int, dtype: str, texture: Texture) -> int: ...


def parameter_blocks(manifest: Manifest, module: ptx.Module, memory: Addresses) -> list[bytes]:
    """The parameter block of every launch, whose entries exist. Raises UsageError, naming the launch, for arguments
    that do not fit."""
    blocks = []
    for number, launch in enumerate(manifest.launches):
        try:
            values = parameter_values(manifest, launch, memory)
            blocks.append(ptx.pack_parameters(module.entries[launch.entry], values))
        except (PtxError, UsageError) as error:
            raise UsageError(f"launch {number}: {error}") from error
    return blocks


def parameter_values(manifest: Manifest, launch: Launch, memory: Addresses) -> list[bytes]:
    """Each argument's little-endian bytes; `memory` holds the manifest's buffers in order. Raises UsageError for a
    texture that does not fit."""
    index = {buffer.name: number for number, buffer in enumerate(manifest.buffers)}

    def one(argument: Argument) -> bytes:
        if not argument.buffer:
            return argument.value
        number = index[argument.buffer]
        if argument.texture is None:
            return memory.address(number).to_bytes(8, "little")
        return memory.texture(number, manifest.buffers[number].dtype, argument.texture).to_bytes(8, "little")

    try:
        return [one(argument) for argument in launch.arguments]
    except KeyError as error:
        raise UsageError(f"an argument names an unknown buffer {error}") from error
