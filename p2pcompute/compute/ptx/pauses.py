"""Where a warp stops in the middle: it saves what is live and returns; the grid function resumes it later.

Two kinds of points: barriers, and the ways back of loops that may wait for another warp (`Pauses.slice`). Vectors
lie in whole cache lines, scalars behind them. Affine registers are scalars here (see `progression`), and the lanes of
the rare ones that wrapped are in the context already. What one instruction alone writes lives in the context all along,
and invariants are computed anew; only the rest is copied at every pause.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from p2pcompute.compute.ptx import flow, invariants, layout
from p2pcompute.compute.ptx.access import Access
from p2pcompute.compute.ptx.flow import Graph, Loop
from p2pcompute.compute.ptx.ir import Instruction
from p2pcompute.compute.ptx.registers import SCALAR, Frame, slot_bytes

LINE_BYTES = 64
SCALAR_BYTES = 8
MASK_BYTES = 8

SLICE_ITERATIONS = 64
"""Of a loop that may wait, before the block's other warps get a turn."""


@dataclass(frozen=True, slots=True)
class Point:
    """`number` names it in the context. Lanes may be pending at `blocks` only; the warp goes on at `target`."""

    number: int
    target: int
    blocks: tuple[int, ...]
    registers: tuple[str, ...]


class Pauses:
    def __init__(
        self, frame: Frame, access: Access, graph: Graph, compute_again: Callable[[tuple[int, ...]], None]
    ) -> None:
        self._frame = frame
        self._access = access
        self._graph = graph
        self._code = frame.code
        self._compute_again = compute_again
        self.barriers = {b.index: self._barrier(b) for b in graph.blocks if b.end and flow.is_block_barrier(b.end)}
        self.spins: dict[Loop, Point] = {}
        if frame.layout.teams > 1:
            for number, loop in enumerate(waiting_loops(graph)):
                self.spins[loop] = self._spin(len(graph.blocks) + number, loop)
        self._masks = _whole_lines(frame.context_end)
        widest = max((len(point.blocks) for point in self.points), default=0)
        self.context_bytes = self._masks + _whole_lines(MASK_BYTES * widest)
        self._places: dict[str, int] = {}
        names = sorted(set().union(*(point.registers for point in self.points)))
        slots = {slot: slot_bytes(kind) for name in names for slot, kind in frame.slots(name)}
        for slot, size in sorted(slots.items(), key=lambda item: -item[1]):
            self._places[slot] = self.context_bytes
            self.context_bytes += max(size, SCALAR_BYTES)
        lasting = invariants.written_once(graph) - frame.analysis.blended
        self.homes = {s: self._places[s] for name in names if name in lasting for s, _ in frame.slots(name)}
        """Slots of registers that are written once and live across a pause: they stay in the context."""

    @property
    def points(self) -> list[Point]:
        return [*self.barriers.values(), *self.spins.values()]

    def _barrier(self, block: flow.Block) -> Point:
        """All living lanes are here, so none is pending elsewhere."""
        target = block.successors[0]
        return Point(block.index + 1, target, (target,), self._kept(self._graph.live_in[target]))

    def _spin(self, number: int, loop: Loop) -> Point:
        """At the end of a loop lanes wait at its head, behind it, or at the head of a loop around it."""
        behind = {s for b in self._graph.blocks[: loop.last + 1] for s in b.successors if s > loop.last}
        around = {outer.head for outer in self._graph.loops if outer.head <= loop.head and outer.last >= loop.last}
        blocks = tuple(sorted(behind | around))
        live = frozenset().union(*(self._graph.live_in[block] for block in blocks))
        return Point(number + 1, loop.head, blocks, self._kept(live))

    def _kept(self, live: frozenset[str]) -> tuple[str, ...]:
        """What must be saved: invariants are computed anew."""
        return tuple(sorted(live - self._frame.invariant))

    def dispatch(self) -> None:
        """At the start of the warp function: go to the start or to where the warp paused."""
        code = self._code
        if not self.points:
            code.do("br label %start")
            return
        if self.spins:
            code.slot("%slice", "i32")
            code.do(f"store i32 {SLICE_ITERATIONS}, ptr %slice")
        ways = " ".join(f"i32 {point.number}, label %resume{point.number}" for point in self.points)
        code.do(f"switch i32 %point, label %start [ {ways} ]")

    # Pausing -----------------------------------------------------------------------------------------------------

    def slice(self, loop: Loop) -> None:
        """On the way back of a loop that may wait: after some iterations let the other warps run."""
        code, ops, point = self._code, self._frame.ops(SCALAR), self.spins[loop]
        left = ops.by("sub", "i32", code.value("load i32, ptr %slice"), 1)
        code.do(f"store i32 {left}, ptr %slice")
        pause, on = code.fresh("pause"), code.fresh("on")
        code.do(f"br i1 {ops.compare('eq', 'i32', left, '0')}, label %{pause}, label %{on}, !prof !1")
        code.label(pause)
        for number, block in enumerate(point.blocks):
            self._copy(code.word, f"%m{block}", self.cell(self._masks + MASK_BYTES * number))
        self.save(point, code.value(f"load {code.word}, ptr %alive"))
        code.label(on)

    def save(self, point: Point, alive: str) -> None:
        """Save the warp and return."""
        code = self._code
        code.do(f"store {code.word} {alive}, ptr {self.cell(layout.CONTEXT_ACTIVE)}")
        self._transfer(point, load=False)
        code.do(f"store i32 {point.number}, ptr %context")
        code.leave(layout.PAUSED)

    def cell(self, offset: int) -> str:
        return self._code.value(f"getelementptr i8, ptr %context, i64 {offset}")

    def _copy(self, kind: str, source: str, target: str) -> None:
        self._code.do(f"store {kind} {self._code.value(f'load {kind}, ptr {source}')}, ptr {target}")

    def _transfer(self, point: Point, *, load: bool) -> None:
        """All that is live behind a point, to or from the context."""
        for name in point.registers:
            for slot, kind in self._frame.slots(name):
                if slot in self.homes:
                    continue
                cell = self.cell(self._places[slot])
                self._copy(kind, *((cell, slot) if load else (slot, cell)))
                if load and self._frame.loose_slot(name):
                    self._copy(kind, cell, self._frame.loose_slot(name))

    # Resuming ----------------------------------------------------------------------------------------------------

    def restore(self, point: Point) -> str:
        """Open the way back in and load what was saved; returns the word of the living lanes."""
        code = self._code
        code.label(f"resume{point.number}")
        alive = code.value(f"load {code.word}, ptr {self.cell(layout.CONTEXT_ACTIVE)}")
        code.do(f"store {code.word} {alive}, ptr %alive")
        self._transfer(point, load=True)
        self._compute_again(point.blocks)
        return alive

    def resume_slices(self) -> None:
        for point in self.spins.values():
            self.restore(point)
            for number, block in enumerate(point.blocks):
                self._copy(self._code.word, self.cell(self._masks + MASK_BYTES * number), f"%m{block}")
            self._code.do(f"br label %b{point.target}")


def waiting_loops(graph: Graph) -> list[Loop]:
    """Loops that may wait for what another warp writes: only such reads can change under them."""
    blocks = graph.blocks
    every = [ins for block in blocks for ins in (*block.core, *([block.end] if block.end else []))]
    read = {register.name for ins in every for register in ins.reads()}

    def may_wait(ins: Instruction) -> bool:
        if ins.opcode in ("membar", "fence", "nanosleep"):
            return True
        if ins.opcode == "ld":
            return ins.modifier("order") in ("volatile", "relaxed", "acquire")
        return ins.opcode == "atom" and any(register.name in read for register in ins.writes())

    return [loop for loop in graph.loops if any(may_wait(i) for b in blocks[loop.head : loop.last + 1] for i in b.core)]


def _whole_lines(size_bytes: int) -> int:
    return -(-size_bytes // LINE_BYTES) * LINE_BYTES
