"""Barriers of a block: a warp saves what is live and returns; the grid function resumes it when all warps have arrived.

Affine registers are mostly addresses, and their vectors eight times the size of an f32's. They are not saved but
rebuilt from their shadows, unless a wrap between two lanes (see `uniform`) makes that impossible, which the shadows
tell.
"""

from __future__ import annotations

from p2pcompute.compute.ptx import flow, layout
from p2pcompute.compute.ptx.access import Access
from p2pcompute.compute.ptx.flow import Graph
from p2pcompute.compute.ptx.ir import Immediate, Instruction
from p2pcompute.compute.ptx.registers import SCALAR, VECTOR, Frame, slot_bytes
from p2pcompute.compute.ptx.uniform import WARP, Layout
from p2pcompute.errors import PtxError

CELL_BYTES = 64
"""A saved slot takes whole cells, so that every vector is aligned."""


class Barriers:
    def __init__(self, frame: Frame, access: Access, graph: Graph) -> None:
        self._frame = frame
        self._access = access
        self._graph = graph
        self._code = frame.code
        self._places: dict[str, int] = {}
        self.context_bytes = layout.CONTEXT_REGISTERS
        self.blocks = [b.index for b in graph.blocks if b.end is not None and flow.is_block_barrier(b.end)]
        for block in self.blocks:
            for name in self._saved(block):
                if name not in self._places:
                    self._places[name] = self.context_bytes
                    self.context_bytes += CELL_BYTES * sum(_cells(kind) for _, kind in frame.slots(name))

    def _saved(self, block: int) -> list[str]:
        return sorted(self._graph.live_in[self._graph.blocks[block].successors[0]])

    def dispatch(self) -> None:
        """At the start of the warp function: go to the start or to where the warp waited."""
        code = self._code
        if not self.blocks:
            code.do("br label %start")
            return
        code.do("%point = load i32, ptr %context")
        code.do(
            f"switch i32 %point, label %start [ {' '.join(f'i32 {b + 1}, label %resume{b}' for b in self.blocks)} ]"
        )

    # Arriving ----------------------------------------------------------------------------------------------------

    def arrive(self, block: int, ins: Instruction, active: str) -> None:
        """Save the warp and return. A barrier that only a part of the living lanes reaches is a trap."""
        code, ops = self._code, self._frame.ops(SCALAR)
        _check_barrier(ins, self._frame.layout)
        alive = code.value("load i32, ptr %alive")
        together, apart = code.fresh("together"), code.fresh("apart")
        code.do(f"br i1 {ops.compare('eq', 'i32', alive, active)}, label %{together}, label %{apart}, !prof !2")
        code.label(apart)
        self._access.trap(str(layout.TRAP_BARRIER), ins.line, self._access.first_lane(), "0")
        code.label(together)
        if ins.has("red"):
            self._contribute(ins, active)
        code.do(f"store i32 {active}, ptr {self._cell(layout.CONTEXT_ACTIVE)}")
        affine = [name for name in self._saved(block) if self._frame.kind(name).is_affine]
        for name in self._saved(block):
            slots = self._frame.slots(name)
            self._transfer(name, range(1 if name in affine else 0, len(slots)), load=False)
        wrapped = self._wrapped(affine)
        code.do(f"store i8 {ops.resize('i1', wrapped, 'i8')}, ptr {self._cell(layout.CONTEXT_WRAPPED)}")
        self._if_wrapped(wrapped, affine, load=False)
        code.do(f"store i32 {block + 1}, ptr %context")
        code.do(f"ret i32 {layout.AT_BARRIER}")

    def _cell(self, offset: int) -> str:
        return self._code.value(f"getelementptr i8, ptr %context, i64 {offset}")

    def _transfer(self, name: str, which: range, *, load: bool) -> None:
        """Some of a register's slots (the vector is the first) to or from the context."""
        place = self._places[name]
        for number, (slot, kind) in enumerate(self._frame.slots(name)):
            if number in which:
                cell = self._cell(place)
                source, target = (cell, slot) if load else (slot, cell)
                self._code.do(f"store {kind} {self._code.value(f'load {kind}, ptr {source}')}, ptr {target}")
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

    def _contribute(self, ins: Instruction, active: str) -> None:
        """Add this warp's lanes to the reduction that the block gathers."""
        ops = self._frame.ops(SCALAR)
        word = self._code.value(f"bitcast <{WARP} x i1> {self._frame.read(ins.sources[1], 'pred', VECTOR)} to i{WARP}")
        for offset, lanes in ((layout.STATE_COUNT, ops.two("and", "i32", word, active)), (layout.STATE_TOTAL, active)):
            cell = self._code.value(f"getelementptr i8, ptr %state, i64 {offset}")
            total = ops.two("add", "i32", self._code.value(f"load i32, ptr {cell}"), ops.call("ctpop", "i32", lanes))
            self._code.do(f"store i32 {total}, ptr {cell}")

    # Resuming ----------------------------------------------------------------------------------------------------

    def resume(self) -> None:
        """The way back in, for every barrier."""
        for block in self.blocks:
            self._resume(block)

    def _resume(self, block: int) -> None:
        code = self._code
        code.label(f"resume{block}")
        active = code.value(f"load i32, ptr {self._cell(layout.CONTEXT_ACTIVE)}")
        successor = self._graph.blocks[block].successors[0]
        code.do(f"store i32 {active}, ptr %m{successor}")
        code.do(f"store i32 {active}, ptr %alive")
        affine = [name for name in self._saved(block) if self._frame.kind(name).is_affine]
        for name in self._saved(block):
            self._transfer(name, range(1 if name in affine else 0, len(self._frame.slots(name))), load=True)
        flag = code.value(f"load i8, ptr {self._cell(layout.CONTEXT_WRAPPED)}")
        self._if_wrapped(self._frame.ops(SCALAR).compare("ne", "i8", flag, "0"), affine, load=True)
        end = self._graph.blocks[block].end
        if end is not None and end.has("red"):
            self._frame.mask = code.value(f"bitcast i32 {active} to <{WARP} x i1>")
            self._reduced(end)
        code.do(f"br label %b{successor}")

    def _reduced(self, ins: Instruction) -> None:
        ops = self._frame.ops(SCALAR)
        cells = (layout.STATE_COUNT_RESULT, layout.STATE_TOTAL_RESULT)
        pointers = [self._code.value(f"getelementptr i8, ptr %state, i64 {cell}") for cell in cells]
        count, total = (self._code.value(f"load i32, ptr {pointer}") for pointer in pointers)
        operation = ins.modifier("red_op")
        if operation == "popc":
            self._frame.write(ins.destinations[0], count, "u32", SCALAR, ins)
        elif operation == "or":
            self._frame.write(ins.destinations[0], ops.compare("ne", "i32", count, "0"), "pred", SCALAR, ins)
        else:
            self._frame.write(ins.destinations[0], ops.compare("eq", "i32", count, total), "pred", SCALAR, ins)


def _cells(kind: str) -> int:
    """How many cells a slot of this LLVM type takes."""
    return -(-slot_bytes(kind) // CELL_BYTES)


def _check_barrier(ins: Instruction, threads: Layout) -> None:
    """Only barrier 0 of the whole block: named barriers of parts of a block are refused."""
    if ins.guard is not None:
        raise PtxError(f"PTX line {ins.line}: a guarded '{ins.spelling}' is not supported.")
    number = ins.sources[0]
    count = ins.sources[1] if len(ins.sources) > 1 and not ins.has("red") else None
    whole = count is None or (isinstance(count, Immediate) and count.value == threads.warps * WARP)
    if not (isinstance(number, Immediate) and number.value == 0 and whole):
        raise PtxError(f"PTX line {ins.line}: '{ins.spelling}' is supported for barrier 0 and the whole block only.")
