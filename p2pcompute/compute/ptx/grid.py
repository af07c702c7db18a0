"""The function that one host thread calls: it takes ranges of blocks until none is left, and time-slices the warps of
each.
"""

from __future__ import annotations

from p2pcompute.compute.ptx import layout
from p2pcompute.compute.ptx.lower import Lowered
from p2pcompute.compute.ptx.uniform import WARP, Layout

ENTRY_POINT = "grid"

_DECLARATIONS = frozenset(
    {"declare i64 @llvm.umin.i64(i64, i64)", "declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)"}
)

_ATTRIBUTES = """
attributes #0 = { nounwind "prefer-vector-width"="512" "min-legal-vector-width"="512" }
attributes #1 = { noinline nounwind cold "prefer-vector-width"="512" "min-legal-vector-width"="512" }
attributes #2 = { noinline nounwind strictfp "prefer-vector-width"="512" "min-legal-vector-width"="512" }
attributes #3 = { noinline nounwind "prefer-vector-width"="512" "min-legal-vector-width"="512" }
!0 = !{}
!1 = !{!"branch_weights", i32 1, i32 100000}
!2 = !{!"branch_weights", i32 100000, i32 1}
"""


_ARGUMENTS = (
    "ptr %table, ptr %shared, i64 %shared_bytes.i, ptr %parameters, ptr %state, ptr %abort, ptr %my.local, "
    "i32 %x, i32 %y, i32 %z, i32 %gx, i32 %gy, i32 %gz, i32 %w, ptr %context"
)


def module_text(lowered: Lowered, threads: Layout) -> str:
    """The whole LLVM module: the warp, its helpers, and `grid(launch record) -> status`."""
    fields = "\n".join(_field(number, name) for number, name in enumerate(layout.LAUNCH_FIELDS))
    declarations = "\n".join(sorted(lowered.declarations | _DECLARATIONS))
    local_bytes = lowered.local_bytes * WARP * threads.warps
    clear_local = (
        f"  call void @llvm.memset.p0.i64(ptr %local, i8 0, i64 {local_bytes}, i1 false)\n" if local_bytes else ""
    )
    warps = _time_sliced(lowered, threads) if lowered.has_barriers else _in_turn(lowered, threads)
    return f"""{lowered.function}
define i32 @{ENTRY_POINT}(ptr %launch) #0 {{
entry:
{fields}
  %gx = trunc i64 %grid_x.i to i32
  %gy = trunc i64 %grid_y.i to i32
  %gz = trunc i64 %grid_z.i to i32
  br label %take
take:
  %flag = load volatile i32, ptr %abort
  %go = icmp eq i32 %flag, 0
  br i1 %go, label %claim, label %aborted
claim:
  %from = atomicrmw add ptr %next_block, i64 %chunk.i monotonic
  %to.0 = add i64 %from, %chunk.i
  %some = icmp ult i64 %from, %blocks.i
  %to = call i64 @llvm.umin.i64(i64 %to.0, i64 %blocks.i)
  br i1 %some, label %block, label %done
block:
  %n = phi i64 [ %from, %claim ], [ %n.2, %finished ]
  %rows = udiv i64 %n, %grid_x.i
  %x.w = urem i64 %n, %grid_x.i
  %y.w = urem i64 %rows, %grid_y.i
  %z.w = udiv i64 %rows, %grid_y.i
  %x = trunc i64 %x.w to i32
  %y = trunc i64 %y.w to i32
  %z = trunc i64 %z.w to i32
  %has.shared = icmp ne i64 %shared_bytes.i, 0
  br i1 %has.shared, label %clear, label %cleared
clear:
  call void @llvm.memset.p0.i64(ptr %shared, i8 0, i64 %shared_bytes.i, i1 false)
  br label %cleared
cleared:
{clear_local}{warps}finished:
  %n.2 = add i64 %n, 1
  %n.m = icmp ult i64 %n.2, %to
  br i1 %n.m, label %block, label %take
failed:
  %s.w = getelementptr i8, ptr %state, i64 {layout.STATE_WARP}
  store i32 %w, ptr %s.w
  %s.b = getelementptr i8, ptr %state, i64 {layout.STATE_BLOCK}
  store i64 %n, ptr %s.b
  ret i32 %status
aborted:
  ret i32 {layout.ABORTED}
done:
  ret i32 {layout.DONE}
}}
{declarations}
{_ATTRIBUTES}"""


