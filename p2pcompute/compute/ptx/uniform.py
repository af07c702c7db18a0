"""Which registers hold the same value in all lanes of a warp, or values in arithmetic progression.

A uniform register becomes a scalar. An affine one is kept as the scalar value of the first lane of each segment (lanes
with consecutive `tid.x`); its lanes are first + lane * stride, computed where they are needed. Memory accesses whose
address is affine with the stride of the element become one bounds check and one contiguous access per segment.

Soundness: an affine register is linear in the lane number modulo 2**width, unless its flag says otherwise. Two things
break the line, and both set the flag at run time (`progression`), from where it is handed on to all that is computed
from the register: a widening conversion (cvt, mul.wide) of a value that wraps between two lanes, which shows in the
distance of first and last lane, since strides stay below 2**(width - 1) / 64, so that a team wraps at most once; and
writing a register in some lanes only while others still need its old value (`blended`). A line that is not flagged is
exact, so it may be widened again. Widenings that break no line in this launch (`trusted`, see `ranges`) need no flag.
Stride 0 means that all lanes of a segment hold the same bits, whatever happened before; such values are never flagged,
and vary if they are blended.

Besides, each kind knows how many low bits of a segment's first lane are zero: `tid.x >> 5`, `tid.x & 31` and their
like, which kernels write all over, then are uniform or affine too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from p2pcompute.compute.ptx import patterns
from p2pcompute.compute.ptx.flow import Graph
from p2pcompute.compute.ptx.ir import Address, Group, Immediate, Instruction, Operand, Register, Special, registers_of
from p2pcompute.compute.ptx.patterns import Lanes
from p2pcompute.compute.ptx.types import TYPES

WARP: Final = 32
TEAM_LANES_MAX: Final = 64
"""Lanes of two warps in lockstep (see `teams`)."""
SEGMENT_LANES_MIN: Final = 8
"""Below this a gather is as cheap as the segments' pieces."""


@dataclass(frozen=True, slots=True)
class Kind:
    """`uniform`, `affine` with a stride, `pattern` (the first lane plus constants: see `patterns`), or `varying`."""

    name: str
    stride: int = 0
    widened: bool = False
    flagged: bool = False
    """Carries a flag at run time that says when its lanes are not in progression after all (see `progression`)."""
    zeros: int = 0
    """Low bits that are zero in the first lane of each segment (in all lanes if uniform), at most ZEROS_MAX."""
    lanes: Lanes | None = None
    """Of patterns, and of affine values where more is known than the stride; in warps of one segment only."""

    @property
    def is_uniform(self) -> bool:
        return self.name == "uniform"

    @property
    def is_affine(self) -> bool:
        """Kept as the scalar of the first lane of each segment."""
        return self.name in ("affine", "pattern")

    @property
    def is_pattern(self) -> bool:
        return self.name == "pattern"

    def offsets(self, lanes: int) -> range | tuple[int, ...]:
        """What each lane of a segment of so many is more than the first."""
        if self.is_pattern:
            assert self.lanes is not None
            return self.lanes.delta
        return range(0, lanes * self.stride, self.stride) if self.stride else (0,) * lanes


ZEROS_MAX: Final = 6
PATTERN_REACH_MAX: Final = 1 << 40
"""Between the first lane and any other."""
UNIFORM: Final = Kind("uniform")
VARYING: Final = Kind("varying")


def affine(stride: int, *, widened: bool = False) -> Kind:
    return Kind("affine", stride, widened and stride != 0, flagged=widened and stride != 0)


def trailing_zeros(value: int) -> int:
    return min(ZEROS_MAX, (value & -value).bit_length() - 1) if value else ZEROS_MAX


