"""How the warps of one block take turns, as LLVM text from `cleared` to `finished` or `failed` of the grid function.

Four ways, the simplest that a kernel allows: one warp after the other; the same warp of all blocks along x, which is
how a tile's rows lie in memory, if warps have nothing in common and run once through; rounds from barrier to barrier;
or, with named barriers or loops that wait, rounds in which every warp that waits for nothing runs on.
"""

from __future__ import annotations

from p2pcompute.compute.ptx import layout
from p2pcompute.compute.ptx.lower import Lowered
from p2pcompute.compute.ptx.uniform import Layout

RUN_BLOCKS_MAX = 128
"""Blocks along x whose warps of one row run one after the other: their rows of some arrays stay in a 1 MiB cache."""


def turns(lowered: Lowered, threads: Layout) -> str:
    if lowered.runs_by_rows:
        return _by_rows(lowered, threads)
    ways = _counted if lowered.needs_counts else _rounds if lowered.has_pauses else _in_turn
    return _one_block(lowered) + ways(lowered, threads)


def _one_block(lowered: Lowered) -> str:
    return f"""  %n.now = add i64 %n, 0
  %ctaid.x = trunc i64 %x.w to i32
{lowered.per_block}
  br label %placed
placed:
"""


def _places(lowered: Lowered, threads: Layout) -> str:
    """The context and stack of warp %warpid."""
    return f"""  %w.o = zext i32 %warpid to i64
  %w.c = mul i64 %w.o, {lowered.context_bytes}
  %context = getelementptr i8, ptr %contexts, i64 %w.c
  %w.l = mul i64 %w.o, {lowered.local_bytes * threads.lanes}
  %local = getelementptr i8, ptr %stacks, i64 %w.l
"""


def _step(lowered: Lowered) -> str:
    """Run the warp to where it ends or pauses; how it did is %status."""
    return f"""  br label %warp.begin
{lowered.warp}
warp.end:
  %status = load i32, ptr %status.cell
"""


def _to_next_pause(lowered: Lowered) -> str:
    """At `step`: run the warp until it pauses or ends, then to `stepped`; the saved point of an ended warp is -1."""
    return f"""step:
{_step(lowered)}  %bad = icmp ugt i32 %status, {layout.PAUSED}
  br i1 %bad, label %failed, label %stopped
stopped:
  %ended = icmp eq i32 %status, {layout.DONE}
  br i1 %ended, label %close, label %stepped
close:
  store i32 -1, ptr %context
  br label %stepped
"""


def _in_turn(lowered: Lowered, threads: Layout) -> str:
    """Every warp runs to its end."""
    return f"""  br label %warp
warp:
  %warpid = phi i32 [ 0, %placed ], [ %w.2, %stepped ]
{_places(lowered, threads)}{_step(lowered)}  %bad = icmp ne i32 %status, {layout.DONE}
  br i1 %bad, label %failed, label %stepped
stepped:
  %w.2 = add i32 %warpid, 1
  %w.m = icmp ult i32 %w.2, {threads.teams}
  br i1 %w.m, label %warp, label %finished
"""


def _by_rows(lowered: Lowered, threads: Layout) -> str:
    """Every warp number in turn, for as many blocks along x as the range still has in this row of the grid;
    listed blocks one by one.
    """
    return f"""  %to.edge = sub i64 %grid_x.i, %x.w
  %to.end = sub i64 %to, %i
  %run.0 = call i64 @llvm.umin.i64(i64 %to.edge, i64 %to.end)
  %run.1 = call i64 @llvm.umin.i64(i64 %run.0, i64 {RUN_BLOCKS_MAX})
  %run = select i1 %is.listed, i64 1, i64 %run.1
  br label %row
row:
  %warpid = phi i32 [ 0, %cleared ], [ %w.2, %rowed ]
{_places(lowered, threads)}  br label %warp
warp:
  %along = phi i64 [ 0, %row ], [ %along.2, %stepped ]
  %n.now = add i64 %n, %along
  %x.now = add i64 %x.w, %along
  %ctaid.x = trunc i64 %x.now to i32
{lowered.per_block}
{_step(lowered)}  %bad = icmp ne i32 %status, {layout.DONE}
  br i1 %bad, label %failed, label %stepped
stepped:
  %along.2 = add i64 %along, 1
  %along.m = icmp ult i64 %along.2, %run
  br i1 %along.m, label %warp, label %rowed
rowed:
  %w.2 = add i32 %warpid, 1
  %w.m = icmp ult i32 %w.2, {threads.teams}
  br i1 %w.m, label %row, label %finished
"""


