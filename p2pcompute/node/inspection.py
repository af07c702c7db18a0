"""Does a provider's result hold? Single blocks are recomputed here, each from the state before its step, and what they
leave is compared with the state after it: both the provider's, in pieces that its roots prove (docs/spec/sampling.md).

A block runs on what is known of the state before, all else zero, and its accesses are logged. What it loaded that was
not known is fetched, and it runs again, until it has loaded nothing but what is known.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
import trio

from p2pcompute.compute.blocks import Asked, LoggedBlocks, log_blocks
from p2pcompute.compute.checker import check_blocks_apart
from p2pcompute.compute.ptx.interpret import Kind
from p2pcompute.compute.sampling.pages import first_difference
from p2pcompute.compute.shared import State
from p2pcompute.errors import LocalError, P2PComputeError
from p2pcompute.node.engines import Engines
from p2pcompute.node.ownership import Ownership, Ownerships
from p2pcompute.node.sources import Source
from p2pcompute.node.states import Known, MissingError, States, before
from p2pcompute.protocol.machine import Finding, Inspect, InspectOutcome, JobStatus, Point
from p2pcompute.storage.blobs import BlobStore
from p2pcompute.wire import limits
from p2pcompute.wire.fraud import Evidence, Piece, encode_evidence
from p2pcompute.wire.manifest import Manifest, decode_manifest
from p2pcompute.wire.steps import launch_of, state_buffers, step_count

ROUNDS_MAX: Final = 64
"""Runs of the blocks of a step: each brings what the one before could not know it needed."""
ROUND_MS: Final = 5_000
"""For a run on a state that may not be known: on wrong zeros it may never end."""
CHECK_STEPS_MAX: Final = 4_000_000
"""Instructions of a block that are watched for races before a provider is called wrong: some 16 s."""
UNFINISHED_MAX: Final = 16
"""Inspections whose pieces are kept for another try; the oldest go first."""
UNFINISHED_LEAVES_MAX: Final = 1 << 16
"""Of all of them together: 256 MiB."""
NO_BLOCK: Final = -1


class _End(Exception):
    """The inspection knows what it found, and where. `pieces`: what shows it to others."""

    def __init__(
        self,
        finding: Finding,
        reason: str,
        step: int = 0,
        block: int = 0,
        buffer: int = 0,
        byte: int = 0,
        pieces: Sequence[Piece] = (),
    ) -> None:
        super().__init__(reason)
        self.pieces = tuple(pieces)
        self.outcome = InspectOutcome(finding, step=step, block=block, buffer=buffer, byte=byte, reason=reason)


class Inspector:
    """Runs inspections on a node's engines. What it learns of launches is kept for the next one."""

    def __init__(self, engines: Engines, blobs: BlobStore) -> None:
        self._engines, self._blobs = engines, blobs
        self._ownerships = Ownerships()
        self._unfinished: OrderedDict[str, tuple[tuple[object, ...], States]] = OrderedDict()
        """By token."""

    async def inspect(self, effect: Inspect, source: Source) -> InspectOutcome:
        """`source` gives pieces of the provider's states. Never raises for what a peer, a task or this machine's limits
        could cause."""
        try:
            manifest = decode_manifest(effect.manifest)
            fault = misfit(manifest, effect.states, effect.points)
            if fault:
                return InspectOutcome(Finding.UNPROVEN, reason=fault)
            states = self._taken_up(effect, manifest, source)
            inspection = _Inspection(manifest, states, self._blobs.read(manifest.ptx_root))
        except P2PComputeError as error:
            return InspectOutcome(Finding.UNPROVEN, reason=str(error))
        found = InspectOutcome(Finding.UNPROVEN, reason="recomputing took too long here")
        with trio.move_on_after(effect.timeout_ms / 1000):
            found = await self._run(inspection, effect)
        if states.is_waiting:
            found = InspectOutcome(Finding.UNAVAILABLE, reason="the provider's pieces took too long")
        if found.finding is Finding.UNAVAILABLE:
            self._keep(effect, states)
        spent = {"blocks": inspection.blocks, "device_us": inspection.device_us, "leaves": states.leaves}
        return msgspec.structs.replace(found, **spent)

    def _taken_up(self, effect: Inspect, manifest: Manifest, source: Source) -> States:
        """What an earlier try with the same token fetched, or nothing yet."""
        known = self._unfinished.pop(effect.token, None)
        if known is not None and known[0] == (effect.peer, effect.manifest, effect.states):
            known[1].source, known[1].is_waiting = source, False
            return known[1]
        return States(manifest, effect.states, self._blobs, source, effect.leaves_max)

    def _keep(self, effect: Inspect, states: States) -> None:
        self._unfinished[effect.token] = (effect.peer, effect.manifest, effect.states), states
        while (
            len(self._unfinished) > UNFINISHED_MAX
            or sum(kept.leaves for _, kept in self._unfinished.values()) > UNFINISHED_LEAVES_MAX
        ):
            self._unfinished.popitem(last=False)

    async def _run(self, inspection: _Inspection, effect: Inspect) -> InspectOutcome:
        try:
            async with self._engines.lend() as engine:
                if not isinstance(engine, Asked):
                    raise LocalError("this node's engine cannot run single blocks")
                await inspection.run(engine, self._ownerships, effect.points, effect.blocks)
        except _End as end:
            return await self._keep_evidence(end, effect.token) if end.pieces else end.outcome
        except MissingError as error:
            return InspectOutcome(Finding.UNAVAILABLE, reason=str(error))
        except P2PComputeError as error:
            return InspectOutcome(Finding.UNPROVEN, reason=str(error))
        return InspectOutcome(Finding.CLEAN)

    async def _keep_evidence(self, end: _End, token: str) -> InspectOutcome:
        """What shows the fraud to others stays in the local store, if there is room for it."""
        o = end.outcome
        try:
            evidence = encode_evidence(Evidence(o.step, o.block, o.buffer, o.byte, end.pieces))
            root, _ = await trio.to_thread.run_sync(self._blobs.put, evidence, f"fraud:{token}")
        except LocalError:
            return o
        return msgspec.structs.replace(o, evidence=(root, len(evidence)))


