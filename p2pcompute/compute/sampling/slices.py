"""The address slice of a kernel: what its addresses and guards need, and nothing else, as a kernel of its own.

    claim: instead of each store, the block's number plus one goes into a map of the buffer
    check: each store must find its own number there, and each load of a stored buffer its own or none

A slice keeps the instructions on which addresses and guards depend, and the branches on which those depend (Ferrante,
Ottenstein and Warren, "The program dependence graph and its use in optimization", 1987); any other branch becomes a
jump to where its ways meet again, which drops whole loops of arithmetic. It loads no data: where an address or a guard
depends on what memory holds, no slice can be cut.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from p2pcompute.compute.ptx import effects, flow
from p2pcompute.compute.ptx.canonicalise import canonicalise
from p2pcompute.compute.ptx.ir import Entry, Instruction, Module, Special, registers_of
from p2pcompute.compute.ptx.launch import canonical_form
from p2pcompute.compute.ptx.parse import parse
from p2pcompute.compute.ptx.symbolic import SymbolicAccess
from p2pcompute.errors import UsageError

_GUARD: Final = re.compile(r"@!?(%[\w.$]+)\s")
_ADDRESS: Final = re.compile(r"\[(%[\w.$]+)(?:\+(-?\d+))?\]")
_KNOWN_SPECIALS: Final = frozenset({"tid", "ntid", "ctaid", "nctaid", "laneid"})
_WORDS_MAX: Final = 4
"""Elements of one vector access."""


@dataclass(frozen=True, slots=True)
class Slice:
    """`claim` and `check` are entries of `module`; they take the kernel's parameters, then a map of u32 for each buffer
    of `buffers` (one per `granules[buffer]` bytes), then the conflicts: a u32 for each line of `lines`.
    """

    module: Module
    buffers: tuple[str, ...]
    granules: Mapping[str, int]
    lines: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Needed:
    """Lines of instructions that stay, branches (by block) that stay, and what stands in the way."""

    lines: frozenset[int]
    branches: frozenset[int]
    obstacles: tuple[tuple[int, str], ...]


def obstacles(module: Module, entry: Entry, accesses: Sequence[SymbolicAccess]) -> list[tuple[int, str]]:
    """Why no slice can be cut, as PTX line and sentence; empty when one can. `module` is canonical."""
    graph = flow.build(entry)
    return sorted(_needed(graph, _relevant(accesses)).obstacles)


def cut(module: Module, entry: Entry, accesses: Sequence[SymbolicAccess], buffers: Mapping[int, str]) -> Slice:
    """The slice of a canonical kernel. `buffers`: offset in the parameter block -> buffer. Raises UsageError where
    `obstacles` names one.
    """
    relevant = _relevant(accesses)
    graph = flow.build(entry)
    for access in accesses:
        if access.base not in buffers.values() and (access.is_store or not access.base):
            raise UsageError(f"No address slice of '{entry.name}': line {access.line}: the buffer is not known.")
    needed = _needed(graph, relevant)
    if needed.obstacles:
        line, sentence = min(needed.obstacles)
        raise UsageError(f"No address slice of '{entry.name}': line {line}: {sentence}.")
    names = tuple(dict.fromkeys(access.base for access in relevant))
    granules = {name: min(access.size_bytes for access in relevant if access.base == name) for name in names}
    writer = _Writer(module, entry, graph, needed, relevant, granules, buffers)
    head = [f".version {module.version}", f".target {module.target}", ".address_size 64"]
    text = "\n".join([*head, *writer.kernel("claim"), *writer.kernel("check")]) + "\n"
    lines = tuple(access.line for access in relevant)
    return Slice(parse(canonicalise(parse(text))), names, granules, lines)


def _relevant(accesses: Sequence[SymbolicAccess]) -> list[SymbolicAccess]:
    """All accesses to buffers that some access stores to."""
    stored = {access.base for access in accesses if access.is_store}
    return [access for access in accesses if access.base in stored]


# What stays ----------------------------------------------------------------------------------------------------------


class _Closure:
    """What stays, found from the accesses backwards."""

    def __init__(self, graph: flow.Graph) -> None:
        self._graph = graph
        self._definitions: dict[str, list[tuple[int, Instruction]]] = {}
        self._places: dict[int, tuple[int, Instruction]] = {}
        for block in graph.blocks:
            for ins in (*block.core, *([block.end] if block.end else [])):
                self._places[ins.line] = (block.index, ins)
                for register in ins.writes():
                    self._definitions.setdefault(register.name, []).append((block.index, ins))
        self._control = _control(graph)
        self._registers: list[str] = []
        self._seen: set[str] = set()
        self._blocks: set[int] = set()
        self.lines: set[int] = set()
        self.branches: set[int] = set()
        self.obstacles: set[tuple[int, str]] = set()

    def start(self, line: int) -> None:
        """An access: its address and guard are needed, and whatever decides whether it happens."""
        index, ins = self._places[line]
        address = ins.destinations[0] if ins.opcode == "st" else ins.sources[0]
        self._registers += [register.name for register in registers_of(address)]
        self._registers += [ins.guard.name] if ins.guard else []
        self._run(index)

    def _run(self, index: int) -> None:
        """A block whose running matters: so do the branches that decide it."""
        work = [index]
        while work:
            index = work.pop()
            if index in self._blocks:
                continue
            self._blocks.add(index)
            for branch in self._control.get(index, ()):
                end = self._graph.blocks[branch].end
                self.branches.add(branch)
                self._registers += [end.guard.name] if end is not None and end.guard is not None else []
                work.append(branch)

    def close(self) -> None:
        while self._registers:
            name = self._registers.pop()
            if name in self._seen:
                continue
            self._seen.add(name)
            for index, ins in self._definitions.get(name, ()):
                obstacle = _obstacle(ins)
                if obstacle:
                    self.obstacles.add((ins.line, obstacle))
                self.lines.add(ins.line)
                self._registers += [register.name for register in ins.reads()]
                self._run(index)


def _needed(graph: flow.Graph, accesses: Sequence[SymbolicAccess]) -> _Needed:
    closure = _Closure(graph)
    for access in accesses:
        closure.start(access.line)
    closure.close()
    return _Needed(frozenset(closure.lines), frozenset(closure.branches), tuple(sorted(closure.obstacles)))


def _control(graph: flow.Graph) -> dict[int, list[int]]:
    """Block -> the conditional branches that decide whether it runs."""
    deciding: dict[int, list[int]] = {}
    for block in graph.blocks:
        if not block.is_conditional:
            continue
        stop = graph.post_dominator[block.index]
        for successor in block.successors:
            runner = successor
            seen: set[int] = set()
            while runner not in (stop, len(graph.blocks)) and runner not in seen:
                seen.add(runner)
                deciding.setdefault(runner, []).append(block.index)
                runner = graph.post_dominator[runner]
    return deciding


def _obstacle(ins: Instruction) -> str:
    """Why an instruction cannot be part of a slice; empty if it can."""
    is_parameter = ins.opcode == "ld" and ins.modifier("space") == "param"
    if ins.opcode not in effects.PURE and not is_parameter:
        return f"an address or a guard depends on the result of '{ins.spelling}'"
    if ins.has("approx") or ins.has("full"):
        return f"an address or a guard depends on '{ins.spelling}', which other engines round differently"
    strange = [
        s.name for s in ins.sources if isinstance(s, Special) and s.name.partition(".")[0] not in _KNOWN_SPECIALS
    ]
    return f"an address or a guard depends on %{strange[0]}" if strange else ""


# Writing -------------------------------------------------------------------------------------------------------------


class _Writer:
    def __init__(
        self,
        module: Module,
        entry: Entry,
        graph: flow.Graph,
        needed: _Needed,
        accesses: Sequence[SymbolicAccess],
        granules: Mapping[str, int],
        buffers: Mapping[int, str],
    ) -> None:
        self._text = canonical_form(module)[0].splitlines()
        self._entry = entry
        self._graph = graph
        self._needed = needed
        self._accesses = {access.line: (number, access) for number, access in enumerate(accesses)}
        self._granules = granules
        self._pointers = {name: offset for offset, name in buffers.items()}
        self._numbers = {name: number for number, name in enumerate(granules)}

    def kernel(self, name: str) -> list[str]:
        first = next(n for n, line in enumerate(self._text) if line.startswith(f".visible .entry {self._entry.name}("))
        own = self._text[first + 1 :]
        parameters = [line.rstrip(",") for line in own[: own.index("{")] if line.startswith("\t.param")]
        parameters += [f"\t.param .u64 own_map_{n}" for n in range(len(self._granules))]
        parameters.append("\t.param .u64 own_conflicts")
        declared = [line for line in own[: own.index("}")] if line.startswith(("\t.reg", "\t.shared", "\t.local"))]
        lines = [f".visible .entry {name}(", ",\n".join(parameters), ")", "{", *declared, *self._prologue()]
        for block in self._graph.blocks:
            lines.append(f"$B{block.index}:")
            for ins in block.core:
                if ins.line in self._needed.lines:
                    lines.append(self._line(ins.line))
                elif ins.line in self._accesses:
                    lines.extend(self._access(name, ins))
            lines.extend(self._end(block))
        return [*lines, f"$B{len(self._graph.blocks)}:", "ret;", "}"]

    def _line(self, line: int) -> str:
        return self._text[line - 1]

    def _prologue(self) -> Iterable[str]:
        yield ".reg .b64 %own_a, %own_c;"
        yield ".reg .b32 %own_n, %own_x, %own_y;"
        yield f".reg .b32 {', '.join(f'%own_v{n}' for n in range(_WORDS_MAX))};"
        yield ".reg .pred %own_p;"
        for name, number in self._numbers.items():
            yield f".reg .b64 %own_b{number}, %own_m{number};"
            yield f"ld.param.u64 %own_m{number}, [own_map_{number}];"
            offset = self._pointers[name]
            parameter = next(
                p for p in self._entry.parameters if p.offset_bytes <= offset < p.offset_bytes + p.size_bytes
            )
            inside = offset - parameter.offset_bytes
            yield f"ld.param.u64 %own_b{number}, [{parameter.name}{f'+{inside}' if inside else ''}];"
        yield "ld.param.u64 %own_c, [own_conflicts];"
        yield "mov.u32 %own_n, %ctaid.z; mov.u32 %own_x, %nctaid.y; mov.u32 %own_y, %ctaid.y;"
        yield "mad.lo.u32 %own_n, %own_n, %own_x, %own_y;"
        yield "mov.u32 %own_x, %nctaid.x; mov.u32 %own_y, %ctaid.x;"
        yield "mad.lo.u32 %own_n, %own_n, %own_x, %own_y; add.u32 %own_n, %own_n, 1;"

    def _end(self, block: flow.Block) -> Iterable[str]:
        if block.index in self._needed.branches:
            assert block.end is not None
            guard = self._guard(block.end)
            yield f"@{guard} bra $B{block.successors[0]};"
            yield f"bra $B{block.successors[1]};"
        elif block.is_conditional:
            yield f"bra $B{self._graph.post_dominator[block.index]};"
        else:
            yield f"bra $B{block.successors[0]};"

    def _guard(self, ins: Instruction) -> str:
        """`%p` or `!%p`, as the text names it."""
        found = _GUARD.search(self._line(ins.line))
        assert found is not None
        return ("!" if ins.guard_negated else "") + found[1]

    def _access(self, kernel: str, ins: Instruction) -> Iterable[str]:
        number, access = self._accesses[ins.line]
        if kernel == "claim" and not access.is_store:
            return
        found = _ADDRESS.search(self._line(ins.line))
        assert found is not None
        buffer, granule = self._numbers[access.base], self._granules[access.base]
        yield f"add.s64 %own_a, {found[1]}, {found[2] or 0};"
        yield f"sub.s64 %own_a, %own_a, %own_b{buffer};"
        yield f"shr.u64 %own_a, %own_a, {granule.bit_length() - 1};"
        yield "shl.b64 %own_a, %own_a, 2;"
        yield f"add.s64 %own_a, %own_a, %own_m{buffer};"
        guard = self._guard(ins) if ins.guard is not None else ""
        count = access.size_bytes // granule
        for word in range(0, count, _WORDS_MAX):
            width = min(_WORDS_MAX, count - word)
            if kernel == "claim":
                yield from self._claim(guard, 4 * word, width)
            else:
                yield from self._check(guard, 4 * word, width, 4 * number, is_store=access.is_store)

    def _claim(self, guard: str, offset: int, width: int) -> Iterable[str]:
        values = ", ".join(["%own_n"] * width)
        yield f"{_if(guard)}st.global{_vector(width)}.u32 [%own_a+{offset}], {_braced(values, width)};"

    def _check(self, guard: str, offset: int, width: int, cell: int, *, is_store: bool) -> Iterable[str]:
        names = [f"%own_v{n}" for n in range(width)]
        yield f"{_if(guard)}ld.global{_vector(width)}.u32 {_braced(', '.join(names), width)}, [%own_a+{offset}];"
        for name in names:
            if guard:
                yield f"setp.ne.and.u32 %own_p, {name}, %own_n, {guard};"
            else:
                yield f"setp.ne.u32 %own_p, {name}, %own_n;"
            if not is_store:
                yield f"setp.ne.and.u32 %own_p, {name}, 0, %own_p;"
            yield f"@%own_p st.global.u32 [%own_c+{cell}], %own_n;"


def _if(guard: str) -> str:
    return f"@{guard} " if guard else ""


def _vector(width: int) -> str:
    return f".v{width}" if width > 1 else ""


def _braced(values: str, width: int) -> str:
    return f"{{{values}}}" if width > 1 else values