def _reset(lowered: Lowered, threads: Layout, also: str) -> str:
    """All warps at their start."""
    return f"""  br label %reset
reset:
  %r = phi i32 [ 0, %placed ], [ %r.2, %reset ]
  %r.o = zext i32 %r to i64
  %r.c = mul i64 %r.o, {lowered.context_bytes}
  %r.p = getelementptr i8, ptr %contexts, i64 %r.c
  store i32 0, ptr %r.p
{also}  %r.2 = add i32 %r, 1
  %r.m = icmp ult i32 %r.2, {threads.teams}
  br i1 %r.m, label %reset, label %round
"""


def _rounds(lowered: Lowered, threads: Layout) -> str:
    """Every warp runs to its next barrier or its end; the saved point of an ended warp is -1. In the first round
    all are at their start.
    """
    return f"""  br label %round
round:
  %again = phi i1 [ false, %placed ], [ true, %rounded ]
  br label %warp
warp:
  %warpid = phi i32 [ 0, %round ], [ %w.2, %stepped ]
  %waiting = phi i32 [ 0, %round ], [ %waiting.2, %stepped ]
{_places(lowered, threads)}  %saved = load i32, ptr %context
  %point = select i1 %again, i32 %saved, i32 0
  %over = icmp eq i32 %point, -1
  br i1 %over, label %skipped, label %step
skipped:
  br label %stepped
{_to_next_pause(lowered)}stepped:
  %status.2 = phi i32 [ {layout.DONE}, %skipped ], [ %status, %stopped ], [ %status, %close ]
  %waiting.2 = or i32 %waiting, %status.2
  %w.2 = add i32 %warpid, 1
  %w.m = icmp ult i32 %w.2, {threads.teams}
  br i1 %w.m, label %warp, label %rounded
rounded:
  %cells = getelementptr i8, ptr %state, i64 {layout.STATE_BARRIERS}
{_publish("%cells")}  %more = icmp ne i32 %waiting.2, 0
  br i1 %more, label %round, label %finished
"""


def _publish(cells: str) -> str:
    """What bar.red gathered becomes the result, and gathering starts anew."""
    lines = ""
    pairs = (
        (layout.BARRIER_COUNT, layout.BARRIER_COUNT_RESULT),
        (layout.BARRIER_TOTAL, layout.BARRIER_TOTAL_RESULT),
    )
    for number, (source, target) in enumerate(pairs):
        lines += f"""  %q{number} = getelementptr i8, ptr {cells}, i64 {source}
  %v{number} = load i32, ptr %q{number}
  store i32 0, ptr %q{number}
  %g{number} = getelementptr i8, ptr {cells}, i64 {target}
  store i32 %v{number}, ptr %g{number}
"""
    return lines


def _counted(lowered: Lowered, threads: Layout) -> str:
    """Rounds in which every warp that waits for no barrier runs; then the barriers that are complete let theirs go.

    A round in which nobody ran and nobody was let go ends in a trap: these warps would wait forever.
    """
    clear = f"""  %r.w = getelementptr i8, ptr %r.p, i64 {layout.CONTEXT_WAITS}
  store i32 0, ptr %r.w
"""
    return f"""  %bars = getelementptr i8, ptr %state, i64 {layout.STATE_BARRIERS}
  call void @llvm.memset.p0.i64(ptr %bars, i8 0, i64 {layout.BARRIERS * layout.BARRIER_BYTES}, i1 false)
{_reset(lowered, threads, clear)}round:
  br label %turn
turn:
  %warpid = phi i32 [ 0, %round ], [ %w.2, %stepped ]
  %live = phi i32 [ 0, %round ], [ %live.2, %stepped ]
  %ran = phi i32 [ 0, %round ], [ %ran.2, %stepped ]
  %stuck = phi i32 [ 0, %round ], [ %stuck.2, %stepped ]
{_places(lowered, threads)}  %point = load i32, ptr %context
  %waits.p = getelementptr i8, ptr %context, i64 {layout.CONTEXT_WAITS}
  %waits = load i32, ptr %waits.p
  %over = icmp eq i32 %point, -1
  %held = icmp ne i32 %waits, 0
  %idle = or i1 %over, %held
  br i1 %idle, label %skipped, label %step
skipped:
  %skipped.live = select i1 %over, i32 0, i32 1
  %skipped.who = select i1 %over, i32 %stuck, i32 %warpid
  br label %stepped
{_to_next_pause(lowered)}stepped:
  %is.live = phi i32 [ %skipped.live, %skipped ], [ 1, %stopped ], [ 0, %close ]
  %has.run = phi i32 [ 0, %skipped ], [ 1, %stopped ], [ 1, %close ]
  %stuck.2 = phi i32 [ %skipped.who, %skipped ], [ %stuck, %stopped ], [ %stuck, %close ]
  %live.2 = add i32 %live, %is.live
  %ran.2 = or i32 %ran, %has.run
  %w.2 = add i32 %warpid, 1
  %w.m = icmp ult i32 %w.2, {threads.teams}
  br i1 %w.m, label %turn, label %rounded
rounded:
  %more = icmp ne i32 %live.2, 0
  br i1 %more, label %bar, label %finished
{_barrier_loop(lowered, threads)}"""


