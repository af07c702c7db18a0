"""Barriers of a block: a warp saves what is live and returns; the grid function resumes it when all warps have arrived.

Vectors lie in whole cache lines, scalars behind them. Affine registers are scalars here (see `progression`), and the
lanes of the rare ones that wrapped are in the context already.
"""

from __future__ import annotations

from p2pcompute.compute.ptx import flow, layout
from p2pcompute.compute.ptx.access import Access
from p2pcompute.compute.ptx.flow import Graph
from p2pcompute.compute.ptx.ir import Immediate, Instruction
from p2pcompute.compute.ptx.registers import SCALAR, VECTOR, Frame, slot_bytes
from p2pcompute.compute.ptx.uniform import WARP, Layout
from p2pcompute.errors import PtxError

LINE_BYTES = 64
SCALAR_BYTES = 8


class Barriers:
    def __init__(self, frame: Frame, access: Access, graph: Graph) -> None:
        self._frame = frame
        self._access = access
        self._graph = graph
        self._code = frame.code
        self._places: dict[str, int] = {}
        self.blocks = [b.index for b in graph.blocks if b.end is not None and flow.is_block_barrier(b.end)]
        names = sorted(set().union(*(self._saved(block) for block in self.blocks)))
        slots = {slot: slot_bytes(kind) for name in names for slot, kind in frame.slots(name)}
        self.context_bytes = -(-frame.context_end // LINE_BYTES) * LINE_BYTES
        for slot, size in sorted(slots.items(), key=lambda item: -item[1]):
            self._places[slot] = self.context_bytes
            self.context_bytes += size if size >= LINE_BYTES or size % SCALAR_BYTES == 0 else SCALAR_BYTES

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
        self._transfer(block, load=False)
        code.do(f"store i32 {block + 1}, ptr %context")
        code.do(f"ret i32 {layout.AT_BARRIER}")

    def _cell(self, offset: int) -> str:
        return self._code.value(f"getelementptr i8, ptr %context, i64 {offset}")

    def _transfer(self, block: int, *, load: bool) -> None:
        """All that is live behind a barrier, to or from the context."""
        for name in self._saved(block):
            for slot, kind in self._frame.slots(name):
                cell = self._cell(self._places[slot])
                source, target = (cell, slot) if load else (slot, cell)
                self._code.do(f"store {kind} {self._code.value(f'load {kind}, ptr {source}')}, ptr {target}")

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
        self._transfer(block, load=True)
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


def _check_barrier(ins: Instruction, threads: Layout) -> None:
    """Only barrier 0 of the whole block: named barriers of parts of a block are refused."""
    if ins.guard is not None:
        raise PtxError(f"PTX line {ins.line}: a guarded '{ins.spelling}' is not supported.")
    number = ins.sources[0]
    count = ins.sources[1] if len(ins.sources) > 1 and not ins.has("red") else None
    whole = count is None or (isinstance(count, Immediate) and count.value == threads.warps * WARP)
    if not (isinstance(number, Immediate) and number.value == 0 and whole):
        raise PtxError(f"PTX line {ins.line}: '{ins.spelling}' is supported for barrier 0 and the whole block only.")
