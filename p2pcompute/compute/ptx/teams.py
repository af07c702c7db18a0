"""Whether two warps of a block run in lockstep, as one team of 64 lanes: in kernels whose loops wait for their own
results.

A turn of such a loop is a chain of operations of some cycles each, with next to nothing beside it to do meanwhile.
Twice the lanes take little longer; and addresses, tests and jumps, which are scalars, are shared. Where registers of
the host run out, or there is no loop, two warps in turn do as well.

PTX must not show it. So nothing in the kernel may look at its warp or its lane, exchange values within one, wait for
another one, or depend on the order of the two (`_may_share`); and a barrier must be reached by all living lanes of the
team whenever by all of a warp (`meets_whole`). Ways that part lanes part those of a team as those of a warp.
"""

from __future__ import annotations

from typing import Final

from p2pcompute.compute.ptx import counters, flow, tally, uniform
from p2pcompute.compute.ptx.flow import Graph
from p2pcompute.compute.ptx.ir import Entry, Immediate, Instruction, Special
from p2pcompute.compute.ptx.types import TYPES
from p2pcompute.compute.ptx.uniform import TEAM_LANES_MAX, Analysis, Layout

LIVE_BYTES_MAX: Final = 24 * 64
"""Of lanes that are live where a loop begins: three quarters of the widest processors' vector registers."""
INSTRUCTIONS_MAX: Final = 200
"""Code for more lanes takes longer to compile; long kernels have other work beside a chain."""

_APART: Final = frozenset(
    {
        *("shfl", "vote", "match", "activemask", "redux", "elect"),
        *("membar", "fence", "nanosleep", "tex", "vprintf", "__assertfail", "call"),
    }
)
_SHARED: Final = frozenset({"tid", "ntid", "ctaid", "nctaid"})


def analyse(
    entry: Entry, graph: Graph, block: tuple[int, int, int], types: dict[str, str], trusted: frozenset[int]
) -> Analysis:
    """How the lanes of a team relate, in teams of the size that suits the kernel."""
    if _may_share(entry, graph, Layout(block)) and _counts_bytes(entry, graph):
        analysis = uniform.analyse(graph, Layout(block, TEAM_LANES_MAX), types, trusted)
        if meets_whole(graph, analysis) and _fits(graph, analysis, types):
            return analysis
    return uniform.analyse(graph, Layout(block), types, trusted)


def _may_share(entry: Entry, graph: Graph, threads: Layout) -> bool:
    if not graph.loops or threads.threads % TEAM_LANES_MAX or entry.local_bytes:
        return False
    every = list(entry.instructions())
    return len(every) <= INSTRUCTIONS_MAX and all(_is_alike(ins) for ins in every)


def _counts_bytes(entry: Entry, graph: Graph) -> bool:
    """Whether atomics are none at all, or counters of bytes and others in whatever order: those of 64 lanes with
    addresses of their own take more registers than some processors have."""
    atomics = [ins for ins in entry.instructions() if ins.opcode in ("atom", "red")]
    if not atomics:
        return True
    read = {register.name for ins in entry.instructions() for register in ins.reads()}
    written = {register.name for ins in atomics for register in ins.writes()}
    return written.isdisjoint(read) and all(map(tally.commutes, atomics)) and bool(counters.find(graph))


def _is_alike(ins: Instruction) -> bool:
    """Whether an instruction does for 64 lanes what it does for twice 32."""
    if ins.opcode in ("bar", "barrier"):
        return (
            ins.has("sync") and not ins.has("warp") and len(ins.sources) == 1 and isinstance(ins.sources[0], Immediate)
        )
    if ins.opcode in _APART or ins.modifier("order") in ("volatile", "relaxed", "acquire", "release"):
        return False
    return all(o.name.partition(".")[0] in _SHARED for o in ins.sources if isinstance(o, Special))


def meets_whole(graph: Graph, analysis: Analysis) -> bool:
    """Whether no way that may part a team leads to a barrier, unless those that take the other one end there."""
    barriers = {b.index for b in graph.blocks if b.end is not None and flow.is_block_barrier(b.end)}
    if not barriers:
        return True
    for block in graph.blocks:
        if not block.is_conditional or block.end is None or block.end.guard is None:
            continue
        if analysis.kind(block.end.guard).is_uniform:
            continue
        join = graph.post_dominator[block.index]
        meeting = [bool(graph.reach(successor, join) & barriers) for successor in block.successors]
        if any(meeting) and (all(meeting) or join != len(graph.blocks)):
            return False
    return True


def _fits(graph: Graph, analysis: Analysis, types: dict[str, str]) -> bool:
    """Whether what loops keep in lanes leaves room for what they compute."""
    sizes = {
        name: TYPES[kind].bits * TEAM_LANES_MAX // 8
        for name, kind in types.items()
        if (known := analysis.kinds.get(name)) is not None and not known.is_uniform and not known.is_affine
    }
    live = (sum(sizes.get(name, 0) for name in graph.live_in[loop.head]) for loop in graph.loops)
    return max(live) <= LIVE_BYTES_MAX
