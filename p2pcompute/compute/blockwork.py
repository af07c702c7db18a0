"""Questions about single blocks of one launch, answered inside the worker: run them, log them, judge, map.

An answer is bytes in the shared room. For LOG and PAGES the number of rows, as all numbers here in 64 bits; rows of
five (block, buffer, 0 load or 1 store, first byte, byte behind the last); then what the blocks left in the bytes they
stored, row after row. For JUDGE a `Judgement`; for MAP and CLAIM the length of a `MapHead` in 4 bytes, the head, then
the words of its buffers. Buffers are named by their place in the manifest; -1 stands for the module's global variables.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from p2pcompute.compute import jobs, ptx
from p2pcompute.compute.ptx.accesslog import BlockAccess, Logged, log_accesses
from p2pcompute.compute.ptx.blocklist import BLOCK_LIST_MAX
from p2pcompute.compute.ptx.descriptors import HANDLES as TEXTURE_HANDLES
from p2pcompute.compute.sampling import Eligibility, KernelLaunch, eligibility
from p2pcompute.compute.sampling.writers import Mapper, WriterMap
from p2pcompute.errors import UsageError
from p2pcompute.wire.manifest import Launch, Manifest

ROOM_BYTES_MAX: Final = 16 << 30
"""Of an answer: a map of the largest buffer in granules of four bytes."""
_HEAD: Final = 4
LOG_MAPS_BYTES: Final = 512 << 20
"""Of the maps of all threads of a LOG, each as large as all buffers: more threads only while theirs fit."""

Answer = Sequence[bytes | memoryview]
"""In parts, one behind the other."""
Prepared = ptx.CompiledKernel | Mapper | None


class Compiled(Protocol):
    """What compiles a launch's kernel, or has it."""

    def __call__(self, launch: Launch, *, is_logged: bool = False) -> ptx.CompiledKernel: ...


class ReasonRow(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    rule: str
    line: int
    sentence: str


class Judgement(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """An `Eligibility` on its way to the parent."""

    tier: str
    reasons: tuple[ReasonRow, ...]
    stored: tuple[str, ...]
    hindrances: tuple[ReasonRow, ...]


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

    def fill(self, answer: Answer) -> int:
        """Write the parts of the answer; their length. Raises UsageError when they do not fit."""
        total = sum(len(part) for part in answer)
        if total > self._size:
            raise UsageError(f"the answer takes {total} bytes; there is room for {self._size}")
        place = self._start
        for part in answer:
            self._memory[place : place + len(part)] = part
            place += len(part)
        return total


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

    def prepare(self, question: jobs.Question, compiled: Compiled) -> Prepared:
        """What the question needs, compiled before its time begins to count."""
        if question in (jobs.Question.MAP, jobs.Question.CLAIM):
            return Mapper(self.module, self.launch)
        if question is jobs.Question.JUDGE:
            return None
        return compiled(self.manifest.launches[self.number], is_logged=question is not jobs.Question.RUN)

    def answer(
        self, question: jobs.Question, prepared: Prepared, blocks: NDArray[np.uint64]
    ) -> tuple[ptx.LaunchResult, Answer]:
        launch, shared_bytes = self.launch, self.manifest.launches[self.number].shared_bytes
        if isinstance(prepared, Mapper):
            sizes = {buffer.name: buffer.size_bytes for buffer in self.manifest.buffers}
            is_proven = question is jobs.Question.CLAIM
            found = prepared.run(launch, sizes, threads=self.threads, abort=self.abort, is_proven=is_proven)
            return found.result, self._map(found)
        if prepared is None:
            return ptx.LaunchResult(ptx.Status.OK), [_judgement(eligibility(self.module, launch.entry, launch))]
        if question is not jobs.Question.RUN:
            logged = log_accesses(
                prepared, self.memory, launch.parameters, launch.grid, shared_bytes,
                blocks=blocks, by_page=question is jobs.Question.PAGES, threads=self._log_threads, abort=self.abort,
            )  # fmt: skip
            return logged.result, self._log(logged)
        result = prepared.launch(
            self.memory, launch.parameters, launch.grid, shared_bytes,
            threads=self.threads, abort=self.abort, blocks=blocks,
        )  # fmt: skip
        return result, []

    @property
    def _log_threads(self) -> int:
        total = sum(buffer.size_bytes for buffer in self.manifest.buffers)
        return max(1, min(self.threads, LOG_MAPS_BYTES // max(1, total)))

    def _log(self, logged: Logged) -> Answer:
        rows = _rows(logged.blocks)
        stored = rows[(rows[:, 2] == 1) & (rows[:, 1] >= 0)]
        left = [_bytes_of(self.memory.array(buffer)[first:end]) for _, buffer, _, first, end in stored.tolist()]
        return [len(rows).to_bytes(8, "little"), _bytes_of(rows), *left]

    def _map(self, found: WriterMap) -> Answer:
        index = {buffer.name: n for n, buffer in enumerate(self.manifest.buffers)}
        buffers = tuple((index[name], found.granules[name], len(words)) for name, words in found.words.items())
        head = msgspec.msgpack.encode(MapHead(buffers, found.conflicts))
        return [len(head).to_bytes(_HEAD, "little"), head, *map(_bytes_of, found.words.values())]


def _bytes_of(array: NDArray[Any]) -> memoryview:
    """Without a copy, where it lies in one piece."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _judgement(found: Eligibility) -> bytes:
    reasons, hindrances = (
        tuple(ReasonRow(r.rule, r.line, jobs.sentence(r.sentence)) for r in rows)
        for rows in (found.reasons, found.hindrances)
    )
    return msgspec.msgpack.encode(Judgement(found.tier.value, reasons, found.stored, hindrances))


def _rows(blocks: Mapping[int, BlockAccess]) -> NDArray[np.int64]:
    parts = [np.zeros((0, 5), np.int64)]
    for number, access in blocks.items():
        for kind, buffers in enumerate((access.loads, access.stores)):
            for buffer, spans in buffers.items():
                head = np.broadcast_to(np.array([number, buffer, kind], np.int64), (len(spans), 3))
                parts.append(np.concatenate([head, spans], axis=1))
    return np.concatenate(parts)