def _places(lowered: Lowered) -> str:
    """Warp %w's context and stack."""
    return f"""  %w.o = zext i32 %w to i64
  %w.c = mul i64 %w.o, {lowered.context_bytes}
  %context = getelementptr i8, ptr %contexts, i64 %w.c
  %w.l = mul i64 %w.o, {lowered.local_bytes * WARP}
  %my.local = getelementptr i8, ptr %local, i64 %w.l
"""


def _in_turn(lowered: Lowered, threads: Layout) -> str:
    """No barriers: every warp runs to its end. From `cleared` to `finished` or `failed`, with %w and %status."""
    return f"""  br label %warp
warp:
  %w = phi i32 [ 0, %cleared ], [ %w.2, %stepped ]
{_places(lowered)}  %status = call i32 @warp({_ARGUMENTS})
  %bad = icmp ne i32 %status, {layout.DONE}
  br i1 %bad, label %failed, label %stepped
stepped:
  %w.2 = add i32 %w, 1
  %w.m = icmp ult i32 %w.2, {threads.warps}
  br i1 %w.m, label %warp, label %finished
"""


def _time_sliced(lowered: Lowered, threads: Layout) -> str:
    """Rounds in which every warp runs to its next barrier or its end; the saved point of an ended warp is -1."""
    return f"""  br label %reset
reset:
  %r = phi i32 [ 0, %cleared ], [ %r.2, %reset ]
  %r.o = zext i32 %r to i64
  %r.c = mul i64 %r.o, {lowered.context_bytes}
  %r.p = getelementptr i8, ptr %contexts, i64 %r.c
  store i32 0, ptr %r.p
  %r.2 = add i32 %r, 1
  %r.m = icmp ult i32 %r.2, {threads.warps}
  br i1 %r.m, label %reset, label %round
round:
  br label %warp
warp:
  %w = phi i32 [ 0, %round ], [ %w.2, %stepped ]
  %waiting = phi i32 [ 0, %round ], [ %waiting.2, %stepped ]
{_places(lowered)}  %point = load i32, ptr %context
  %over = icmp eq i32 %point, -1
  br i1 %over, label %skipped, label %step
skipped:
  br label %stepped
step:
  %status = call i32 @warp({_ARGUMENTS})
  %bad = icmp ugt i32 %status, {layout.AT_BARRIER}
  br i1 %bad, label %failed, label %stopped
stopped:
  %ended = icmp eq i32 %status, {layout.DONE}
  br i1 %ended, label %close, label %stepped
close:
  store i32 -1, ptr %context
  br label %stepped
stepped:
  %status.2 = phi i32 [ {layout.DONE}, %skipped ], [ %status, %stopped ], [ %status, %close ]
  %waiting.2 = or i32 %waiting, %status.2
  %w.2 = add i32 %w, 1
  %w.m = icmp ult i32 %w.2, {threads.warps}
  br i1 %w.m, label %warp, label %rounded
rounded:
{_reduction_lines()}  %more = icmp ne i32 %waiting.2, 0
  br i1 %more, label %round, label %finished
"""


def _field(number: int, name: str) -> str:
    """One word of the launch record as %name (a pointer) and %name.i (a number)."""
    return (
        f"  %f{number} = getelementptr i8, ptr %launch, i64 {8 * number}\n"
        f"  %{name}.i = load i64, ptr %f{number}\n  %{name} = inttoptr i64 %{name}.i to ptr"
    )


def _reduction_lines() -> str:
    """All warps have arrived: what bar.red gathered becomes the result, and gathering starts anew."""
    lines = ""
    pairs = ((layout.STATE_COUNT, layout.STATE_COUNT_RESULT), (layout.STATE_TOTAL, layout.STATE_TOTAL_RESULT))
    for number, (source, target) in enumerate(pairs):
        lines += f"""  %q{number} = getelementptr i8, ptr %state, i64 {source}
  %v{number} = load i32, ptr %q{number}
  store i32 0, ptr %q{number}
  %g{number} = getelementptr i8, ptr %state, i64 {target}
  store i32 %v{number}, ptr %g{number}
"""
    return lines
