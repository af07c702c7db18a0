"""Modules and launches: PTX on the CPU engine, with device addresses in the arguments turned into the engine's."""

from __future__ import annotations

import struct

import numpy as np

from p2pcompute.compute import ptx
from p2pcompute.compute.ptx import layout
from p2pcompute.compute.ptx.launch import canonical_form
from p2pcompute.compute.ptx.memory import aligned_zeros
from p2pcompute.errors import P2PComputeError
from pycuda import _errors
from pycuda._device import BASE, DEVICE, DeviceFault, Region
from pycuda._switches import SWITCHES

_SEGMENTS = {"global": layout.GLOBAL_SEGMENT, "const": layout.CONST_SEGMENT}
_WORD = struct.Struct("<Q")
_CODES = {
    ptx.TrapKind.OUT_OF_BOUNDS: _errors.ILLEGAL_ADDRESS,
    ptx.TrapKind.MISALIGNED: _errors.MISALIGNED_ADDRESS,
    ptx.TrapKind.ASSERTION: _errors.ASSERT,
}
"""Every other trap is an unspecified launch failure."""
_WARM = ".version 8.4\n.target sm_75\n.address_size 64\n.visible .entry warm()\n{\nret;\n}\n"


class Image:
    """A loaded module: the parsed PTX and its variables, which stay as long as it is loaded."""

    def __init__(self, text: str) -> None:
        """Raises PtxError."""
        self.module = ptx.parse(text)
        self.digest = canonical_form(self.module)[1]
        self.spaces: dict[str, Region] = {}
        for space in ("global", "const"):
            initial = self.module.space_image(space)
            if initial:
                data = aligned_zeros(len(initial))
                data[:] = np.frombuffer(initial, np.uint8)
                self.spaces[space] = DEVICE.add(data, space)
        self._kernels: dict[tuple[str, tuple[int, int, int]], ptx.CompiledKernel] = {}

    def kernel(self, entry: str, block: tuple[int, int, int]) -> ptx.CompiledKernel:
        if (entry, block) not in self._kernels:
            self._kernels[entry, block] = ptx.compile_entry(self.module, entry, block)
        return self._kernels[entry, block]

    def unload(self) -> None:
        for region in self.spaces.values():
            DEVICE.remove(region)
        self.spaces.clear()


class _Memories:
    """The engine's view of device memory, made anew when allocations change. Variables are no buffers there."""

    def __init__(self) -> None:
        self._generation = -1
        self._numbers: dict[int, int] = {}
        self._memory = ptx.Memory([])

    def current(self) -> ptx.Memory:
        if self._generation != DEVICE.generation:
            regions = [region for region in DEVICE.regions() if not region.space]
            self._memory = ptx.Memory([region.data for region in regions])
            self._numbers = {region.address: number for number, region in enumerate(regions)}
            self._generation = DEVICE.generation
        return self._memory

    def translated(self, word: int, image: Image) -> int:
        """The engine's address for the device's; any other word as it is."""
        region = DEVICE.region_at(word) if word >= BASE else None
        if region is None:
            return word
        if not region.space:
            base = self._memory.address(self._numbers[region.address])
        elif image.spaces.get(region.space) is region:
            base = _SEGMENTS[region.space] << layout.OFFSET_BITS
        else:
            return word
        return base + word - region.address


_MEMORIES = _Memories()


def _warm() -> None:
    """Load what the CPU engine loads at first use: a worker is in its jail before it makes a context."""
    module = ptx.parse(_WARM)
    ptx.compile_entry(module, "warm", (1, 1, 1)).launch(
        ptx.Memory([]), ptx.pack_parameters(module.entries["warm"], []), (1, 1, 1), threads=1, abort=ptx.Abort()
    )


def pointers(entry: ptx.Entry) -> list[int]:
    """Offsets in the parameter block where an address may stand: 64-bit parameters, and words of structs."""
    found = []
    for parameter in entry.parameters:
        first = parameter.offset_bytes
        if parameter.type_name in ("u64", "s64", "b64") or parameter.type_name == "b8":
            found += range(-(-first // 8) * 8, first + parameter.size_bytes - 7, 8)
    return found


def run(
    image: Image,
    entry: str,
    grid: tuple[int, int, int],
    block: tuple[int, int, int],
    parameters: bytes,
    shared_bytes: int,
) -> None:
    """On the device's thread. Raises DeviceFault."""
    DEVICE.launches += 1
    if SWITCHES.context_lost_after and DEVICE.launches > SWITCHES.context_lost_after:
        raise DeviceFault(214)
    memory = _MEMORIES.current()
    block_bytes = bytearray(parameters)
    for offset in pointers(image.module.entries[entry]):
        _WORD.pack_into(block_bytes, offset, _MEMORIES.translated(_WORD.unpack_from(block_bytes, offset)[0], image))
    kernel = image.kernel(entry, block)
    for space, region in image.spaces.items():
        memory.image(image.module, image.digest, space)[:] = region.data
    try:
        result = kernel.launch(
            memory, bytes(block_bytes), grid, shared_bytes, threads=SWITCHES.threads, abort=ptx.Abort()
        )
    except P2PComputeError as error:
        raise AssertionError(f"the CPU engine refuses what the fake let through: {error}") from error
    for space, region in image.spaces.items():
        region.data[:] = memory.image(image.module, image.digest, space)
    DEVICE.printed += result.log
    if result.trap is not None:
        raise DeviceFault(_CODES.get(result.trap.kind, _errors.LAUNCH_FAILED))


_warm()
