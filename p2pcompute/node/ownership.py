"""Which block of a launch writes which byte, and whether its blocks may be recomputed alone: asked of the engine once.

What is known of a launch is kept by what it follows from: the PTX, the launch, and the sizes of the task's buffers.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from p2pcompute.compute.blocks import Asked, judge, map_writers
from p2pcompute.errors import KernelError
from p2pcompute.protocol.machine import JobStatus
from p2pcompute.wire import limits
from p2pcompute.wire.manifest import Manifest

MAPS_BYTES_MAX: Final = 256 * limits.MIB
"""Of all writer maps that are kept: one word for each granule of a stored buffer, as much as the buffer itself for
granules of four bytes. A larger map is made anew for each inspection."""
LAUNCHES_MAX: Final = 1_024


@dataclass(frozen=True, slots=True)
class Ownership:
    """`fault`: why no block of the launch can be recomputed alone, as a sentence; empty when each can. `words`: buffer
    -> block number plus one for each of its granules, 0 for none.
    """

    fault: str
    words: Mapping[str, NDArray[np.uint32]] = field(default_factory=dict)
    granules: Mapping[str, int] = field(default_factory=dict)

    def writer(self, buffer: str, byte: int) -> int | None:
        """The block that writes a byte; None for no block."""
        if buffer not in self.words:
            return None
        word = int(self.words[buffer][byte // self.granules[buffer]])
        return word - 1 if word else None

    @property
    def size_bytes(self) -> int:
        return sum(words.nbytes for words in self.words.values())


class Ownerships:
    """Those of the launches that were asked for last."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, Ownership] = OrderedDict()
        self._bytes = 0

    async def of(self, engine: Asked, manifest: Manifest, ptx_text: bytes, launch: int) -> Ownership:
        """Raises KernelError when the engine cannot say."""
        key = _key(manifest, launch)
        known = self._known.get(key)
        if known is not None:
            self._known.move_to_end(key)
            return known
        found = await _found(engine, manifest, ptx_text, launch)
        self._keep(key, found)
        return found

    def _keep(self, key: bytes, found: Ownership) -> None:
        if found.size_bytes > MAPS_BYTES_MAX or key in self._known:
            return
        self._known[key] = found
        self._bytes += found.size_bytes
        while self._bytes > MAPS_BYTES_MAX or len(self._known) > LAUNCHES_MAX:
            self._bytes -= self._known.popitem(last=False)[1].size_bytes


def _key(manifest: Manifest, launch: int) -> bytes:
    sizes = [(buffer.name, buffer.size_bytes) for buffer in manifest.buffers]
    return blake3(msgspec.msgpack.encode([manifest.ptx_root, manifest.launches[launch], sizes])).digest()


async def _found(engine: Asked, manifest: Manifest, ptx_text: bytes, launch: int) -> Ownership:
    judged = await judge(engine, manifest, ptx_text, launch=launch)
    said = judged.eligibility
    if said is None:
        raise KernelError(f"launch {launch} cannot be judged: {judged.result.reason}")
    if said.fault:
        return Ownership(f"launch {launch}: {said.fault}")
    mapped = await map_writers(engine, manifest, ptx_text, launch=launch, stored=said.stored, is_proven=said.is_proven)
    if mapped.result.status is JobStatus.TRAP:
        return Ownership(f"launch {launch}: the map of its writers stopped: {mapped.result.reason}")
    if mapped.result.status is not JobStatus.OK:
        raise KernelError(f"the writers of launch {launch} cannot be mapped: {mapped.result.reason}")
    if mapped.conflicts:
        return Ownership(f"launch {launch}: blocks meet at PTX line {mapped.conflicts[0]} (rule 9)")
    return Ownership("", mapped.words, mapped.granules)
