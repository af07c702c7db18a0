"""Single blocks of one launch, on an engine's jailed worker: run them, log what they touch, judge, map writers.

    outcome = await run_blocks(engine, manifest, ptx_text, state, launch=0, blocks=[7, 11])
    outcome.outputs["y"]                 # the buffer after these blocks alone

What the worker answers is checked here: sizes, names and numbers that the manifest does not allow count as a crash.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol, runtime_checkable

import msgspec
import numpy as np
from numpy.typing import NDArray

from p2pcompute.compute import jobs
from p2pcompute.compute.blockwork import Judgement, MapHead
from p2pcompute.compute.engine import EngineResult
from p2pcompute.compute.ptx.accesslog import BlockAccess, Intervals
from p2pcompute.compute.ptx.blocklist import BlockList, Blocks, block_list
from p2pcompute.compute.sampling import Eligibility, Reason, Tier
from p2pcompute.compute.shared import State, sealed
from p2pcompute.errors import UsageError
from p2pcompute.protocol.machine import JobStatus
from p2pcompute.wire.manifest import Manifest

LOG_ROOM_BYTES: Final = 256 << 20
"""For 6.7 million intervals."""
JUDGE_ROOM_BYTES: Final = 64 << 10
_HEAD_BYTES_MAX: Final = 64 << 10
_ROW: Final = 5


@runtime_checkable
class Asked(Protocol):
    """compute.cpu.CpuEngine is one."""

    async def ask(
        self,
        manifest: Manifest,
        ptx_text: bytes,
        state: State,
        order: tuple[int, jobs.Question],
        blocks: BlockList,
        room_bytes: int,
    ) -> tuple[EngineResult, bytes]: ...


@dataclass(frozen=True, slots=True)
class LoggedBlocks:
    """`accesses`: block -> what it touched, buffers by their place in the manifest. `left`: block -> buffer -> what it
    left in the bytes it stored, interval after interval. After a trap or when time is up some blocks may be missing,
    and those that were stopped are there with what they did until then.
    """

    result: EngineResult
    accesses: Mapping[int, BlockAccess] = field(default_factory=dict)
    left: Mapping[int, Mapping[int, bytes]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MappedWriters:
    """`words`: buffer -> block number plus one for each of its granules, 0 for none (see sampling.writers)."""

    result: EngineResult
    words: Mapping[str, NDArray[np.uint32]] = field(default_factory=dict)
    granules: Mapping[str, int] = field(default_factory=dict)
    conflicts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Judged:
    """`eligibility` is None unless the result is OK."""

    result: EngineResult
    eligibility: Eligibility | None = None


async def run_blocks(
    engine: Asked, manifest: Manifest, ptx_text: bytes, state: State, *, launch: int, blocks: Blocks
) -> EngineResult:
    """Run these blocks of one launch on a state (the bytes of any buffers; others are zero); `outputs` has every buffer
    but pure inputs. Raises UsageError for a launch or blocks that do not exist.
    """
    numbers = block_list(blocks, _grid(manifest, launch))
    result, _ = await engine.ask(manifest, ptx_text, state, (launch, jobs.Question.RUN), numbers, 0)
    return result


async def log_blocks(
    engine: Asked,
    manifest: Manifest,
    ptx_text: bytes,
    state: State,
    *,
    launch: int,
    blocks: Blocks,
    by_page: bool = False,
) -> LoggedBlocks:
    """Run these blocks on a state, as `run_blocks` does: what each touched, and what it left. `by_page`: what was
    loaded is told in whole pages of 4 KiB, for a fraction of the time.
    """
    numbers = block_list(blocks, _grid(manifest, launch))
    order = (launch, jobs.Question.PAGES if by_page else jobs.Question.LOG)
    result, answer = await engine.ask(manifest, ptx_text, state, order, numbers, LOG_ROOM_BYTES)
    if not answer:
        return LoggedBlocks(result)
    try:
        rows, left = _log_parts(answer)
        accesses = _accesses(rows, numbers, manifest)
        return LoggedBlocks(result, accesses, _left(accesses, left))
    except ValueError as error:
        return LoggedBlocks(_broken(error))


async def judge(engine: Asked, manifest: Manifest, ptx_text: bytes, *, launch: int) -> Judged:
    """May blocks of this launch be recomputed one by one, and how is that known? Nothing of the kernel runs."""
    _grid(manifest, launch)
    order = (launch, jobs.Question.JUDGE)
    result, answer = await engine.ask(manifest, ptx_text, {}, order, np.zeros(0, np.uint64), JUDGE_ROOM_BYTES)
    if result.status is not JobStatus.OK:
        return Judged(result)
    try:
        said = msgspec.msgpack.decode(answer, type=Judgement)
        reasons = tuple(Reason(r.rule[:8], r.line, jobs.sentence(r.sentence)) for r in said.reasons)
        hindrances = tuple(Reason(r.rule[:8], r.line, jobs.sentence(r.sentence)) for r in said.hindrances)
        return Judged(result, Eligibility(Tier(said.tier), reasons, said.stored, hindrances))
    except (ValueError, msgspec.MsgspecError) as error:
        return Judged(_broken(error))


async def map_writers(
    engine: Asked,
    manifest: Manifest,
    ptx_text: bytes,
    *,
    launch: int,
    stored: Collection[str] | None = None,
    is_proven: bool = False,
) -> MappedWriters:
    """Which block writes which byte, by the address slice. No data is needed. `stored`: the buffers that the launch may
    write, if that is known: only for these there is room then. `is_proven`: blocks are known not to meet; nobody looks
    for conflicts.
    """
    _grid(manifest, launch)
    mapped = [b.size_bytes for b in manifest.buffers if stored is None or b.name in stored]
    room = _HEAD_BYTES_MAX + 4 * sum(mapped)
    order = (launch, jobs.Question.CLAIM if is_proven else jobs.Question.MAP)
    result, answer = await engine.ask(manifest, ptx_text, {}, order, np.zeros(0, np.uint64), room)
    if result.status is not JobStatus.OK:
        return MappedWriters(result)
    try:
        return _mapped(result, answer, manifest, launch)
    except (ValueError, msgspec.MsgspecError) as error:
        return MappedWriters(_broken(error))


def room(blocks: BlockList, room_bytes: int) -> tuple[int, int]:
    """A descriptor of the memory that a question takes along, and its size."""
    size = max(1, blocks.nbytes + room_bytes)
    descriptor = sealed(size)
    data, done = blocks.tobytes(), 0
    while done < len(data):
        done += os.pwrite(descriptor, data[done:], done)
    return descriptor, size


def _grid(manifest: Manifest, launch: int) -> tuple[int, int, int]:
    if not 0 <= launch < len(manifest.launches):
        raise UsageError(f"There is no launch {launch}; the manifest has {len(manifest.launches)}.")
    return manifest.launches[launch].grid


def _broken(error: Exception) -> EngineResult:
    return EngineResult(JobStatus.CRASHED, reason=jobs.sentence(f"the worker's answer makes no sense: {error}"))


def _log_parts(answer: bytes) -> tuple[NDArray[np.int64], bytes]:
    """The rows, and what the blocks left."""
    count = int.from_bytes(answer[:8], "little")
    end = 8 * (1 + _ROW * count)
    if end > len(answer):
        raise ValueError("the log is cut")
    return np.frombuffer(answer, np.int64, _ROW * count, 8).reshape(-1, _ROW), answer[end:]


def _left(accesses: Mapping[int, BlockAccess], data: bytes) -> dict[int, dict[int, bytes]]:
    """Shared out in the order of the rows: by block, then by buffer."""
    found: dict[int, dict[int, bytes]] = {}
    place = 0
    for number, access in accesses.items():
        mine = found[number] = {}
        for buffer, spans in access.stores.items():
            if buffer >= 0:
                size = int((spans[:, 1] - spans[:, 0]).sum())
                mine[buffer] = data[place : place + size]
                place += size
    if place != len(data):
        raise ValueError("what the blocks left has another size than what they stored")
    return found


def _accesses(rows: NDArray[np.int64], numbers: BlockList, manifest: Manifest) -> dict[int, BlockAccess]:
    found: dict[int, tuple[dict[int, Intervals], dict[int, Intervals]]] = {int(n): ({}, {}) for n in numbers}
    if not len(rows):
        return {number: BlockAccess(*parts) for number, parts in sorted(found.items())}
    changes = np.flatnonzero((rows[1:, :3] != rows[:-1, :3]).any(axis=1)) + 1
    for part in np.split(rows, changes):
        block, buffer, kind = (int(n) for n in part[0, :3])
        if block not in found or kind not in (0, 1) or not -1 <= buffer < len(manifest.buffers):
            raise ValueError("a row names no block, buffer or kind")
        if buffer in found[block][kind] or (part[1:, 3] <= part[:-1, 4]).any():
            raise ValueError("rows of a block are out of order")
        if not (part[:, 3] < part[:, 4]).all() or int(part[0, 3]) < 0:
            raise ValueError("a row is no interval")
        if buffer >= 0 and int(part[:, 4].max()) > manifest.buffers[buffer].size_bytes:
            raise ValueError("a row reaches beyond its buffer")
        found[block][kind][buffer] = part[:, 3:].copy()
    return {number: BlockAccess(*parts) for number, parts in sorted(found.items())}


def _mapped(result: EngineResult, answer: bytes, manifest: Manifest, launch: int) -> MappedWriters:
    length = int.from_bytes(answer[:4], "little")
    head = msgspec.msgpack.decode(answer[4 : 4 + length], type=MapHead)
    place, words, granules = 4 + length, {}, {}
    x, y, z = _grid(manifest, launch)
    for number, granule, count in head.buffers:
        if not 0 <= number < len(manifest.buffers) or granule not in (1, 2, 4, 8, 16):
            raise ValueError("the map names no buffer or granule")
        buffer = manifest.buffers[number]
        if count != -(-buffer.size_bytes // granule):
            raise ValueError("the map does not fit its buffer")
        words[buffer.name] = np.frombuffer(answer, np.uint32, count, place)
        if count and int(words[buffer.name].max()) > x * y * z:
            raise ValueError("the map names no block")
        granules[buffer.name] = granule
        place += 4 * count
    return MappedWriters(result, words, granules, head.conflicts)
