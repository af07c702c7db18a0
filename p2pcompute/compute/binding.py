"""From a launch's arguments to the bytes that its kernel reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from p2pcompute.compute import ptx
from p2pcompute.compute.ptx.launch import canonical_form
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


def constants(manifest: Manifest, module: ptx.Module) -> Iterator[tuple[str, int, int]]:
    """Variable, place of the buffer it holds, and how many bytes. Raises UsageError for one that the PTX does not have
    or that is smaller than its buffer."""
    index = {buffer.name: number for number, buffer in enumerate(manifest.buffers)}
    for name, buffer in manifest.constants:
        variable = module.variables.get(name)
        if variable is None or variable.space not in ("global", "const"):
            raise UsageError(f"the PTX has no variable {name[:64]!r}")
        size_bytes = manifest.buffers[index[buffer]].size_bytes
        if size_bytes > variable.size_bytes:
            raise UsageError(f"variable {name[:64]} has {variable.size_bytes} bytes, buffer {buffer} {size_bytes}")
        yield name, index[buffer], size_bytes


def set_constants(manifest: Manifest, module: ptx.Module, memory: ptx.Memory) -> None:
    """Before the first launch. `memory` holds the manifest's buffers in order.
    Raises as `constants` does."""
    _, digest = canonical_form(module)
    for name, number, size_bytes in constants(manifest, module):
        memory.variable(module, digest, name)[:size_bytes] = memory.array(number)[:size_bytes]


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
