"""Where a warp stops in the middle: it saves what is live and returns; the grid function resumes it later.

Two kinds of points: barriers, and the ways back of loops that may wait for another warp (`Pauses.slice`). Affine
registers are mostly addresses, and their vectors eight times the size of an f32's. They are not saved but rebuilt from
their shadows, unless a wrap between two lanes (see `uniform`) makes that impossible, which the shadows tell.
"""

from __future__ import annotations

from dataclasses import dataclass

from p2pcompute.compute.ptx import flow, layout
from p2pcompute.compute.ptx.access import Access
from p2pcompute.compute.ptx.flow import Graph, Loop
from p2pcompute.compute.ptx.ir import Instruction
from p2pcompute.compute.ptx.registers import SCALAR, VECTOR, Frame, slot_bytes
from p2pcompute.compute.ptx.uniform import WARP

CELL_BYTES = 64
"""A saved slot takes whole cells, so that every vector is aligned."""

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
    def __init__(self, frame: Frame, access: Access, graph: Graph) -> None:
        self._frame = frame
        self._access = access
        self._graph = graph
        self._code = frame.code
        self.barriers = {b.index: self._barrier(b) for b in graph.blocks if b.end and flow.is_block_barrier(b.end)}
        self.spins: dict[Loop, Point] = {}
        if frame.layout.warps > 1:
            for number, loop in enumerate(waiting_loops(graph)):
                self.spins[loop] = self._spin(len(graph.blocks) + number, loop)
        self._masks = layout.CONTEXT_REGISTERS
        widest = max((len(point.blocks) for point in self.points), default=0)
        self.context_bytes = self._masks + CELL_BYTES * -(-4 * widest // CELL_BYTES)
        self._places: dict[str, int] = {}
        for point in self.points:
            for name in point.registers:
                if name not in self._places:
                    self._places[name] = self.context_bytes
                    self.context_bytes += CELL_BYTES * sum(_cells(kind) for _, kind in frame.slots(name))

    @property
    def points(self) -> list[Point]:
        return [*self.barriers.values(), *self.spins.values()]

    def _barrier(self, block: flow.Block) -> Point:
        """All living lanes are here, so none is pending elsewhere."""
        target = block.successors[0]
        return Point(block.index + 1, target, (target,), tuple(sorted(self._graph.live_in[target])))

    def _spin(self, number: int, loop: Loop) -> Point:
        """At the end of a loop lanes wait at its head, behind it, or at the head of a loop around it."""
        behind = {s for b in self._graph.blocks[: loop.last + 1] for s in b.successors if s > loop.last}
        around = {outer.head for outer in self._graph.loops if outer.head <= loop.head and outer.last >= loop.last}
        blocks = tuple(sorted(behind | around))
        live = frozenset().union(*(self._graph.live_in[block] for block in blocks))
        return Point(number + 1, loop.head, blocks, tuple(sorted(live)))

    def dispatch(self) -> None:
        """At the start of the warp function: go to the start or to where the warp paused."""
        code = self._code
        if not self.points:
            code.do("br label %start")
            return
        if self.spins:
            code.do("%slice = alloca i32")
            code.do(f"store i32 {SLICE_ITERATIONS}, ptr %slice")
        code.do("%point = load i32, ptr %context")
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
            self._copy("i32", f"%m{block}", self.cell(self._masks + 4 * number))
        self.save(point, code.value("load i32, ptr %alive"))
        code.label(on)

    def save(self, point: Point, alive: str) -> None:
        """Save the warp and return."""
        code, ops = self._code, self._frame.ops(SCALAR)
        code.do(f"store i32 {alive}, ptr {self.cell(layout.CONTEXT_ACTIVE)}")
        affine = self._affine(point)
        for name in point.registers:
            slots = self._frame.slots(name)
            self._transfer(name, range(1 if name in affine else 0, len(slots)), load=False)
        wrapped = self._wrapped(affine)
        code.do(f"store i8 {ops.resize('i1', wrapped, 'i8')}, ptr {self.cell(layout.CONTEXT_WRAPPED)}")
        self._if_wrapped(wrapped, affine, load=False)
        code.do(f"store i32 {point.number}, ptr %context")
        code.do(f"ret i32 {layout.PAUSED}")

    def cell(self, offset: int) -> str:
        return self._code.value(f"getelementptr i8, ptr %context, i64 {offset}")

    def _copy(self, kind: str, source: str, target: str) -> None:
        self._code.do(f"store {kind} {self._code.value(f'load {kind}, ptr {source}')}, ptr {target}")

    def _affine(self, point: Point) -> list[str]:
        return [name for name in point.registers if self._frame.kind(name).is_affine]

    def _transfer(self, name: str, which: range, *, load: bool) -> None:
        """Some of a register's slots (the vector is the first) to or from the context."""
        place = self._places[name]
        for number, (slot, kind) in enumerate(self._frame.slots(name)):
            if number in which:
                cell = self.cell(place)
                self._copy(kind, *((cell, slot) if load else (slot, cell)))
            place += CELL_BYTES * _cells(kind)

    def _wrapped(self, names: list[str]) -> str:
        """Whether any of these registers is not linear in the lanes of a segment."""
        ops, result = self._frame.ops(SCALAR), "false"
        span = self._frame.layout.segment - 1
        for name in names:
            kind = self._frame.kind(name)
            if not kind.widened:
                continue
            _, *shadows = self._frame.slots(name)
            for (first, llvm), (last, _) in zip(shadows[::2], shadows[1::2], strict=True):
                ends = [self._code.value(f"load {llvm}, ptr {slot}") for slot in (last, first)]
                distance = ops.two("sub", llvm, *ends)
                odd = ops.compare("ne", llvm, distance, ops.const(llvm, kind.stride * span))
                result = ops.two("or", "i1", result, odd)
        return result

    def _if_wrapped(self, wrapped: str, names: list[str], *, load: bool) -> None:
        """The vectors of affine registers: moved only in the rare case; otherwise, when loading, rebuilt."""
        if not names:
            return
        code = self._code
        moved, plain, done = code.fresh("moved"), code.fresh("plain"), code.fresh("done")
        code.do(f"br i1 {wrapped}, label %{moved}, label %{plain}, !prof !1")
        code.label(moved)
        for name in names:
            self._transfer(name, range(1), load=load)
        code.do(f"br label %{done}")
        code.label(plain)
        if load:
            for name in names:
                self._rebuild(name)
        code.do(f"br label %{done}")
        code.label(done)

    def _rebuild(self, name: str) -> None:
        """First lane of each segment plus lane * stride."""
        (slot, kind), *shadows = self._frame.slots(name)
        llvm, lanes, stride = shadows[0][1], self._frame.layout.segment, self._frame.kind(name).stride
        pieces = []
        for first, _ in shadows[::2]:
            pieces.append(self._access.spread(llvm, lanes, self._code.value(f"load {llvm}, ptr {first}")))
        whole = self._access.joined(pieces, llvm)
        if stride:
            ops = self._frame.ops(SCALAR)
            steps = ", ".join(f"{llvm} {ops.const(llvm, lane % lanes * stride)}" for lane in range(WARP))
            whole = self._frame.ops(VECTOR).two("add", llvm, whole, f"<{steps}>")
        self._code.do(f"store {kind} {whole}, ptr {slot}")

    # Resuming ----------------------------------------------------------------------------------------------------

    def restore(self, point: Point) -> str:
        """Open the way back in and load what was saved; returns the word of the living lanes."""
        code = self._code
        code.label(f"resume{point.number}")
        alive = code.value(f"load i32, ptr {self.cell(layout.CONTEXT_ACTIVE)}")
        code.do(f"store i32 {alive}, ptr %alive")
        affine = self._affine(point)
        for name in point.registers:
            self._transfer(name, range(1 if name in affine else 0, len(self._frame.slots(name))), load=True)
        flag = code.value(f"load i8, ptr {self.cell(layout.CONTEXT_WRAPPED)}")
        self._if_wrapped(self._frame.ops(SCALAR).compare("ne", "i8", flag, "0"), affine, load=True)
        return alive

    def resume_slices(self) -> None:
        for point in self.spins.values():
            self.restore(point)
            for number, block in enumerate(point.blocks):
                self._copy("i32", self.cell(self._masks + 4 * number), f"%m{block}")
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


def _cells(kind: str) -> int:
    """How many cells a slot of this LLVM type takes."""
    return -(-slot_bytes(kind) // CELL_BYTES)