async def recompute(engine: Asked, manifest: Manifest, ptx_text: bytes, states: Known, point: Point) -> InspectOutcome:
    """What the block that writes one point shows. Raises P2PComputeError where it cannot be said, and MissingError
    where `states` lack something."""
    inspection = _Inspection(manifest, states, ptx_text)
    try:
        await inspection.run(engine, Ownerships(), (point,), 1)
    except _End as end:
        return end.outcome
    return InspectOutcome(Finding.CLEAN, inspection.blocks)


def misfit(manifest: Manifest, states: Sequence[Sequence[bytes]], points: Sequence[Point]) -> str:
    """Why the roots or points are none of this task, as a sentence."""
    steps, buffers = step_count(manifest), state_buffers(manifest)
    if len(states) != steps or any(len(state) != len(buffers) for state in states):
        return f"{len(states)} states are no states of {steps} steps and {len(buffers)} buffers"
    for point in points:
        if not 0 <= point.step < steps or point.buffer not in buffers:
            return f"there is no buffer {point.buffer} in the state after step {point.step}"
        if not 0 <= point.byte < manifest.buffers[point.buffer].size_bytes:
            return f"buffer {point.buffer} has no byte {point.byte}"
    return ""


class _Inspection:
    """One provider's result."""

    def __init__(self, manifest: Manifest, states: Known, ptx_text: bytes) -> None:
        self.manifest, self.states, self.ptx_text = manifest, states, ptx_text
        self.blocks = self.device_us = 0
        """Recomputed, and what the engine took."""

    async def run(self, engine: Asked, ownerships: Ownerships, points: Sequence[Point], most: int) -> None:
        """Returns when nothing is wrong. Raises _End, MissingError, P2PComputeError where this machine cannot say."""
        steps: dict[int, dict[int, None]] = {}
        unwritten: dict[tuple[int, int], list[int]] = {}
        known: dict[int, Ownership] = {}
        drawn = 0
        for point in points:
            launch = launch_of(self.manifest, point.step)
            if launch not in known:
                known[launch] = await ownerships.of(engine, self.manifest, self.ptx_text, launch)
            if known[launch].fault:
                raise _End(Finding.UNPROVEN, known[launch].fault, point.step)
            writer = known[launch].writer(self.manifest.buffers[point.buffer].name, point.byte)
            if writer is None:
                unwritten.setdefault((point.step, point.buffer), []).append(point.byte)
            elif writer not in steps.get(point.step, ()):
                if drawn == most:
                    break
                steps.setdefault(point.step, {})[writer] = None
                drawn += 1
        for (step, buffer), places in sorted(unwritten.items()):
            await self._compare_unwritten(step, buffer, places)
        for step, blocks in sorted(steps.items()):
            await _Step(self, engine, step, launch_of(self.manifest, step)).compare(sorted(blocks))

    async def _compare_unwritten(self, step: int, buffer: int, places: Sequence[int]) -> None:
        """Bytes that no block writes must be what they were."""
        earlier, later = (self.states.holding(state, buffer) for state in (step, step + 1))
        if earlier is later:
            return
        spans = np.array([[place, place + 1] for place in sorted(places)], np.int64)
        for holding in (earlier, later):
            await self.states.know(holding, spans)
        for place in places:
            was, is_now = (holding.pages.read(place, place + 1)[0] for holding in (earlier, later))
            if was != is_now:
                await trio.to_thread.run_sync(self.states.check_local)
                where = f"byte {place} of {self.manifest.buffers[buffer].name}"
                reason = f"step {step}: no block writes {where}, which changes from {was} to {is_now}"
                byte = np.array([[place, place + 1]], np.int64)
                pieces = [piece for holding in (earlier, later) for piece in self.states.proven(holding, byte)]
                raise _End(Finding.WRONG, reason, step, NO_BLOCK, buffer, place, pieces)