def _barrier_loop(lowered: Lowered, threads: Layout) -> str:
    """Over the sixteen barriers: let go the warps of those that are complete."""
    return f"""bar:
  %b = phi i32 [ 0, %rounded ], [ %b.2, %bar.next ]
  %freed = phi i32 [ %ran.2, %rounded ], [ %freed.2, %bar.next ]
  %b.o = mul i32 %b, {layout.BARRIER_BYTES}
  %cells = getelementptr i8, ptr %bars, i32 %b.o
  %arrived = load i32, ptr %cells
  %expected.p = getelementptr i8, ptr %cells, i64 {layout.BARRIER_EXPECTED}
  %expected = load i32, ptr %expected.p
  %any = icmp ne i32 %arrived, 0
  %threads = mul i32 %arrived, {threads.lanes}
  %all.0 = icmp uge i32 %arrived, %live.2
  %all.1 = icmp uge i32 %threads, %expected
  %is.whole = icmp eq i32 %expected, 0
  %all = select i1 %is.whole, i1 %all.0, i1 %all.1
  %complete = and i1 %any, %all
  br i1 %complete, label %bar.open, label %bar.next
bar.open:
  store i32 0, ptr %cells
{_publish("%cells")}  %mine = add i32 %b, 1
  br label %free
free:
  %f = phi i32 [ 0, %bar.open ], [ %f.2, %free ]
  %f.o = zext i32 %f to i64
  %f.c = mul i64 %f.o, {lowered.context_bytes}
  %f.x = add i64 %f.c, {layout.CONTEXT_WAITS}
  %f.p = getelementptr i8, ptr %contexts, i64 %f.x
  %f.w = load i32, ptr %f.p
  %f.is = icmp eq i32 %f.w, %mine
  %f.n = select i1 %f.is, i32 0, i32 %f.w
  store i32 %f.n, ptr %f.p
  %f.2 = add i32 %f, 1
  %f.m = icmp ult i32 %f.2, {threads.teams}
  br i1 %f.m, label %free, label %bar.next
bar.next:
  %freed.2 = phi i32 [ %freed, %bar ], [ 1, %free ]
  %b.2 = add i32 %b, 1
  %b.m = icmp ult i32 %b.2, {layout.BARRIERS}
  br i1 %b.m, label %bar, label %barred
barred:
  %moves = icmp ne i32 %freed.2, 0
  br i1 %moves, label %round, label %never
never:
  %n.o = zext i32 %stuck.2 to i64
  %n.c = mul i64 %n.o, {lowered.context_bytes}
  %n.x = add i64 %n.c, {layout.CONTEXT_LINE}
  %n.p = getelementptr i8, ptr %contexts, i64 %n.x
  %n.line = load i32, ptr %n.p
  call void @trap(ptr %state, i32 {layout.TRAP_BARRIER}, i32 %n.line, i32 0, i64 0)
  br label %failed
"""


def failure(lowered: Lowered) -> str:
    """At `failed`: %who is the warp that failed, %how its status."""
    stuck = (", [ %stuck.2, %never ]", f", [ {layout.TRAPPED}, %never ]") if lowered.needs_counts else ("", "")
    return f"""  %who = phi i32 [ %warpid, %warp.end ]{stuck[0]}
  %how = phi i32 [ %status, %warp.end ]{stuck[1]}
"""
