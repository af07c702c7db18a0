"""A kernel's addresses in one world: the values of registers, carried forward along the control flow.

Blocks come in an order in which every loop is contiguous (see `flow`), so one pass settles everything but loops. For
a loop, a first pass with its registers unknown and wrap-around ignored proposes: these registers grow by a fixed step,
these conditions hold at its head. Then passes that assume the proposals check each of them, without ignoring anything,
for the way back to the head; what fails is dropped, until all that is left follows from itself and from the entry
(Flanagan and Leino, "Houdini, an annotation assistant for ESC/Java", 2001).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from p2pcompute.compute.ptx import flow
from p2pcompute.compute.ptx.effects import ACCESSES
from p2pcompute.compute.ptx.ir import Address, Entry, Instruction, Module
from p2pcompute.compute.ptx.shapes import shape_of
from p2pcompute.compute.ptx.symbolic.operations import Operations, State, merged
from p2pcompute.compute.ptx.symbolic.polynomial import Poly
from p2pcompute.compute.ptx.symbolic.ranges import Facts
from p2pcompute.compute.ptx.symbolic.value import (
    Condition,
    Number,
    Value,
    differences,
    inequalities,
    negated,
)
from p2pcompute.compute.ptx.symbolic.world import World, pointer_part
from p2pcompute.compute.ptx.types import TYPES
from p2pcompute.errors import P2PComputeError

VISITS_MAX: Final = 400_000
"""Instructions looked at, each as often as the loops around it are passed: about two seconds."""
_STEP_TERMS_MAX: Final = 8


class TooComplexError(P2PComputeError):
    """The kernel's loops take more passes than the analysis allows itself."""


@dataclass(frozen=True, slots=True)
class Place:
    """One access where it happens: its address as a polynomial (a number of the register's width), and what holds."""

    instruction: Instruction
    address: Poly
    facts: Facts
    size_bytes: int


@dataclass(frozen=True, slots=True)
class _Guess:
    """Of one loop. `steps`: registers that grow by a fixed step per turn; `pointers`: those that stay addresses of the
    same memory; `facts`: polynomials, in the turn counter, with upper bounds.
    """

    steps: Mapping[str, Poly]
    pointers: frozenset[str]
    facts: Mapping[Poly, int]


