"""Control flow: basic blocks in an order in which every loop is contiguous, loops, post-dominators, liveness.

A warp runs the blocks as one line: each block has a pending mask, lanes wait at a block until the line reaches it, and
a loop's end jumps back while any lane is pending at its head. That is right because the order is topological apart from
back edges and keeps every loop in one piece: lanes that leave a loop wait behind it, so all lanes of a loop are in the
same iteration.

Lanes that are done should be gone when others come to a barrier, which waits for all that live. So a way to a block
that does nothing but return is a way out, and of blocks that could come next, those from which no barrier can be
reached come first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from p2pcompute.compute.ptx.ir import Entry, Instruction, Label
from p2pcompute.errors import PtxError

BLOCKS_MAX: Final = 8_192
"""Per entry."""

LOOP_NESTING_MAX: Final = 64

_ENDS: Final = frozenset({"bra", "ret", "exit", "trap"})
_LEAVES: Final = frozenset({"ret", "exit"})
_MEETS: Final = frozenset({"shfl", "vote", "match", "bar", "barrier"})


@dataclass(slots=True)
class Block:
    """`core` are the instructions before the terminator. `successors`: for a conditional end the taken one first.

    `len(graph.blocks)` stands for the exit of the thread.
    """

    index: int
    core: list[Instruction] = field(default_factory=list)
    end: Instruction | None = None
    successors: tuple[int, ...] = ()

    @property
    def is_conditional(self) -> bool:
        return self.end is not None and self.end.guard is not None and len(self.successors) == 2


@dataclass(frozen=True, slots=True)
class Loop:
    head: int
    last: int


@dataclass(slots=True)
class Graph:
    blocks: list[Block]
    loops: list[Loop]
    post_dominator: list[int]
    """Immediate post-dominator of each block; `len(blocks)` is the exit."""
    live_in: list[frozenset[str]]
    """Register names live at the start of each block, and at the exit (none)."""

    def on_every_way(self) -> Iterator[int]:
        """Blocks that every thread passes."""
        block = 0
        while block < len(self.blocks):
            yield block
            block = self.post_dominator[block]

    def reach(self, start: int, stop: int) -> set[int]:
        """Blocks on some path from `start` that does not pass `stop`."""
        seen: set[int] = set()
        work = [start]
        while work:
            block = work.pop()
            if block == stop or block in seen or block == len(self.blocks):
                continue
            seen.add(block)
            work.extend(self.blocks[block].successors)
        return seen


def is_block_barrier(instruction: Instruction) -> bool:
    """Whether a warp waits here for others of its block."""
    return (
        instruction.opcode in ("bar", "barrier")
        and (instruction.has("sync") or instruction.has("red"))
        and (not instruction.has("warp"))
    )


def build(entry: Entry) -> Graph:
    """Raises PtxError for irreducible control flow or too many blocks."""
    blocks = _order(_split(entry), entry)
    loops = _contiguous_loops(blocks)
    return Graph(blocks, loops, _post_dominators(blocks), liveness(blocks))


def _split(entry: Entry) -> list[Block]:
    blocks = [Block(0)]
    labels: dict[str, int] = {}

    def fresh() -> None:
        if blocks[-1].core or blocks[-1].end is not None:
            blocks.append(Block(len(blocks)))
            if len(blocks) > BLOCKS_MAX:
                raise PtxError(f"'{entry.name}' has more than {BLOCKS_MAX} basic blocks.")

    for statement in entry.body:
        if isinstance(statement, Label):
            fresh()
            labels[statement.name] = blocks[-1].index
        elif is_block_barrier(statement) and statement.guard is not None:
            skip = f"past {len(blocks)}"  # no name in a text has a space
            blocks[-1].end = _jump(statement, skip)
            fresh()
            blocks[-1].end = replace(statement, guard=None, guard_negated=False)
            fresh()
            labels[skip] = blocks[-1].index
        elif statement.opcode in _ENDS or is_block_barrier(statement):
            blocks[-1].end = statement
            fresh()
        else:
            blocks[-1].core.append(statement)
    leaving = {b.index for b in blocks if not b.core and b.end and b.end.opcode in _LEAVES and b.end.guard is None}
    for block in blocks:
        successors = _successors(block, labels, len(blocks))
        block.successors = tuple(len(blocks) if s in leaving else s for s in successors)
        if block.end is None or block.end.opcode != "trap":  # which faults or not, even if both ways end there
            block.successors = tuple(dict.fromkeys(block.successors))
    return blocks


def _jump(barrier: Instruction, label: str) -> Instruction:
    """Past a guarded barrier, where its guard is off."""
    return replace(
        barrier,
        opcode="bra",
        modifiers=(),
        types=(),
        destinations=(),
        destination_types=(),
        sources=(Label(label),),
        source_types=("label",),
        guard_negated=not barrier.guard_negated,
    )


def _successors(block: Block, labels: dict[str, int], count: int) -> tuple[int, ...]:
    following = min(block.index + 1, count)
    end = block.end
    if end is None or is_block_barrier(end):
        return (following,)
    if end.opcode == "bra":
        target = end.sources[0]
        assert isinstance(target, Label)
        taken = labels[target.name]
    else:
        taken = count
    if end.guard is None or taken == following:
        return (taken,)
    return (taken, following)


def _order(blocks: list[Block], entry: Entry) -> list[Block]:
    """Reachable blocks, renumbered into the contiguous topological order."""
    count = len(blocks)
    edges = [tuple(s for s in block.successors if s < count) for block in blocks]
    reachable = _post_order(edges, 0)
    dominators = _dominators(edges, reachable)
    bodies = _natural_loops(blocks, reachable, dominators, entry)
    for body in bodies.values():
        if sum(body <= other for other in bodies.values()) > LOOP_NESTING_MAX:
            raise PtxError(f"'{entry.name}' (PTX line {entry.line}) nests more than {LOOP_NESTING_MAX} loops.")
    order = _linear(frozenset(reachable), -1, blocks, bodies, _before_meetings(blocks, reachable))
    place = {old: new for new, old in enumerate(order)}
    place[count] = len(order)
    return [
        Block(place[old], blocks[old].core, blocks[old].end, tuple(place[s] for s in blocks[old].successors))
        for old in order
    ]


def _before_meetings(blocks: list[Block], reachable: list[int]) -> frozenset[int]:
    """Blocks from which lanes can come to where they wait for others."""
    found = {b for b in reachable if any(i.opcode in _MEETS for i in (*blocks[b].core, blocks[b].end) if i)}
    work = list(found)
    back: dict[int, list[int]] = {}
    for block in reachable:
        for successor in blocks[block].successors:
            back.setdefault(successor, []).append(block)
    while work:
        for block in back.get(work.pop(), ()):
            if block not in found:
                found.add(block)
                work.append(block)
    return frozenset(found)


def _post_order(edges: Sequence[Sequence[int]], root: int) -> list[int]:
    """What can be reached from `root`, children first."""
    seen = {root}
    done: list[int] = []
    stack = [(root, iter(edges[root]))]
    while stack:
        block, rest = stack[-1]
        for successor in rest:
            if successor not in seen:
                seen.add(successor)
                stack.append((successor, iter(edges[successor])))
                break
        else:
            done.append(block)
            stack.pop()
    return done


def _dominators(edges: Sequence[Sequence[int]], post_order: list[int]) -> dict[int, int]:
    """Immediate dominators, with the root, last of the post-order, its own (Cooper, Harvey and Kennedy, "A simple, fast
    dominance algorithm", 2001).
    """
    root = post_order[-1]
    rank = {block: number for number, block in enumerate(post_order)}
    predecessors: dict[int, list[int]] = {block: [] for block in post_order}
    for block in post_order:
        for successor in edges[block]:
            predecessors[successor].append(block)
    immediate = {root: root}
    changed = True
    while changed:
        changed = False
        for block in reversed(post_order[:-1]):
            known = [p for p in predecessors[block] if p in immediate]
            best = known[0]
            for other in known[1:]:
                best = _meet(best, other, immediate, rank)
            if immediate.get(block) != best:
                immediate[block] = best
                changed = True
    return immediate


def _meet(left: int, right: int, immediate: dict[int, int], rank: dict[int, int]) -> int:
    while left != right:
        while rank[left] < rank[right]:
            left = immediate[left]
        while rank[right] < rank[left]:
            right = immediate[right]
    return left


def _natural_loops(
    blocks: list[Block], post_order: list[int], immediate: dict[int, int], entry: Entry
) -> dict[int, frozenset[int]]:
    """Loop body by head. A retreating edge whose target does not dominate its source makes the graph irreducible."""
    rank = {block: number for number, block in enumerate(post_order)}
    predecessors: dict[int, list[int]] = {block: [] for block in post_order}
    backs: dict[int, list[int]] = {}
    for block in post_order:
        for successor in blocks[block].successors:
            if successor == len(blocks):
                continue
            predecessors[successor].append(block)
            if rank[successor] >= rank[block]:
                backs.setdefault(successor, []).append(block)
    loops: dict[int, frozenset[int]] = {}
    for head, sources in backs.items():
        body = {head}
        work = list(sources)
        while work:
            block = work.pop()
            if block in body:
                continue
            if block == 0:
                raise PtxError(f"'{entry.name}' (PTX line {entry.line}) has irreducible control flow.")
            body.add(block)
            work.extend(predecessors[block])
        if not all(_dominates(head, source, immediate) for source in sources):
            raise PtxError(f"'{entry.name}' (PTX line {entry.line}) has irreducible control flow.")
        loops[head] = frozenset(body)
    return loops


def _dominates(head: int, block: int, immediate: dict[int, int]) -> bool:
    while block not in (head, 0):
        block = immediate[block]
    return block == head


def _linear(
    nodes: frozenset[int],
    head: int,
    blocks: list[Block],
    bodies: dict[int, frozenset[int]],
    before_meetings: frozenset[int],
) -> list[int]:
    """Topological order of `nodes` with each inner loop as one node, expanded in place; ties go to blocks that are not
    `before_meetings`, then to the text's order.
    """
    inner = {h: body for h, body in bodies.items() if h in nodes and h != head and body < nodes}
    outermost = {h: b for h, b in inner.items() if not any(b < other for o, other in inner.items() if o != h)}
    group = {block: h for h, body in outermost.items() for block in body}
    waiting: dict[int, int] = {}
    after: dict[int, set[int]] = {}
    for block in nodes:
        mine = group.get(block, block)
        waiting.setdefault(mine, 0)
        for successor in blocks[block].successors:
            theirs = group.get(successor, successor)
            if (
                successor in nodes
                and successor != head
                and theirs != mine
                and theirs not in after.setdefault(mine, set())
            ):
                after[mine].add(theirs)
                waiting[theirs] = waiting.get(theirs, 0) + 1
    order: list[int] = []
    ready = [block for block, count in waiting.items() if count == 0]
    while ready:
        ready.sort(key=lambda each: (each in before_meetings, each), reverse=True)
        block = ready.pop()
        is_loop = block in outermost
        order += _linear(outermost[block], block, blocks, bodies, before_meetings) if is_loop else [block]
        for successor in after.get(block, ()):
            waiting[successor] -= 1
            if waiting[successor] == 0:
                ready.append(successor)
    if len(order) != len(nodes):  # something waits for itself: loops that overlap without one holding the other
        raise PtxError("A kernel has irreducible control flow: two of its loops overlap.")
    return order


def _contiguous_loops(blocks: list[Block]) -> list[Loop]:
    """In the new order a back edge goes to an equal or smaller index, and a loop ends at its last back edge or inner
    loop.
    """
    last: dict[int, int] = {}
    for block in blocks:
        for successor in block.successors:
            if successor <= block.index:
                last[successor] = max(last.get(successor, 0), block.index)
    return [Loop(head, last[head]) for head in sorted(last)]


def _post_dominators(blocks: list[Block]) -> list[int]:
    """Immediate post-dominators: dominators of the graph turned round. Blocks that never reach the exit get the exit,
    and ways into them do not count.
    """
    count = len(blocks)
    back: list[list[int]] = [[] for _ in range(count + 1)]
    for block in blocks:
        for successor in block.successors:
            back[successor].append(block.index)
    immediate = _dominators(back, _post_order(back, count))
    return [immediate.get(block.index, count) for block in blocks]


def liveness(blocks: list[Block]) -> list[frozenset[str]]:
    """Live-in register names per block, and for the exit. A guarded write keeps the old value alive."""
    upward: list[set[str]] = []
    written: list[set[str]] = []
    for block in blocks:
        up: set[str] = set()
        down: set[str] = set()
        for instruction in (*block.core, *([block.end] if block.end else [])):
            up |= {r.name for r in instruction.reads()} - down
            targets = {r.name for r in instruction.writes()}
            if instruction.guard is not None:
                up |= targets - down
            down |= targets
        upward.append(up)
        written.append(down)
    live: list[set[str]] = [set() for _ in range(len(blocks) + 1)]
    changed = True
    while changed:
        changed = False
        for block in reversed(blocks):
            out = set().union(*(live[s] for s in block.successors))
            now = upward[block.index] | (out - written[block.index])
            if now != live[block.index]:
                live[block.index] = now
                changed = True
    return [frozenset(names) for names in live]
