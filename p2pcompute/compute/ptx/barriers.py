"""Barriers: a warp says that it has arrived and pauses; the grid function resumes it when all the others have.

Sixteen barriers per block, each with a count of warps, as the machine has them. A barrier that only a part of the
living lanes of a warp reaches is a trap.
"""

from __future__ import annotations

from p2pcompute.compute.ptx import layout
from p2pcompute.compute.ptx.access import Access
from p2pcompute.compute.ptx.flow import Graph
from p2pcompute.compute.ptx.ir import Immediate, Instruction, Operand
from p2pcompute.compute.ptx.pauses import Pauses, Point
from p2pcompute.compute.ptx.registers import SCALAR, VECTOR, Frame
from p2pcompute.compute.ptx.uniform import WARP, Layout
from p2pcompute.errors import PtxError


class Barriers:
    def __init__(self, frame: Frame, access: Access, graph: Graph, pauses: Pauses) -> None:
        self._frame = frame
        self._access = access
        self._graph = graph
        self._code = frame.code
        self._pauses = pauses
        ends = [graph.blocks[index].end for index in pauses.barriers]
        announced = [ins for block in graph.blocks for ins in block.core if is_arrival(ins)]
        self.are_named = bool(announced) or not all(_is_whole(ins, frame.layout) for ins in ends if ins is not None)
        """Whether a count per barrier is needed, rather than one meeting of all warps."""

    def arrive(self, block: int, ins: Instruction, active: str) -> None:
        """Pause the warp at the barrier that ends a block."""
        number = self._checked(ins, active)
        if ins.has("red"):
            self._contribute(ins, active, number)
            self._code.do(f"store i32 {number}, ptr {self._pauses.cell(layout.CONTEXT_BARRIER)}")
        if self.are_named or self._pauses.spins:
            self._count(ins, number)
            waits = self._frame.ops(SCALAR).by("add", "i32", number, 1)
            self._code.do(f"store i32 {waits}, ptr {self._pauses.cell(layout.CONTEXT_WAITS)}")
            self._code.do(f"store i32 {ins.line}, ptr {self._pauses.cell(layout.CONTEXT_LINE)}")
        self._pauses.save(self._pauses.barriers[block], active)

    def announce(self, ins: Instruction) -> None:
        """bar.arrive: count, and go on."""
        active = self._code.word_of(self._frame.mask)
        self._count(ins, self._checked(ins, active))

    def _checked(self, ins: Instruction, active: str) -> str:
        """The barrier's number. Trap if living lanes are missing, or the number is none."""
        code, ops = self._code, self._frame.ops(SCALAR)
        if ins.guard is not None:
            raise PtxError(f"PTX line {ins.line}: a guarded '{ins.spelling}' is not supported.")
        number = self._scalar(ins.sources[0])
        alive = code.value(f"load {code.word}, ptr %alive")
        fine = ops.compare("eq", code.word, alive, active)
        fine = ops.two("and", "i1", fine, ops.compare("ult", "i32", number, str(layout.BARRIERS)))
        together, apart = code.fresh("together"), code.fresh("apart")
        code.do(f"br i1 {fine}, label %{together}, label %{apart}, !prof !2")
        code.label(apart)
        self._access.trap(str(layout.TRAP_BARRIER), ins.line, self._access.first_lane(), "0")
        code.label(together)
        return number

    def _scalar(self, operand: Operand) -> str:
        """A number that PTX wants equal in all lanes; the first active lane's otherwise."""
        if isinstance(operand, Immediate) or self._frame.analysis.kind(operand).is_uniform:
            return self._frame.read(operand, "u32", SCALAR)
        lanes = self._frame.read(operand, "u32", VECTOR)
        return self._code.value(f"extractelement {self._code.vector('i32')} {lanes}, i32 {self._access.lead()}")

    def _cell(self, number: str, field: int) -> str:
        ops = self._frame.ops(SCALAR)
        offset = ops.by("mul", "i32", number, layout.BARRIER_BYTES)
        offset = ops.by("add", "i32", offset, layout.STATE_BARRIERS + field)
        return self._code.value(f"getelementptr i8, ptr %state, i32 {offset}")

    def _add(self, cell: str, more: str) -> None:
        total = self._frame.ops(SCALAR).two("add", "i32", self._code.value(f"load i32, ptr {cell}"), more)
        self._code.do(f"store i32 {total}, ptr {cell}")

    def _count(self, ins: Instruction, number: str) -> None:
        """One more warp has arrived; the number of threads to wait for, 0 standing for the whole block."""
        self._add(self._cell(number, layout.BARRIER_ARRIVED), "1")
        whole = ins.has("red") or len(ins.sources) < 2
        expected = "0" if whole else self._scalar(ins.sources[1])
        self._code.do(f"store i32 {expected}, ptr {self._cell(number, layout.BARRIER_EXPECTED)}")

    def _contribute(self, ins: Instruction, active: str, number: str) -> None:
        """Add this warp's lanes to the reduction that the block gathers."""
        ops = self._frame.ops(SCALAR)
        word = self._code.word_of(self._frame.read(ins.sources[1], "pred", VECTOR))
        yes = ops.call("ctpop", "i32", ops.two("and", "i32", word, active))
        self._add(self._cell(number, layout.BARRIER_COUNT), yes)
        self._add(self._cell(number, layout.BARRIER_TOTAL), ops.call("ctpop", "i32", active))

    def resume(self) -> None:
        """The way back in, for every barrier."""
        for block, point in self._pauses.barriers.items():
            active = self._pauses.restore(point)
            self._code.do(f"store {self._code.word} {active}, ptr %m{point.target}")
            self._finish(block, point, active)

    def _finish(self, block: int, point: Point, active: str) -> None:
        end = self._graph.blocks[block].end
        if end is not None and end.has("red"):
            self._frame.mask = self._code.mask_of(active)
            self._reduced(end)
        self._code.do(f"br label %b{point.target}")

    def _reduced(self, ins: Instruction) -> None:
        ops = self._frame.ops(SCALAR)
        number = self._code.value(f"load i32, ptr {self._pauses.cell(layout.CONTEXT_BARRIER)}")
        cells = (layout.BARRIER_COUNT_RESULT, layout.BARRIER_TOTAL_RESULT)
        count, total = (self._code.value(f"load i32, ptr {self._cell(number, cell)}") for cell in cells)
        operation = ins.modifier("red_op")
        if operation == "popc":
            self._frame.write(ins.destinations[0], count, "u32", SCALAR, ins)
        elif operation == "or":
            self._frame.write(ins.destinations[0], ops.compare("ne", "i32", count, "0"), "pred", SCALAR, ins)
        else:
            self._frame.write(ins.destinations[0], ops.compare("eq", "i32", count, total), "pred", SCALAR, ins)


def is_arrival(ins: Instruction) -> bool:
    return ins.opcode in ("bar", "barrier") and ins.has("arrive")


def _is_whole(ins: Instruction, threads: Layout) -> bool:
    """Barrier 0 of the whole block: what __syncthreads means."""
    number = ins.sources[0]
    count = ins.sources[1] if len(ins.sources) > 1 and not ins.has("red") else None
    whole = count is None or (isinstance(count, Immediate) and count.value == threads.warps * WARP)
    return isinstance(number, Immediate) and number.value == 0 and whole
