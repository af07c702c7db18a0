"""Questions about single blocks of one launch, answered inside the worker: run them, log them, judge, map.

An answer is bytes in the shared room: for LOG rows of five 64-bit numbers (block, buffer, 0 load or 1 store, first
byte, byte behind the last); for JUDGE a `Judgement`; for MAP the length of a `MapHead` in 4 bytes, the head, then the
words of its buffers. Buffers are named by their place in the manifest; -1 stands for the module's global variables.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from p2pcompute.compute import jobs, ptx
from p2pcompute.compute.ptx.accesslog import BlockAccess, log_accesses
from p2pcompute.compute.ptx.blocklist import BLOCK_LIST_MAX
from p2pcompute.compute.ptx.descriptors import HANDLES as TEXTURE_HANDLES
from p2pcompute.compute.sampling import Eligibility, KernelLaunch, eligibility
from p2pcompute.compute.sampling.writers import Mapper, WriterMap
from p2pcompute.errors import UsageError
from p2pcompute.wire.manifest import Launch, Manifest

ROOM_BYTES_MAX: Final = 16 << 30
"""Of an answer: a map of the largest buffer in granules of four bytes."""
_HEAD: Final = 4

Prepared = ptx.CompiledKernel | Mapper | None


class ReasonRow(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    rule: str
    line: int
    sentence: str


class Judgement(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """An `Eligibility` on its way to the parent."""

    tier: str
    reasons: tuple[ReasonRow, ...]
    stored: tuple[str, ...]


class MapHead(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """`buffers`: (place in the manifest, bytes per word, words); `conflicts`: PTX lines."""

    buffers: tuple[tuple[int, int, int], ...]
    conflicts: tuple[int, ...]


class Room:
    """The second shared memory of a question: the blocks it is about, and room for the answer."""

    def __init__(self, descriptor: int, order: jobs.Blocks) -> None:
        try:
            if not 0 <= order.count <= BLOCK_LIST_MAX or not 0 <= order.room_bytes <= ROOM_BYTES_MAX:
                raise UsageError("the question's blocks or its room exceed the limits")
            self._start = 8 * order.count
            self._size = order.room_bytes
            self._memory = mmap.mmap(descriptor, max(1, self._start + self._size))
        except OSError as error:
            raise MemoryError from error
        finally:
            os.close(descriptor)
        self.blocks: NDArray[np.uint64] = np.frombuffer(self._memory, np.uint64, order.count).copy()

    def fill(self, answer: bytes | bytearray) -> int:
        """Write the answer; its length. Raises UsageError when it does not fit."""
        if len(answer) > self._size:
            raise UsageError(f"the answer takes {len(answer)} bytes; there is room for {self._size}")
        self._memory[self._start : self._start + len(answer)] = bytes(answer)
        return len(answer)


def kernel_launch(manifest: Manifest, module: ptx.Module, number: int) -> KernelLaunch:
    """Launch `number` as the provers take it. Raises UsageError where it does not fit the module."""
    if not 0 <= number < len(manifest.launches):
        raise UsageError(f"there is no launch {number}; the manifest has {len(manifest.launches)}")
    launch: Launch = manifest.launches[number]
    entry = module.entries.get(launch.entry)
    if entry is None:
        raise UsageError(f"the PTX has no entry {launch.entry[:64]!r}")
    memory = ptx.Memory([0] * len(manifest.buffers))
    index = {buffer.name: n for n, buffer in enumerate(manifest.buffers)}
    values = [
        TEXTURE_HANDLES.to_bytes(8, "little")  # nothing is read through it here
        if a.texture
        else memory.address(index[a.buffer]).to_bytes(8, "little")
        if a.buffer
        else a.value
        for a in launch.arguments
    ]
    parameters = ptx.pack_parameters(entry, values)
    named = zip(entry.parameters, launch.arguments, strict=True)
    buffers = {parameter.offset_bytes: a.buffer for parameter, a in named if a.buffer and a.texture is None}
    return KernelLaunch(launch.entry, launch.grid, launch.block, parameters, buffers)


@dataclass(frozen=True, slots=True)
class Work:
    """One launch and everything needed to answer for it."""

    manifest: Manifest
    module: ptx.Module
    memory: ptx.Memory
    number: int
    threads: int
    abort: ptx.Abort

    @property
    def launch(self) -> KernelLaunch:
        return kernel_launch(self.manifest, self.module, self.number)

    def prepare(self, question: jobs.Question) -> Prepared:
        """Compile what the question needs, before its time begins to count."""
        launch = self.launch
        if question is jobs.Question.MAP:
            return Mapper(self.module, launch)
        if question is jobs.Question.JUDGE:
            return None
        is_logged = question is jobs.Question.LOG
        return ptx.compile_entry(self.module, launch.entry, launch.block, is_logged=is_logged)

    def answer(
        self, question: jobs.Question, prepared: Prepared, blocks: NDArray[np.uint64]
    ) -> tuple[ptx.LaunchResult, bytes]:
        launch, shared_bytes = self.launch, self.manifest.launches[self.number].shared_bytes
        if isinstance(prepared, Mapper):
            sizes = {buffer.name: buffer.size_bytes for buffer in self.manifest.buffers}
            found = prepared.run(launch, sizes, threads=self.threads, abort=self.abort)
            return found.result, self._map(found)
        if prepared is None:
            return ptx.LaunchResult(ptx.Status.OK), _judgement(eligibility(self.module, launch.entry, launch))
        if question is jobs.Question.LOG:
            logged = log_accesses(
                prepared, self.memory, launch.parameters, launch.grid, shared_bytes,
                blocks=blocks, threads=self.threads, abort=self.abort,
            )  # fmt: skip
            return logged.result, _rows(logged.blocks).tobytes()
        result = prepared.launch(
            self.memory, launch.parameters, launch.grid, shared_bytes,
            threads=self.threads, abort=self.abort, blocks=blocks,
        )  # fmt: skip
        return result, b""

    def _map(self, found: WriterMap) -> bytes:
        index = {buffer.name: n for n, buffer in enumerate(self.manifest.buffers)}
        buffers = tuple((index[name], found.granules[name], len(words)) for name, words in found.words.items())
        head = msgspec.msgpack.encode(MapHead(buffers, found.conflicts))
        return b"".join([len(head).to_bytes(_HEAD, "little"), head, *(w.tobytes() for w in found.words.values())])


def _judgement(found: Eligibility) -> bytes:
    reasons = tuple(ReasonRow(r.rule, r.line, jobs.sentence(r.sentence)) for r in found.reasons)
    return msgspec.msgpack.encode(Judgement(found.tier.value, reasons, found.stored))


def _rows(blocks: Mapping[int, BlockAccess]) -> NDArray[np.int64]:
    parts = [np.zeros((0, 5), np.int64)]
    for number, access in blocks.items():
        for kind, buffers in enumerate((access.loads, access.stores)):
            for buffer, spans in buffers.items():
                head = np.broadcast_to(np.array([number, buffer, kind], np.int64), (len(spans), 3))
                parts.append(np.concatenate([head, spans], axis=1))
    return np.concatenate(parts)