@dataclass(frozen=True, slots=True)
class Layout:
    """How the threads of a block (x, y, z) lie in its warps, and in its teams: `lanes` that run in lockstep, those of
    one warp or of two.
    """

    block: tuple[int, int, int]
    lanes: int = WARP

    @property
    def threads(self) -> int:
        x, y, z = self.block
        return x * y * z

    @property
    def warps(self) -> int:
        return -(-self.threads // WARP)

    @property
    def teams(self) -> int:
        return -(-self.threads // self.lanes)

    @property
    def is_linear(self) -> bool:
        return self.block[1] == 1 and self.block[2] == 1

    @property
    def segment(self) -> int:
        """Lanes that surely have consecutive `tid.x` and equal `tid.y`, `tid.z`."""
        if self.is_linear:
            return self.lanes
        lanes = self.lanes
        while self.block[0] % lanes:
            lanes //= 2
        return lanes

    @property
    def segments(self) -> int:
        return self.lanes // self.segment

    def special(self, name: str) -> Kind:
        head, _, axis = name.partition(".")
        if head.startswith("lanemask"):
            return VARYING
        if head == "ntid":
            return replace(UNIFORM, zeros=trailing_zeros(self.block["xyz".index(axis)]))
        if head not in ("tid", "laneid"):
            return UNIFORM
        if head == "tid" and axis != "x" and (self.is_linear or self.block[0] % self.lanes == 0):
            return UNIFORM
        if self.segment < SEGMENT_LANES_MIN:
            return VARYING
        if head != "laneid" and axis != "x":
            return affine(0)
        lanes = (
            patterns.consecutive(-1 if head == "laneid" else self.lanes - 1, self.lanes) if self.segments == 1 else None
        )
        return replace(affine(1), zeros=trailing_zeros(self.segment), lanes=lanes)


@dataclass(slots=True)
class Analysis:
    """Per register: its kind, and whether a write must keep the bits of inactive lanes (`blended`)."""

    kinds: dict[str, Kind]
    blended: frozenset[str]
    constants: dict[str, int]
    layout: Layout
    trusted: frozenset[int] = frozenset()

    def kind(self, operand: Operand) -> Kind:
        match operand:
            case Register(name):
                return self.kinds.get(name, UNIFORM)
            case Special(name):
                return self.layout.special(name)
            case _:
                kinds = [self.kinds.get(register.name, UNIFORM) for register in registers_of(operand)]
                return UNIFORM if all(kind.is_uniform for kind in kinds) else VARYING

    def relied_on(self, instructions: Iterable[Instruction]) -> frozenset[int]:
        """The trusted widenings among these of lines that might break."""
        return frozenset(
            id(ins)
            for ins in instructions
            if id(ins) in self.trusted and any(self.kind(o).stride or self.kind(o).is_pattern for o in ins.sources)
        )


_EDGES: Final = {**dict.fromkeys(("lt", "lo", "ge", "hs"), 0), **dict.fromkeys(("le", "ls", "gt", "hi"), -1)}
"""A bound's place in a team's numbers where a comparison with it gives the same on both sides of it."""
_PLAIN: Final = (Register, Special, Immediate)
_PER_LANE: Final = frozenset({"shfl", "atom", "match", "activemask", "tex"})
_WARP_WIDE: Final = frozenset({"vote", "bar", "barrier"})


def analyse(
    graph: Graph, layout: Layout, register_types: dict[str, str], trusted: frozenset[int] = frozenset()
) -> Analysis:
    """Optimistic fixpoint over kinds, divergent branches and blended registers together; all three only grow. `trusted`
    are the widenings (by id) that break no line.
    """
    return _Fixpoint(graph, layout, register_types, trusted).run()


class _Fixpoint:
    def __init__(self, graph: Graph, layout: Layout, register_types: dict[str, str], trusted: frozenset[int]) -> None:
        self._graph = graph
        self._layout = layout
        self._types = register_types
        self._trusted = trusted
        self._kinds: dict[str, Kind] = dict.fromkeys(graph.live_in[0], UNIFORM)
        self._blended: set[str] = set()
        self._divergent: set[int] = set()
        self._constants = _constants(graph, layout)

    def run(self) -> Analysis:
        changed = True
        while changed:
            changed = False
            for block in self._graph.blocks:
                for instruction in (*block.core, *([block.end] if block.end else [])):
                    changed |= self._update(instruction)
                changed |= self._diverge(block.index)
        return Analysis(dict(self._kinds), frozenset(self._blended), self._constants, self._layout, self._trusted)

    def _update(self, instruction: Instruction) -> bool:
        kind = self._transfer(instruction)
        changed = False
        for register in instruction.writes():
            joined = _join(self._kinds.get(register.name), kind)
            if register.name in self._blended and joined is not None:
                joined = replace(joined, flagged=True, zeros=0) if joined.stride else VARYING
            if joined is not None and not self._may_be_affine(register):
                joined = VARYING if joined.is_affine else joined
            if joined != self._kinds.get(register.name):
                assert joined is not None
                self._kinds[register.name] = joined
                changed = True
        return changed

    def _may_be_affine(self, register: Register) -> bool:
        declared = TYPES[self._types[register.name]]
        return declared.kind in "bus" and declared.bits >= 16

    def _operand(self, operand: Operand) -> Kind | None:
        """None while nothing is known yet."""
        match operand:
            case Register(name):
                return self._kinds.get(name)
            case Special(name):
                return self._layout.special(name)
            case Address(Register(name)):
                return self._kinds.get(name)
            case Immediate(value) if operand.kind == "int":
                return replace(UNIFORM, zeros=trailing_zeros(value))
            case _:
                kinds = [self._kinds.get(register.name) for register in registers_of(operand)]
                if None in kinds:
                    return None
                return UNIFORM if all(kind.is_uniform for kind in kinds if kind) else VARYING

    def _transfer(self, instruction: Instruction) -> Kind | None:
        kinds = [self._operand(operand) for operand in instruction.sources]
        if instruction.opcode in ("addc", "subc", "madc"):
            kinds.append(self._kinds.get("%cc"))
        if instruction.guard is not None:
            kinds.append(self._kinds.get(instruction.guard.name))
            kinds.extend(self._kinds[r.name] for r in instruction.writes() if r.name in self._kinds)
        known = [kind for kind in kinds if kind is not None]
        if len(known) != len(kinds):
            return None
        guard_varies = instruction.guard is not None and not all(kind.is_uniform for kind in known)
        if instruction.opcode in _PER_LANE or guard_varies:
            return VARYING
        if instruction.opcode == "vote" and not known[1].is_uniform:
            return VARYING  # parts of a warp vote apart, each with a mask of its own
        if instruction.opcode in _WARP_WIDE:
            return UNIFORM
        if instruction.opcode == "ld" and instruction.modifier("space") in (None, "local"):
            return VARYING
        if all(kind.is_uniform for kind in known):
            return replace(UNIFORM, zeros=self._zeros(instruction, known))
        if instruction.opcode == "ld" or any(kind == VARYING for kind in known) or instruction.guard is not None:
            return VARYING
        if instruction.opcode == "mov" and any(isinstance(o, Group) for o in _operands(instruction)):
            return VARYING
        if self._agrees(instruction, known):
            return UNIFORM
        pattern = self._pattern(instruction, known)
        if pattern is not None:
            return pattern
        if any(kind.is_pattern for kind in known):
            return VARYING
        if all(kind.stride == 0 for kind in known):
            return affine(0)
        kind = _bounded(self._bitwise(instruction, known) or self._linear(instruction, known), instruction)
        if kind.stride and any(source.flagged for source in known):
            kind = replace(kind, flagged=True)
        return replace(kind, zeros=self._zeros(instruction, known)) if kind.is_affine and not kind.zeros else kind

    def _pattern(self, instruction: Instruction, kinds: list[Kind]) -> Kind | None:
        """The result if constants are all in which its lanes differ and no flag is needed to say so."""
        is_integer = instruction.types and all(TYPES[name].kind in "bus" for name in instruction.types)
        if self._layout.segments > 1 or not is_integer or any(kind.flagged for kind in kinds):
            return None
        sources = [self._lanes(operand, kind) for operand, kind in zip(instruction.sources, kinds, strict=True)]
        lanes = patterns.transfer(instruction, sources, may_widen=id(instruction) in self._trusted)
        if lanes is None or max(map(abs, lanes.delta)) >= PATTERN_REACH_MAX:
            return None
        if lanes.stride is None:
            return Kind("pattern", lanes=lanes)
        return replace(
            affine(lanes.stride) if lanes.stride else UNIFORM, lanes=lanes, zeros=lanes.first_zeros(ZEROS_MAX)
        )

    def _agrees(self, instruction: Instruction, kinds: list[Kind]) -> bool:
        """A comparison like `tid < 32` that all lanes decide alike: their numbers lie between two multiples of 32."""
        if instruction.opcode != "setp" or len(kinds) != 2 or TYPES[instruction.types[0]].kind not in "us":
            return False
        moving, bound = kinds[0], self._constant(instruction.sources[1])
        if (
            bound is None
            or moving.stride != 1
            or moving.is_pattern
            or moving.flagged
            or moving.zeros < self._layout.lanes.bit_length() - 1
        ):
            return False  # zeros are fewer where a warp has several segments
        edge = _EDGES.get(instruction.modifier("cmp") or "")
        return edge is not None and (bound - edge) % self._layout.lanes == 0

    def _lanes(self, operand: Operand, kind: Kind) -> Lanes:
        if kind.lanes is not None:
            return kind.lanes
        value = self._constant(operand)
        if value is not None:
            return patterns.constant(value, self._layout.lanes)
        if kind.stride:
            return patterns.line(kind.stride, self._layout.lanes)
        return patterns.uniform(kind.zeros, self._layout.lanes)

    def _zeros(self, instruction: Instruction, kinds: list[Kind]) -> int:
        """Zero low bits of an integer result, from those of its operands."""
        if not instruction.types or not all(TYPES[name].kind in "bus" for name in instruction.types):
            return 0
        if instruction.guard is not None or instruction.has("hi") or instruction.has("sat"):
            return 0
        zeros = [kind.zeros for kind in kinds]
        match instruction.opcode:
            case "mov" | "cvta" | "cvt" if len(zeros) == 1 and isinstance(instruction.sources[0], _PLAIN):
                return zeros[0]
            case "add" | "sub":
                return min(zeros)
            case "mul":
                return min(ZEROS_MAX, zeros[0] + zeros[1])
            case "mad":
                return min(ZEROS_MAX, zeros[0] + zeros[1], zeros[2])
            case "shl":
                return min(ZEROS_MAX, zeros[0] + max(0, self._constant(instruction.sources[1]) or 0))
            case _:
                return 0

    def _bitwise(self, instruction: Instruction, kinds: list[Kind]) -> Kind | None:
        """`x >> k` and `x & c` of consecutive values whose first is a multiple of the segment: the lane number is in
        the low bits and carries into none of the others.
        """
        if instruction.opcode not in ("shr", "and") or instruction.guard is not None:
            return None
        if TYPES[instruction.types[0]].kind not in "bus" or TYPES[instruction.types[0]].bits < 16:
            return None
        moving, constant = kinds[0], self._constant(instruction.sources[1])
        low = self._layout.segment.bit_length() - 1
        if constant is None or moving.stride != 1 or moving.flagged or moving.zeros < low:
            return None
        still = UNIFORM if self._layout.segments == 1 else affine(0)
        if instruction.opcode == "shr":
            return still if constant >= low else None
        bits = constant & (self._layout.segment - 1)
        if bits == self._layout.segment - 1:
            return replace(affine(1), zeros=low)
        return None if bits else still

    def _constant(self, operand: Operand) -> int | None:
        if isinstance(operand, Register):
            return self._constants.get(operand.name)
        return _number(operand, self._layout)

    def _linear(self, instruction: Instruction, kinds: list[Kind]) -> Kind:
        """Kind of an integer operation with at least one operand of non-zero stride."""
        if not instruction.types or TYPES[instruction.types[0]].kind not in "bus" or instruction.has("cc"):
            return VARYING
        if any(TYPES[name].is_float for name in instruction.source_types if name in TYPES):
            return VARYING
        sources = instruction.sources
        match instruction.opcode:
            case "mov" | "cvta":
                return kinds[0]
            case "add" | "sub" if not instruction.has("sat"):
                return _sum(kinds[0], kinds[1], -1 if instruction.opcode == "sub" else 1)
            case "cvt":
                return self._converted(instruction, kinds[0])
            case "shl":
                amount = self._constant(sources[1])
                return _scaled(kinds[0], 1 << amount) if amount is not None and 0 <= amount < 32 else VARYING
            case "mul" | "mad" if not instruction.has("hi") and not instruction.has("sat"):
                product = self._product(instruction, kinds)
                return _sum(product, kinds[2], 1) if instruction.opcode == "mad" else product
            case _:
                return VARYING

    def _product(self, instruction: Instruction, kinds: list[Kind]) -> Kind:
        left, right = kinds[0], kinds[1]
        if left.stride == 0 and right.stride == 0:
            return affine(0)
        moving, factor = (
            (left, self._constant(instruction.sources[1]))
            if left.stride
            else (right, self._constant(instruction.sources[0]))
        )
        if factor is None or (left.stride and right.stride):
            return VARYING
        return _scaled(
            self._widened(moving, instruction, instruction.types[0]) if instruction.has("wide") else moving, factor
        )

    def _converted(self, instruction: Instruction, kind: Kind) -> Kind:
        destination, source = (TYPES[name] for name in instruction.types)
        if instruction.has("sat") or source.bits < 16 or destination.bits < 16:
            return VARYING
        if destination.bits <= source.bits:  # a line modulo 2**64 is one modulo 2**32
            return affine(kind.stride, widened=kind.widened)
        return self._widened(kind, instruction, source.name)

    def _widened(self, kind: Kind, instruction: Instruction, type_name: str) -> Kind:
        if not _fits(kind.stride, TYPES[type_name].bits):
            return VARYING if kind.stride else affine(0)
        return affine(kind.stride, widened=kind.widened or id(instruction) not in self._trusted)

    def _diverge(self, index: int) -> bool:
        """Mark a branch on a varying condition, and what it blends. A register is blended when one side of the branch
        writes it while it is live somewhere on the other side, where both sides meet, or behind them.
        """
        block = self._graph.blocks[index]
        if not block.is_conditional or index in self._divergent:
            return False
        assert block.end is not None
        assert block.end.guard is not None
        kind = self._kinds.get(block.end.guard.name)
        if kind is None or kind.is_uniform:
            return False
        self._divergent.add(index)
        graph = self._graph
        join = graph.post_dominator[index]
        sides = [graph.reach(successor, join) for successor in block.successors]
        meeting = graph.live_in[join].union(*(graph.live_in[b] for b in sides[0] & sides[1]))
        for mine, theirs in ((0, 1), (1, 0)):
            written = {r.name for b in sides[mine] for r in self._written(b)}
            other = sides[theirs] - sides[mine]
            live = meeting.union(*(graph.live_in[b] for b in other), graph.live_in[block.successors[theirs]])
            self._blended |= written & live
        return True

    def _written(self, index: int) -> list[Register]:
        block = self._graph.blocks[index]
        return [r for i in (*block.core, *([block.end] if block.end else [])) for r in i.writes()]


def _operands(instruction: Instruction) -> tuple[Operand, ...]:
    return (*instruction.sources, *instruction.destinations)


def _constants(graph: Graph, layout: Layout) -> dict[str, int]:
    """Registers written once, by an unguarded move of an integer, or of the block's size."""
    writes: Counter[str] = Counter()
    values: dict[str, int] = {}
    for block in graph.blocks:
        for instruction in block.core:
            targets = [register.name for register in instruction.writes()]
            writes.update(targets)
            if instruction.opcode == "mov" and instruction.guard is None:
                value = _number(instruction.sources[0], layout)
                if value is not None:
                    values.update(dict.fromkeys(targets, value))
    entry_live = graph.live_in[0]
    return {name: value for name, value in values.items() if writes[name] == 1 and name not in entry_live}


def _number(operand: Operand, layout: Layout) -> int | None:
    match operand:
        case Immediate(value, "int"):
            return value
        case Special(name) if name.startswith("ntid."):
            return layout.block["xyz".index(name[-1])]
        case _:
            return None


def _join(left: Kind | None, right: Kind | None) -> Kind | None:
    if left is None or right is None or left == right:
        return right if left is None else left
    if VARYING in (left, right) or left.stride != right.stride or left.is_pattern != right.is_pattern:
        return VARYING
    if left.is_pattern:
        assert left.lanes is not None
        assert right.lanes is not None
        same = left.lanes.delta == right.lanes.delta
        return Kind("pattern", lanes=patterns.differing_by(left.lanes.delta)) if same else VARYING
    zeros = min(left.zeros, right.zeros)
    if left.is_uniform and right.is_uniform:
        return replace(UNIFORM, zeros=zeros)
    merged = affine(left.stride, widened=left.widened or right.widened)
    return replace(merged, zeros=zeros, flagged=left.flagged or right.flagged)


def _sum(left: Kind, right: Kind, sign: int) -> Kind:
    if VARYING in (left, right) or (left.stride and right.stride and (left.flagged or right.flagged)):
        return VARYING
    return affine(left.stride + sign * right.stride, widened=left.widened or right.widened)


def _scaled(kind: Kind, factor: int) -> Kind:
    return VARYING if kind == VARYING else affine(kind.stride * factor, widened=kind.widened)


def _fits(stride: int, bits: int) -> bool:
    return abs(stride) * TEAM_LANES_MAX < 1 << (bits - 1)


def _bounded(kind: Kind, instruction: Instruction) -> Kind:
    """Drop strides that could wrap twice within a warp."""
    if not kind.is_affine or kind.stride == 0:
        return kind
    bits = TYPES[instruction.destination_types[0]].bits
    return kind if _fits(kind.stride, bits) else VARYING