class _Step:
    """Blocks of one step, recomputed."""

    def __init__(self, inspection: _Inspection, engine: Asked, step: int, launch: int) -> None:
        self._inspection, self._engine, self._step, self._launch = inspection, engine, step, launch
        self._manifest, self._states = inspection.manifest, inspection.states
        self._before = before(self._states, self._manifest, step)

    async def compare(self, blocks: Sequence[int]) -> None:
        """Raises _End unless every byte that these blocks write is what the provider has there."""
        logged = await self._recompute(blocks)
        self._inspection.blocks += len(blocks)
        buffers = sorted({buffer for left in logged.left.values() for buffer in left})
        for buffer in buffers:
            after = self._states.holding(self._step + 1, buffer)
            spans = {n: logged.accesses[n].stores[buffer] for n in blocks if buffer in logged.left[n]}
            await self._states.know(after, np.concatenate(list(spans.values())))
            for block, mine in spans.items():
                byte = first_difference(mine, logged.left[block][buffer], after.pages)
                if byte is not None:
                    await self._convict(block, buffer, byte, logged)

    async def _recompute(self, blocks: Sequence[int]) -> LoggedBlocks:
        """Run blocks until they have loaded nothing but what is known."""
        limit_ms = ROUND_MS
        for _ in range(ROUNDS_MAX):
            logged = await self._log(blocks, limit_ms)
            if await self._learn(logged):
                continue
            match logged.result.status:
                case JobStatus.OK:
                    return logged
                case JobStatus.TRAP:
                    raise await self._trapped(blocks, logged.result.reason)
                case JobStatus.TIMEOUT if limit_ms == ROUND_MS:
                    limit_ms = limits.DEVICE_MS_MAX  # all it saw is true: it needs its time, as far as there is any
                case _:
                    raise _End(Finding.UNPROVEN, f"step {self._step}: {logged.result.reason}", self._step)
        reason = f"step {self._step}: what its blocks load depends on what they loaded, more than {ROUNDS_MAX} times"
        raise _End(Finding.UNPROVEN, reason, self._step)

    async def _log(self, blocks: Sequence[int], limit_ms: int) -> LoggedBlocks:
        task = msgspec.structs.replace(self._manifest, device_ms_max=limit_ms)
        ptx_text, state = self._inspection.ptx_text, self._state()
        logged = await log_blocks(self._engine, task, ptx_text, state, launch=self._launch, blocks=blocks, by_page=True)
        self._inspection.device_us += logged.result.device_us
        return logged

    def _state(self) -> State:
        return {self._manifest.buffers[n].name: holding.pages.extents() for n, holding in self._before.items()}

    async def _learn(self, logged: LoggedBlocks) -> bool:
        """Know what was loaded; whether any of it was not known yet."""
        has_learned = False
        for buffer, holding in self._before.items():
            spans = [a.loads[buffer] for a in logged.accesses.values() if buffer in a.loads]
            if spans:
                has_learned |= await self._states.know(holding, np.concatenate(spans))
        return has_learned

    async def _trapped(self, blocks: Sequence[int], reason: str) -> _End:
        """Which block it was; others of the same run may not have begun."""
        for block in blocks if len(blocks) > 1 else ():
            alone = await self._log([block], limits.DEVICE_MS_MAX)
            if alone.result.status is JobStatus.TRAP:
                return _End(Finding.AT_FAULT, f"step {self._step}: {alone.result.reason}", self._step, block)
        return _End(Finding.AT_FAULT, f"step {self._step}: {reason}", self._step, blocks[0])

    async def _convict(self, block: int, buffer: int, byte: int, logged: LoggedBlocks) -> None:
        """The provider has another byte than this block leaves. Raises _End once it is known whose fault that is."""
        place = self._step, block, buffer, byte
        again = await self._log([block], limits.DEVICE_MS_MAX)
        if again.left.get(block) != logged.left[block]:
            raise _End(Finding.AT_FAULT, f"step {self._step}: block {block} leaves other bytes every time", *place)
        checked = await check_blocks_apart(
            self._manifest,
            self._inspection.ptx_text,
            self._state(),
            launch=self._launch,
            blocks=[block],
            steps_max=CHECK_STEPS_MAX,
        )
        faults = [finding for finding in checked.findings if finding.kind is not Kind.UNINITIALISED]
        if faults or checked.left_out:
            what = f"{faults[0].kind.value}: {faults[0].message}" if faults else "more findings than can be told apart"
            raise _End(Finding.AT_FAULT, f"step {self._step}: block {block}: {what}", *place)
        await trio.to_thread.run_sync(self._states.check_local)
        end = " (watched for races in its first instructions only)" if not checked.is_complete else ""
        where = f"byte {byte} of {self._manifest.buffers[buffer].name}"
        reason = f"step {self._step}: block {block} leaves another {where} than the provider has{end}"
        raise _End(Finding.WRONG, reason, *place, self._evidence(block, logged))

    def _evidence(self, block: int, logged: LoggedBlocks) -> list[Piece]:
        """All that the block loaded, and what the provider has where it stores."""
        touched, pieces = logged.accesses[block], list[Piece]()
        for buffer, spans in touched.loads.items():
            if buffer in self._before:
                pieces += self._states.proven(self._before[buffer], spans)
        for buffer, spans in touched.stores.items():
            if buffer >= 0:
                pieces += self._states.proven(self._states.holding(self._step + 1, buffer), spans)
        return list(dict.fromkeys(pieces))
