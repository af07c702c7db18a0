"""From a launch's arguments to the bytes that its kernel reads."""

from __future__ import annotations

from p2pcompute.compute import ptx
from p2pcompute.errors import UsageError
from p2pcompute.wire.manifest import Argument, Launch, Manifest


def parameter_values(manifest: Manifest, launch: Launch, memory: ptx.Memory) -> list[bytes]:
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