class Evaluation:
    """One run over an entry. `places` has every access but those to parameters, by line."""

    def __init__(self, module: Module, entry: Entry, world: World) -> None:
        self._world = world
        self._graph = flow.build(entry)
        self._operations = Operations(module, entry, world)
        self._arriving: dict[int, list[State]] = {0: [State()]}
        self._returning: dict[int, list[State]] = {}
        self._loops = {loop.head: loop for loop in self._graph.loops}
        self._inside: set[int] = set()
        self._proposing = False
        self._visits = 0
        self.places: dict[int, Place] = {}
        self._region(0, len(self._graph.blocks))

    # Blocks ------------------------------------------------------------------------------------------------------

    def _region(self, first: int, stop: int) -> None:
        index = first
        while index < stop:
            loop = self._loops.get(index)
            if loop is not None and index not in self._inside:
                self._loop(loop)
                index = loop.last + 1
            else:
                self._block(index, self._met(index))
                index += 1

    def _met(self, index: int) -> State | None:
        """All ways into a block together."""
        states = self._arriving.get(index, [])
        if len(states) < 2:
            return states[0] if states else None
        facts = states[0].facts
        for state in states[1:]:
            facts = facts.common(state.facts)
        registers: dict[str, Value] = {}
        for name in sorted(self._graph.live_in[index]):
            value = merged(self._world, [state.registers.get(name) for state in states], (index, name), index)
            if value is not None:
                registers[name] = value
        return State(registers, facts)

    def _block(self, index: int, state: State | None) -> None:
        if state is None:
            return
        block = self._graph.blocks[index]
        self._visits += len(block.core) + 1
        if self._visits > VISITS_MAX:
            raise TooComplexError(f"The loops of the kernel take more than {VISITS_MAX} steps to analyse.")
        registers, facts = dict(state.registers), state.facts
        for ins in block.core:
            self._note(ins, State(registers, facts))
            results = self._operations.results(ins, State(registers, facts), index)
            for register in ins.writes():
                old, new = registers.pop(register.name, None), results.get(register.name)
                if ins.guard is not None:
                    new = merged(self._world, [old, new], (ins.line, register.name), index) if new and old else None
                if new is not None:
                    registers[register.name] = new
        if block.end is not None:
            for register in block.end.writes():
                registers.pop(register.name, None)
        self._leave(index, State(registers, facts))

    def _note(self, ins: Instruction, state: State) -> None:
        if ins.opcode not in ACCESSES or ins.modifier("space") == "param":
            return
        address = ins.destinations[0] if ins.opcode == "st" else ins.sources[0]
        if ins.opcode == "red":
            address = ins.sources[0]
        assert isinstance(address, Address)
        facts = state.facts
        if ins.guard is not None:
            facts = self._assumed(facts, self._guard(ins, state))
        size = shape_of(ins).size_bytes if ins.opcode in ("ld", "st") else TYPES[ins.types[0]].size_bytes
        poly = self._operations.address(address, state, ins.line)
        self.places[ins.line] = Place(ins, poly, facts, size)

    def _guard(self, ins: Instruction, state: State) -> Condition:
        assert ins.guard is not None
        condition = self._operations.condition(ins.guard, state)
        return negated(condition) if ins.guard_negated else condition

    def _leave(self, index: int, state: State) -> None:
        block = self._graph.blocks[index]
        if not block.is_conditional:
            for successor in block.successors:
                self._go(index, successor, state)
            return
        assert block.end is not None
        condition = self._guard(block.end, state)
        for successor, holds in zip(block.successors, (condition, negated(condition)), strict=True):
            if self._proposing or self._operations.decided(holds, state.facts) is not False:
                self._go(index, successor, State(state.registers, self._assumed(state.facts, holds)))

    def _go(self, index: int, successor: int, state: State) -> None:
        ways = self._returning if successor <= index else self._arriving
        ways.setdefault(successor, []).append(state)

    def _assumed(self, facts: Facts, condition: Condition) -> Facts:
        for poly in inequalities(condition):
            facts = facts.holding(poly, 0)
        for poly in differences(condition):
            low, high = self._world.ranges.of(poly, facts)
            if high == 0 or self._proposing:
                facts = facts.holding(poly, -1)
            if low == 0 or self._proposing:
                facts = facts.holding(poly.scaled(-1), -1)
        return facts

    # Loops -------------------------------------------------------------------------------------------------------

    def _loop(self, loop: flow.Loop) -> None:
        entry = self._met(loop.head)
        if entry is None:
            return
        written = {
            register.name
            for block in self._graph.blocks[loop.head : loop.last + 1]
            for ins in (*block.core, *([block.end] if block.end else []))
            for register in ins.writes()
        }
        numbers = {n: v for n in sorted(written) if isinstance(v := entry.registers.get(n), Number)}
        kept = {name: value for name, value in entry.registers.items() if name not in written}
        pointers = frozenset(name for name, value in numbers.items() if pointer_part(value.poly).terms)
        marks = self._marks()
        guess = _Guess({}, pointers, {})
        was = self._world.trusting, self._proposing
        self._world.trusting = self._proposing = True
        back = self._turn(loop, entry, kept, numbers, guess, marks)
        self._world.trusting, self._proposing = was
        guess = self._proposed(loop, entry, numbers, back, guess)
        while True:
            back = self._turn(loop, entry, kept, numbers, guess, marks)
            left = self._confirmed(loop, numbers, back, guess)
            if left == guess:
                return
            guess = left

    def _marks(self) -> list[dict[int, int]]:
        """How many states have come to each block by now."""
        return [{index: len(states) for index, states in ways.items()} for ways in (self._arriving, self._returning)]

    def _turn(
        self,
        loop: flow.Loop,
        entry: State,
        kept: Mapping[str, Value],
        numbers: Mapping[str, Number],
        guess: _Guess,
        marks: list[dict[int, int]],
    ) -> list[State]:
        """One pass over the body, which forgets what the pass before it sent out; the states that come back."""
        for ways, mark in zip((self._arriving, self._returning), marks, strict=True):
            for index, states in ways.items():
                del states[mark.get(index, 0) :]
        facts = entry.facts
        for poly, most in guess.facts.items():
            facts = facts.holding(poly, most)
        registers: dict[str, Value] = dict(kept)
        for name, number in numbers.items():
            registers[name] = Number(self._at_head(loop, name, number, guess), number.bits)
        self._inside.add(loop.head)
        self._block(loop.head, State(registers, facts))
        self._region(loop.head + 1, loop.last + 1)
        self._inside.discard(loop.head)
        return list(self._returning.get(loop.head, []))

    def _turns(self, loop: flow.Loop) -> Poly:
        """The symbol that counts the turns before this one."""
        return Poly.symbol(self._world.born(loop.head, "turn", (0, None), loop.head))

    def _unknown_at(self, loop: flow.Loop, name: str, bits: int) -> Poly:
        return Poly.symbol(self._world.born((loop.head, name), "loop", (0, (1 << bits) - 1), loop.head))

    def _at_head(self, loop: flow.Loop, name: str, number: Number, guess: _Guess) -> Poly:
        if name in guess.steps:
            return number.poly + self._turns(loop) * guess.steps[name]
        unknown = self._unknown_at(loop, name, number.bits)
        return unknown + pointer_part(number.poly) if name in guess.pointers else unknown

    def _proposed(
        self, loop: flow.Loop, entry: State, numbers: Mapping[str, Number], back: list[State], first: _Guess
    ) -> _Guess:
        """What the pass with unknown registers suggests."""
        body = range(loop.head, loop.last + 1)
        turns = self._turns(loop)
        steps: dict[str, Poly] = {}
        by_turn: dict[str, Poly] = {}
        for name, number in numbers.items():
            ends = [state.registers.get(name) for state in back]
            head = self._at_head(loop, name, number, first)
            grown = {end.poly - head for end in ends if isinstance(end, Number)}
            if len(grown) == 1 and all(isinstance(end, Number) for end in ends):
                step = grown.pop()
                if self._world.is_fixed(step, body) and len(step.terms) * len(turns.terms) < _STEP_TERMS_MAX:
                    steps[name] = step
                    (symbol,) = self._unknown_at(loop, name, number.bits).symbols()
                    pointer = pointer_part(number.poly) if name in first.pointers else Poly()
                    by_turn[symbol] = number.poly - pointer + (turns - Poly.constant(1)) * step
        facts: dict[Poly, int] = {}
        for state in back[:1]:
            for key, most in state.facts.bounds.items():
                if key in entry.facts.bounds:
                    continue
                for symbol, poly in by_turn.items():
                    key = key.replaced(symbol, poly)
                others = [s for s in key.symbols() if s not in set(turns.symbols())]
                if self._world.is_fixed(Poly.of({(s,): 1 for s in others}), body):
                    start = self._world.ranges.of(key.replaced(next(turns.symbols()), Poly()), entry.facts)[1]
                    if start is not None and start <= most:
                        facts[key] = most
        return _Guess(steps, first.pointers, facts)

    def _confirmed(self, loop: flow.Loop, numbers: Mapping[str, Number], back: list[State], guess: _Guess) -> _Guess:
        """What of a guess holds again at the head, one turn later."""
        (turn,) = self._turns(loop).symbols()
        later = Poly.symbol(turn) + Poly.constant(1)
        steps, pointers = dict(guess.steps), set(guess.pointers)
        for state in back:
            for name, number in numbers.items():
                end = state.registers.get(name)
                head = self._at_head(loop, name, number, guess)
                if name in steps and not (isinstance(end, Number) and end.poly == head.replaced(turn, later)):
                    del steps[name]
                elif name in pointers and not (
                    isinstance(end, Number) and pointer_part(end.poly) == pointer_part(number.poly)
                ):
                    pointers.discard(name)
        facts = {
            key: most
            for key, most in guess.facts.items()
            if all(self._implies(state, key.replaced(turn, later), most) for state in back)
        }
        return _Guess(steps, frozenset(pointers), facts)

    def _implies(self, state: State, poly: Poly, most: int) -> bool:
        high = self._world.ranges.of(poly, state.facts)[1]
        return high is not None and high <= most
