"""The function that one host thread calls: it takes ranges of blocks until none is left."""

from __future__ import annotations

from p2pcompute.compute.ptx import layout, library
from p2pcompute.compute.ptx.lower import Lowered
from p2pcompute.compute.ptx.schedule import failure, turns
from p2pcompute.compute.ptx.uniform import Layout

LINE_BYTES = 64
"""Shared memory takes whole cache lines: a few stores clear it sooner than memset starts."""

_DECLARATIONS = frozenset(
    {"declare i64 @llvm.umin.i64(i64, i64)", "declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)"}
)


def module_text(lowered: Lowered, threads: Layout) -> str:
    """The LLVM module: `grid(launch record) -> status`, with the warp's code in it. Its helpers are declared only."""
    fields = "\n".join(_field(number, name) for number, name in enumerate(layout.LAUNCH_FIELDS))
    declarations = "\n".join(sorted(lowered.declarations | _DECLARATIONS))
    beside = "\n".join([library.declarations(lowered.helpers), *library.of_halves(lowered.warp)])
    return f"""{beside}
define i32 @{layout.ENTRY_POINT}(ptr %launch) #0 {{
entry:
{fields}
  %nctaid.x = trunc i64 %grid_x.i to i32
  %nctaid.y = trunc i64 %grid_y.i to i32
  %nctaid.z = trunc i64 %grid_z.i to i32
  %shared.bytes = add i64 %shared_bytes.i, 0
{lowered.per_thread}
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
  %i = phi i64 [ %from, %claim ], [ %i.2, %finished ]
  %is.listed = icmp ne i64 %list.i, 0
  br i1 %is.listed, label %listed, label %numbered
listed:
  %list.p = getelementptr i64, ptr %list, i64 %i
  %list.n = load i64, ptr %list.p
  br label %numbered
numbered:
  %n = phi i64 [ %i, %block ], [ %list.n, %listed ]
  %rows = udiv i64 %n, %grid_x.i
  %x.w = urem i64 %n, %grid_x.i
  %y.w = urem i64 %rows, %grid_y.i
  %z.w = udiv i64 %rows, %grid_y.i
  %ctaid.y = trunc i64 %y.w to i32
  %ctaid.z = trunc i64 %z.w to i32
{_clearing(lowered.local_bytes * threads.lanes * threads.teams)}{turns(lowered, threads)}finished:
  %i.2 = add i64 %i, {"%run" if lowered.runs_by_rows else 1}
  %i.m = icmp ult i64 %i.2, %to
  br i1 %i.m, label %block, label %take
failed:
{failure(lowered)}  %s.w = getelementptr i8, ptr %state, i64 {layout.STATE_WARP}
  store i32 %who, ptr %s.w
  %s.b = getelementptr i8, ptr %state, i64 {layout.STATE_BLOCK}
  store i64 %n.now, ptr %s.b
  ret i32 %how
aborted:
  ret i32 {layout.ABORTED}
done:
  ret i32 {layout.DONE}
}}
{declarations}
{library.ATTRIBUTES}"""


def _clearing(stack_bytes: int) -> str:
    """Shared memory and the stacks of all lanes are zero when a block starts."""
    stacks = f"  call void @llvm.memset.p0.i64(ptr %stacks, i8 0, i64 {stack_bytes}, i1 false)\n" if stack_bytes else ""
    return f"""  %has.shared = icmp ne i64 %shared_bytes.i, 0
  br i1 %has.shared, label %clear, label %cleared
clear:
  %clear.at = phi i64 [ 0, %numbered ], [ %clear.next, %clear ]
  %clear.p = getelementptr i8, ptr %shared, i64 %clear.at
  store <16 x i32> zeroinitializer, ptr %clear.p, align 64
  %clear.next = add i64 %clear.at, {LINE_BYTES}
  %clear.m = icmp ult i64 %clear.next, %shared_bytes.i
  br i1 %clear.m, label %clear, label %cleared
cleared:
{stacks}"""


def _field(number: int, name: str) -> str:
    """One word of the launch record as %name (a pointer) and %name.i (a number)."""
    return (
        f"  %f{number} = getelementptr i8, ptr %launch, i64 {8 * number}\n"
        f"  %{name}.i = load i64, ptr %f{number}\n  %{name} = inttoptr i64 %{name}.i to ptr"
    )
