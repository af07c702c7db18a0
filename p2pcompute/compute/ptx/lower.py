"""One entry -> the LLVM code of one warp, as text.

Blocks run in one line (see `flow`). A block that touches memory through regular addresses is written twice: behind the
test of its windows with plain vector accesses, else with checked helpers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from p2pcompute.compute.ptx import flow, invariants, layout, nan, progression, ranges, teams, uniform
from p2pcompute.compute.ptx.access import Access
from p2pcompute.compute.ptx.arithmetic import ARITHMETIC, LaneOperation
from p2pcompute.compute.ptx.atomics import Atomics
from p2pcompute.compute.ptx.barriers import Barriers, is_arrival
from p2pcompute.compute.ptx.bitwise import BITWISE
from p2pcompute.compute.ptx.bounds import Bounds
from p2pcompute.compute.ptx.checked import Checked
from p2pcompute.compute.ptx.conversion import convert
from p2pcompute.compute.ptx.invariants import Level, is_cheap
from p2pcompute.compute.ptx.ir import (
    CARRY_REGISTER,
    READS_CARRY,
    Entry,
    Instruction,
    Module,
    Operand,
    Register,
)
from p2pcompute.compute.ptx.llvmtext import Code, vector
from p2pcompute.compute.ptx.moves import move, to_address
from p2pcompute.compute.ptx.output import Output
from p2pcompute.compute.ptx.packed import PACKED, is_packed, pairwise
from p2pcompute.compute.ptx.pauses import Pauses
from p2pcompute.compute.ptx.registers import FIRST_LANE, SCALAR, VECTOR, Frame, shared_layout, slot_bytes
from p2pcompute.compute.ptx.shapes import Window
from p2pcompute.compute.ptx.system import is_system
from p2pcompute.compute.ptx.textures import Textures
from p2pcompute.compute.ptx.touch import Touch
from p2pcompute.compute.ptx.uniform import Layout
from p2pcompute.compute.ptx.warpwide import WarpWide
from p2pcompute.errors import PtxError

STACK_BYTES_MAX: Final = 3 * 1024 * 1024
"""Of the 8 MiB that a thread has by default; a value may be spilled in the fast and in the slow part of a block."""

_LANE_WISE: Final[Mapping[str, LaneOperation]] = {**ARITHMETIC, **BITWISE, **PACKED, "cvt": convert, "cvta": to_address}
_WARP_WIDE: Final = frozenset({"shfl", "vote", "match", "activemask", "bar", "barrier"})


@dataclass(frozen=True, slots=True)
class Lowered:
    """The code of one warp, from label `warp.begin` to `warp.end`, where `%status.cell` says how it ended; and what the
    function around it computes once per host thread and once per block. Sizes are what the launcher must provide.
    `lanes`: 32, or 64 if what is called a warp here is a team of two (see `teams`). `has_pauses`: warps may stop before
    their end; `needs_counts`: and not all of them at the same barriers. `runs_by_rows`: the warps of different blocks
    may run in any order, and profit from the order of memory.
    """

    warp: str
    per_thread: str
    per_block: str
    helpers: Mapping[str, str]
    declarations: frozenset[str]
    lanes: int
    has_pauses: bool
    needs_counts: bool
    runs_by_rows: bool
    context_bytes: int
    local_bytes: int
    shared_bytes: int
    assumed: bytes


def lower(
    module: Module, entry: Entry, block: tuple[int, int, int], *, careful: bool = False, is_logged: bool = False
) -> Lowered:
    """Raises PtxError for what cannot be lowered, before anything runs. Unless it is `careful`, the code is right only
    for launches for which `ranges.hold(lowered.assumed, …)`. `is_logged`: with the access log (`touch`).
    """
    return _Lowering(module, entry, block, careful=careful, is_logged=is_logged).run()


def register_types(entry: Entry) -> dict[str, str]:
    """Every register an entry mentions, in order of appearance."""
    types: dict[str, str] = {}
    for instruction in entry.instructions():
        for register in (*instruction.reads(), *instruction.writes()):
            types.setdefault(register.name, register.type_name)
    return types


class _Lowering:
    def __init__(
        self, module: Module, entry: Entry, block: tuple[int, int, int], *, careful: bool, is_logged: bool
    ) -> None:
        self._entry = entry
        self._graph = flow.build(entry)
        self._types = register_types(entry)
        candidates = [] if careful else invariants.candidates(self._graph)
        trusted = ranges.provable(candidates)
        if is_logged:
            analysis = uniform.analyse(self._graph, Layout(block), self._types, trusted)
        else:
            analysis = teams.analyse(entry, self._graph, block, self._types, trusted)
        self._layout = analysis.layout
        self._code = Code(lanes=self._layout.lanes)
        self._assumed = ranges.encode(entry, candidates, analysis.relied_on(candidates))
        self._invariants = invariants.find(self._graph, analysis)
        self._always = frozenset(self._graph.on_every_way())
        self._early = {id(ins) for ins in self._invariants.early(self._graph)}
        plan = nan.NanPlan(self._graph)
        self._frame = Frame(self._code, module, entry, analysis, plan, self._invariants.registers)
        self._bounds = Bounds(self._frame)
        self._access = Access(self._frame, Checked(self._code), self._bounds)
        self._touch = Touch(self._frame, self._access) if is_logged else None
        self._atomics = Atomics(self._frame, self._access, self._graph)
        self._output = Output(self._frame, self._access)
        self._warpwide = WarpWide(self._frame, self._access)
        self._textures = Textures(self._frame, self._access)
        self._shared_bytes = shared_layout(module, entry)[1]

    def run(self) -> Lowered:
        self._frame.allocate(self._types)
        self._check_stack()
        self._pauses = Pauses(self._frame, self._access, self._graph, self._compute_again)
        self._barriers = Barriers(self._frame, self._access, self._graph, self._pauses)
        self._prologue()
        for index in range(len(self._graph.blocks)):
            self._block(index)
        self._epilogue()
        context = -(-self._pauses.context_bytes // 64) * 64
        return Lowered(
            "\n".join(self._code.lines),
            "\n".join(self._code.entry_lines),
            "\n".join(self._code.block_lines),
            self._code.helpers,
            frozenset(self._code.declarations),
            self._layout.lanes,
            bool(self._pauses.points),
            self._barriers.are_named or bool(self._pauses.spins),
            self._runs_by_rows(),
            context,
            self._frame.local_bytes,
            self._shared_bytes,
            self._assumed,
        )

    def _runs_by_rows(self) -> bool:
        """Blocks of several rows, straight-line code, nothing that the warps of a block share."""
        if self._layout.is_linear or self._graph.loops or self._pauses.points or self._frame.local_bytes:
            return False
        spaces = {
            ins.modifier("space") for ins in self._entry.instructions() if ins.opcode in ("ld", "st", "atom", "red")
        }
        return spaces <= {"param", "global", "const"}

    def _check_stack(self) -> None:
        """What may be live at once must fit a host thread's stack, into which LLVM spills it."""
        sizes = {name: sum(slot_bytes(kind) for _, kind in self._frame.slots(name)) for name in self._types}
        for block in self._graph.blocks:
            names = self._graph.live_in[block.index] | {r.name for ins in block.core for r in ins.writes()}
            if sum(sizes[name] for name in names) > STACK_BYTES_MAX:
                line = block.core[0].line if block.core else self._entry.line
                raise PtxError(
                    f"PTX line {line}: more than {STACK_BYTES_MAX} bytes of registers of a warp are live here."
                )

    # The frame of the function -----------------------------------------------------------------------------------

    def _prologue(self) -> None:
        code = self._code
        code.label("warp.begin")
        code.slot("%status.cell", "i32")
        for index in range(len(self._graph.blocks) + 1):
            code.slot(f"%m{index}", code.word)
            code.do(f"store {code.word} 0, ptr %m{index}")
        code.slot("%alive", code.word)
        code.slot("%exchange", vector("i32"))
        self._frame.open(self._pauses.homes)
        definitions = self._invariants.definitions
        with code.into(code.entry_lines):
            code.do(f"%table.generic = getelementptr i8, ptr %table, i64 {layout.TABLE_BYTES}")
            self._compute(definitions[Level.LAUNCH])
        with code.into(code.block_lines):
            self._compute(definitions[Level.BLOCK])
        self._thread_ids()
        self._pauses.dispatch()
        code.label("start")
        self._compute([ins for ins in definitions[Level.WARP] if id(ins) in self._early])
        code.do(f"store {code.word} %full, ptr %m0")
        code.do(f"store {code.word} %full, ptr %alive")
        code.do("br label %b0")
        self._barriers.resume()
        self._pauses.resume_slices()

    def _compute(self, definitions: list[Instruction]) -> None:
        for ins in definitions:
            self._instruction(ins, None)

    def _compute_again(self, blocks: tuple[int, ...]) -> None:
        """Where a warp goes on, to any of these blocks: the invariants it needs and does not have."""
        live = frozenset().union(*(self._graph.live_in[block] for block in blocks))
        self._compute(self._invariants.needed(live, self._early))

    def _thread_ids(self) -> None:
        code, threads = self._code, self._layout
        scalar, lanes = self._frame.ops(SCALAR), self._frame.ops(VECTOR)
        first = scalar.by("mul", "i32", "%warpid", code.lanes)
        numbers = ", ".join(f"i32 {lane}" for lane in range(code.lanes))
        linear = lanes.two("add", "i32", self._frame.splat("i32", first), f"<{numbers}>")
        x, y, z = threads.block
        spans = {"x": (1, x), "y": (x, y), "z": (x * y, z)}
        for axis, (below, size) in spans.items():
            kind = threads.special(f"tid.{axis}")
            if kind.is_uniform:
                self._axis(f"%tid.{axis}.u", SCALAR, first, below, size)
                continue
            self._axis(f"%tid.{axis}.v", VECTOR, linear, below, size)
            for segment in self._frame.firsts(kind):
                lane = segment * threads.segment
                self._axis(f"%tid.{axis}.s{segment}", SCALAR, scalar.by("add", "i32", first, lane), below, size)
        if threads.threads % code.lanes:
            inside = lanes.compare("ult", "i32", linear, lanes.const("i32", threads.threads))
            code.do(f"%full = bitcast {code.vector('i1')} {inside} to {code.word}")
        else:
            code.do(f"%full = add {code.word} 0, -1")

    def _axis(self, name: str, mode: int, linear: str, below: int, size: int) -> None:
        """`name` = linear / below % size. The last axis needs no remainder, so that linear blocks stay affine past
        their end.
        """
        ops = self._frame.ops(mode)
        kind = ops.type("i32")
        value = ops.by("udiv", "i32", linear, below) if below > 1 else linear
        is_last = below * size == self._layout.threads
        operation, operand = ("add", 0) if is_last else ("urem", size)
        if is_last and size == 1 and below > 1:
            operation, operand = "and", 0
        self._code.do(f"{name} = {operation} {kind} {value}, {ops.const('i32', operand)}")

    def _epilogue(self) -> None:
        code = self._code
        code.label(f"b{len(self._graph.blocks)}")
        code.leave(layout.DONE)
        code.label("warp.trapped")
        code.leave(layout.TRAPPED)
        code.label("warp.aborted")
        code.leave(layout.ABORTED)

    # Blocks ------------------------------------------------------------------------------------------------------

    def _block(self, index: int) -> None:
        code, block = self._code, self._graph.blocks[index]
        code.label(f"b{index}")
        active = code.value(f"load {code.word}, ptr %m{index}")
        code.do(f"store {code.word} 0, ptr %m{index}")
        entered = self._frame.ops(SCALAR).compare("ne", code.word, active, "0")
        code.do(f"br i1 {entered}, label %x{index}, label %e{index}")
        code.label(f"x{index}")
        self._frame.mask = code.mask_of(active)
        in_loop = any(loop.head <= index <= loop.last for loop in self._graph.loops)
        self._access.is_repeated = in_loop
        self._access.is_streaming = index in self._always and not in_loop and not self._layout.is_linear
        self._core([ins for ins in block.core if id(ins) not in self._early])
        if block.end is not None and flow.is_block_barrier(block.end):
            self._barriers.arrive(index, block.end, active)
        else:
            self._end(block, active)
            code.do(f"br label %e{index}")
        code.label(f"e{index}")
        self._loop_ends(index)
        code.do(f"br label %b{index + 1}")

    def _core(self, instructions: list[Instruction]) -> None:
        """In pieces: one ends where an access needs an address that the piece itself computes from what it loads."""
        while instructions:
            first, rest = _hoist(instructions)
            for ins in first:
                self._instruction(ins, None)
            end = self._access.piece_end(rest)
            self._piece(rest[:end])
            instructions = rest[end:]

    def _piece(self, rest: list[Instruction]) -> None:
        windows = self._access.windows(rest)
        if not windows:
            for ins in rest:
                self._instruction(ins, None)
            return
        code = self._code
        condition = self._bounds.test(windows[0])
        for window in windows[1:]:
            condition = self._frame.ops(SCALAR).two("and", "i1", condition, self._bounds.test(window))
        fast, slow, both = code.fresh("fast"), code.fresh("slow"), code.fresh("both")
        code.do(f"br i1 {condition}, label %{fast}, label %{slow}, !prof !2")
        code.label(fast)
        of_place = {place: window for window in windows for place in window.members}
        for place, ins in enumerate(rest):
            self._instruction(ins, of_place.get(place))
        code.do(f"br label %{both}")
        code.label(slow)
        with self._access.seldom():
            for ins in rest:
                self._instruction(ins, None)
        code.do(f"br label %{both}")
        code.label(both)

    def _end(self, block: flow.Block, active: str) -> None:
        """Hand the lanes on to the successors."""
        end = block.end
        if not block.is_conditional:
            if end is not None and end.opcode == "trap":
                self._trap_instruction(end, active)
            else:
                self._hand_on(block.successors[0], active)
            return
        assert end is not None
        taken, rest = self._split(end, active)
        if end.opcode == "trap":
            self._trap_instruction(end, taken)
        else:
            self._hand_on(block.successors[0], taken)
        self._hand_on(block.successors[1], rest)

    def _hand_on(self, successor: int, lanes: str) -> None:
        """Lanes wait at the successor, or end."""
        if successor < len(self._graph.blocks):
            self._pend(successor, lanes)
            return
        word = self._code.word
        alive = self._code.value(f"load {word}, ptr %alive")
        self._code.do(f"store {word} {self._frame.ops(SCALAR).two('xor', word, alive, lanes)}, ptr %alive")

    def _split(self, end: Instruction, active: str) -> tuple[str, str]:
        """Lanes that take a conditional end, and the rest."""
        ops, word = self._frame.ops(SCALAR), self._code.word
        assert end.guard is not None
        if self._frame.kind(end.guard.name).is_uniform:
            condition = self._frame.guard(end, SCALAR) or "true"
            taken = ops.select(condition, word, active, "0")
        else:
            lanes = self._frame.guard(end, VECTOR)
            assert lanes is not None
            taken = ops.two("and", word, active, self._code.word_of(lanes))
        return taken, ops.two("xor", word, active, taken)

    def _trap_instruction(self, ins: Instruction, lanes: str) -> None:
        nowhere = self._frame.ops(VECTOR).const("i64", 0)
        self._access.trap_where(self._code.mask_of(lanes), layout.TRAP_INSTRUCTION, ins.line, nowhere)

    def _pend(self, block: int, lanes: str) -> None:
        word = self._code.word
        waiting = self._code.value(f"load {word}, ptr %m{block}")
        self._code.do(f"store {word} {self._frame.ops(SCALAR).two('or', word, waiting, lanes)}, ptr %m{block}")

    def _loop_ends(self, index: int) -> None:
        """Where a loop ends, go back while lanes wait at its head; innermost first. Every way back looks at the abort
        flag.
        """
        code, ops = self._code, self._frame.ops(SCALAR)
        for loop in reversed(self._graph.loops):
            if loop.last != index:
                continue
            back, on = code.fresh("back"), code.fresh("on")
            again = ops.compare("ne", code.word, code.value(f"load {code.word}, ptr %m{loop.head}"), "0")
            code.do(f"br i1 {again}, label %{back}, label %{on}")
            code.label(back)
            flag = code.value("load volatile i32, ptr %abort")
            ahead = code.fresh("ahead")
            code.do(f"br i1 {ops.compare('eq', 'i32', flag, '0')}, label %{ahead}, label %warp.aborted, !prof !2")
            code.label(ahead)
            if loop in self._pauses.spins:
                self._pauses.slice(loop)
            code.do(f"br label %b{loop.head}")
            code.label(on)

    # Instructions ------------------------------------------------------------------------------------------------

    def _instruction(self, ins: Instruction, window: Window | None) -> None:
        if self._touch is not None:
            self._touch.emit(ins)
        match ins.opcode:
            case "ld" | "st":
                self._access.emit(ins, window)
            case "atom" | "red":
                self._atomics.emit(ins)
            case "membar" | "fence":
                self._code.do("fence seq_cst")
            case opcode if is_system(ins):
                self._output.emit(ins)
                if opcode == "__assertfail":
                    nowhere = self._frame.ops(VECTOR).const("i64", 0)
                    self._access.trap_where(self._frame.active(ins), layout.TRAP_ASSERTION, ins.line, nowhere)
            case "tex":
                self._textures.emit(ins)
            case "nanosleep":
                pass
            case "mov":
                move(self._frame, ins)
            case "bar" | "barrier" if is_arrival(ins):
                self._barriers.announce(ins)
            case opcode if opcode in _WARP_WIDE:
                self._warpwide.emit(ins)
            case _:
                self._lane_wise(ins)

    def _lane_wise(self, ins: Instruction) -> None:
        operation = _LANE_WISE.get(ins.opcode)
        if operation is not None and is_packed(ins):
            operation = pairwise(operation)
        if operation is None:
            raise PtxError(f"PTX line {ins.line}: instruction '{ins.spelling}' is not supported.")

        def compute(mode: int) -> list[str]:
            ops = self._frame.ops(mode)
            args = [self._frame.read(o, t, mode, ins) for o, t in zip(ins.sources, ins.source_types, strict=True)]
            if ins.opcode in READS_CARRY:
                args.append(self._frame.read(CARRY_REGISTER, "pred", mode))
            return list(operation(ops, ins, args))

        targets: list[tuple[Operand, str]] = list(zip(ins.destinations, ins.destination_types, strict=True))
        if ins.modifier("carry") is not None:
            targets.append((CARRY_REGISTER, "pred"))
        mode = mode_of(self._frame, ins)
        lines = {n: t for n, (t, _) in enumerate(targets) if mode != SCALAR and self._frame.is_affine(t)}
        if len(lines) < len(targets):
            for number, ((target, type_name), value) in enumerate(zip(targets, compute(mode), strict=True)):
                if number not in lines:
                    self._frame.write(target, value, type_name, SCALAR if mode == FIRST_LANE else mode, ins)
        for number, target in lines.items():
            assert isinstance(target, Register)
            progression.write(
                self._frame,
                ins,
                target,
                targets[number][1],
                lambda mode, n=number: compute(mode)[n],  # type: ignore[misc]
            )


def mode_of(frame: Frame, ins: Instruction) -> int:
    """In which mode an operation runs whose result is not affine: as a scalar if all operands are uniform or the first
    lane stands for all.
    """
    sources = [*ins.sources, *([CARRY_REGISTER] if ins.opcode in READS_CARRY else [])]
    guard_varies = ins.guard is not None and not frame.kind(ins.guard.name).is_uniform
    if not guard_varies and all(frame.analysis.kind(operand).is_uniform for operand in sources):
        return SCALAR
    stands_for_all = ins.guard is None and any(frame.kind(r.name).is_uniform for r in ins.writes())
    return FIRST_LANE if stands_for_all else VECTOR


def _hoist(instructions: list[Instruction]) -> tuple[list[Instruction], list[Instruction]]:
    """Pull integer address arithmetic before the first access, where no order changes by it."""
    first: list[Instruction] = []
    rest: list[Instruction] = []
    written: set[str] = set()
    touched: set[str] = set()
    for ins in instructions:
        reads, writes = {r.name for r in ins.reads()}, {r.name for r in ins.writes()}
        if is_cheap(ins) and not reads & written and not writes & touched:
            first.append(ins)
        else:
            rest.append(ins)
            written |= writes
            touched |= writes | reads
    return first, rest
