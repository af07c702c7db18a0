"""One block: its threads take turns until each has ended or stands where it must wait, then those who wait together
go on together.

A thread runs alone from one such place to the next, so nothing depends on how lanes share a warp on real machines.
Turns are bounded, so that a thread may spin on what another of its block will write.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Final

from p2pcompute.compute.ptx.interpret import warpwide
from p2pcompute.compute.ptx.interpret.findings import Kind
from p2pcompute.compute.ptx.interpret.memory import Segment
from p2pcompute.compute.ptx.interpret.program import Program
from p2pcompute.compute.ptx.interpret.thread import ENDED, HELD, WARP, Thread
from p2pcompute.compute.ptx.ir import Instruction

TURN_STEPS: Final = 2_000
"""Instructions of one turn: long against the cost of changing turns, short for a thread that only waits."""

Index = tuple[int, int, int]


class OutOfSteps(Exception):
    """The budget of instructions is used up."""


@dataclass(slots=True)
class Budget:
    """Instructions that may still be run."""

    steps: int

    def spend(self, steps: int) -> None:
        self.steps -= steps
        if self.steps <= 0:
            raise OutOfSteps


class Block:
    """Run it once. `linear` counts within the grid, x first."""

    def __init__(self, program: Program, grid: Index, dims: Index, linear: int, shared_bytes: int) -> None:
        self.grid = grid
        self.dims = dims
        self.size = dims[0] * dims[1] * dims[2]
        self.linear = linear
        self.index = self.block_of(linear)
        self.shared = Segment.empty("shared memory", shared_bytes)
        self._program = program
        self._threads = [Thread(self, number, program) for number in range(self.size)]
        self._epoch = 0
        self._arrivals: dict[int, int] = defaultdict(int)

    def block_of(self, linear: int) -> Index:
        return _unfold(linear, self.grid)

    def thread_of(self, linear: int) -> Index:
        return _unfold(linear, self.dims)

    def run(self, budget: Budget) -> None:
        """Raises OutOfSteps in the middle when the budget ends."""
        while True:
            ran = False
            for thread in self._threads:
                if not (thread.is_held or thread.is_over):
                    self._turn(thread, budget)
                    ran = True
            if all(thread.is_over for thread in self._threads):
                return
            met = self._meet_in_warps() or self._meet_in_block()
            if not (ran or met):
                self._report_stuck()
                return

    def _turn(self, thread: Thread, budget: Budget) -> None:
        steps, place, last, before = self._program.steps, thread.place, 0, 0
        count = 0
        while count < TURN_STEPS:
            before, last = last, place
            place = steps[place](thread)
            count += 1
            if place < 0:
                break
        thread.place = place
        if place == ENDED:
            thread.came_from = before
        elif place == HELD:
            thread.place = last
            self._hold(thread)
        budget.spend(count)

    def _hold(self, thread: Thread) -> None:
        """At an instruction that others must reach, too; only bar.arrive lets its thread go on."""
        ins = self._program.instructions[thread.place]
        if ins.has("arrive"):
            self._arrivals[self._barrier_of(ins, thread)] += 1
            thread.place += 1
        else:
            thread.is_held = True

    def _at(self, thread: Thread) -> Instruction:
        return self._program.instructions[thread.place]

    # Warps -------------------------------------------------------------------------------------------------------

    def _meet_in_warps(self) -> bool:
        met = False
        for start in range(0, self.size, WARP):
            warp = [thread for thread in self._threads[start : start + WARP] if not thread.is_over]
            groups: dict[tuple[int, int | None], list[Thread]] = defaultdict(list)
            for thread in warp:
                if thread.is_held and warpwide.is_warp_wide(self._at(thread)):
                    members = warpwide.members_of(self._program, self._at(thread), thread)
                    groups[thread.place, members].append(thread)
            everybody_waits = all(thread.is_held for thread in warp)
            for (_, members), group in groups.items():
                lanes = sum(1 << thread.lane for thread in group)
                awaited = sum(1 << thread.lane for thread in warp) & (members or 0)
                if everybody_waits if members is None else awaited & ~lanes == 0:
                    warpwide.perform(self._program, self._at(group[0]), group, lanes if members is None else members)
                    _release(group)
                    met = True
                    if members is None:
                        break  # those who went on may come to stand with others
        return met

    # Block barriers ----------------------------------------------------------------------------------------------

    def _barrier_of(self, ins: Instruction, thread: Thread) -> int:
        return self._program.reader(ins.sources[0], "u32")(thread)

    def _meet_in_block(self) -> bool:
        groups: dict[int, list[Thread]] = defaultdict(list)
        living = [thread for thread in self._threads if not thread.is_over]
        for thread in living:
            if thread.is_held and not warpwide.is_warp_wide(self._at(thread)):
                groups[self._barrier_of(self._at(thread), thread)].append(thread)
        met = False
        for number, group in groups.items():
            awaited = self._awaited(group[0], len(living) + self._arrivals[number])
            if len(group) + self._arrivals[number] >= awaited:
                self._arrivals[number] = 0
                self._pass(group)
                met = True
        return met

    def _awaited(self, thread: Thread, possible: int) -> int:
        """How many threads must come: all that live, or the number the barrier gives."""
        ins = self._at(thread)
        if len(ins.sources) < 2 or ins.has("red"):
            return possible
        return min(self._program.reader(ins.sources[1], "u32")(thread), possible)

    def _pass(self, group: list[Thread]) -> None:
        self._check_together(group)
        reducing = [thread for thread in group if self._at(thread).has("red")]
        if reducing:
            self._reduce(reducing)
        self._epoch += 1
        for thread in group:
            thread.epoch = self._epoch
        _release(group)

    def _reduce(self, group: list[Thread]) -> None:
        votes = [self._program.reader(self._at(t).sources[-1], "pred")(t) for t in group]
        for thread in group:
            ins = self._at(thread)
            result = {"popc": sum(votes), "or": any(votes), "and": all(votes)}[ins.modifier("red_op") or ""]
            self._program.writer(ins.destinations[0], ins.destination_types[0])(thread, int(result))

    def _check_together(self, group: list[Thread]) -> None:
        """All lanes of a warp must come to the same barrier; one that left the kernel before it need not."""
        by_warp: dict[int, list[Thread]] = defaultdict(list)
        for thread in group:
            by_warp[thread.linear // WARP].append(thread)
        for number, lanes in by_warp.items():
            first = lanes[0]
            stray = next((thread for thread in lanes if thread.place != first.place), None)
            if stray is not None:
                line = self._at(stray).line
                self._report(first, f"stands at a barrier while thread {stray.index} stands at another (line {line})")
            for thread in self._threads[number * WARP : (number + 1) * WARP]:
                if thread.is_over and thread.came_from > first.place:
                    self._report(first, f"waits at a barrier that thread {thread.index} went past without it")
                    break

    def _report(self, thread: Thread, message: str, kind: Kind = Kind.BARRIER) -> None:
        ins = self._at(thread)
        self._program.watch.report(thread, kind, ins.line, self._program.text(ins), message)

    def _report_stuck(self) -> None:
        """Nobody can go on: name one who waits and one who keeps it waiting."""
        held = [thread for thread in self._threads if thread.is_held]
        waiting = next((t for t in held if not warpwide.is_warp_wide(self._at(t))), held[0])
        other = next((t for t in held if t.place != waiting.place), None)
        kind = Kind.WARP if warpwide.is_warp_wide(self._at(waiting)) else Kind.BARRIER
        if other is None:
            self._report(waiting, "waits for threads that never come", kind)
        else:
            where = self._at(other).line
            self._report(waiting, f"waits for ever, while thread {other.index} waits at PTX line {where}", kind)


def _release(group: list[Thread]) -> None:
    for thread in group:
        thread.place += 1
        thread.is_held = False


def _unfold(linear: int, dims: Index) -> Index:
    x, y, _ = dims
    return linear % x, linear // x % y, linear // x // y
