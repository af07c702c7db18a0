"""Memory layouts that generated code and launcher share: addresses, the segment table, the launch and state records.

A device address is `segment << 40 | offset`. Segments 0 to 4 are fixed, buffers follow. Each row of the table holds the
host base, the number of readable and of writable bytes. There are two tables: what `.global` and `.const` accesses see,
and behind it what generic accesses see, where the shared window is mapped too. The local window is never in a table: it
differs per lane.
"""

from __future__ import annotations

from typing import Final

ENTRY_POINT: Final = "grid"
"""The function that host threads call, with a launch record."""

OFFSET_BITS: Final = 40
NULL_SEGMENT: Final = 0
SHARED_SEGMENT: Final = 1
LOCAL_SEGMENT: Final = 2
GLOBAL_SEGMENT: Final = 3
CONST_SEGMENT: Final = 4
BUFFER_SEGMENT: Final = 5

TABLE_ROWS: Final = 256
"""A power of two, above BUFFERS_MAX + BUFFER_SEGMENT. The last row stays empty: wild segments are clamped to it."""
ROW_BYTES: Final = 32
TABLE_BYTES: Final = TABLE_ROWS * ROW_BYTES
ROW_BASE, ROW_READABLE, ROW_WRITABLE, ROW_LOG = 0, 8, 16, 24
"""ROW_LOG: where `touch` finds the maps of the access log; 0 for none."""
TEXTURES_BASE, TEXTURES_COUNT = NULL_SEGMENT * ROW_BYTES, SHARED_SEGMENT * ROW_BYTES
"""Where in the first table the host address and the number of texture descriptors stand: as the bases of two segments
that are not mapped there.
"""

LAUNCH_FIELDS: Final = (
    "table",
    "shared",
    "shared_bytes",
    "parameters",
    "contexts",
    "stacks",
    "state",
    "abort",
    "next_block",
    "blocks",
    "chunk",
    "list",
    "grid_x",
    "grid_y",
    "grid_z",
)
"""The launch record: one 64-bit word each. `list` is the address of the numbers of the blocks to run, `blocks` many,
or 0: all from 0 on.
"""

STATE_KIND, STATE_LINE, STATE_WARP, STATE_LANE, STATE_ADDRESS, STATE_BLOCK = 0, 4, 8, 12, 16, 24
STATE_LOG, STATE_LOG_COUNT = 32, 40
"""Where this thread's log records go, and how many there are."""
STATE_BARRIERS: Final = 64
BARRIERS: Final = 16
BARRIER_BYTES: Final = 32
BARRIER_ARRIVED, BARRIER_EXPECTED, BARRIER_COUNT, BARRIER_TOTAL = 0, 4, 8, 12
BARRIER_COUNT_RESULT, BARRIER_TOTAL_RESULT = 16, 20
STATE_BYTES: Final = STATE_BARRIERS + BARRIERS * BARRIER_BYTES
"""The state record of one thread of the host: the trap, then the barriers of its block. Each counts the warps that have
arrived and knows the threads it waits for (0: all), the reduction being gathered and the finished one.
"""

CONTEXT_POINT, CONTEXT_ACTIVE, CONTEXT_WAITS, CONTEXT_BARRIER, CONTEXT_LINE = 0, 8, 16, 20, 24
CONTEXT_REGISTERS: Final = 64
"""The saved state of a warp that has paused: where to go on, the living lanes, which barrier it waits for (plus 1, 0
for none), which it waited for last and on which line, then masks and live registers.
"""

DONE, PAUSED, TRAPPED, ABORTED = 0, 1, 2, 3
"""What a warp or a range of blocks returns."""

TRAP_BOUNDS, TRAP_MISALIGNED, TRAP_BARRIER, TRAP_CONVERGENCE, TRAP_INSTRUCTION, TRAP_ASSERTION = 1, 2, 3, 4, 5, 6
TRAP_TEXTURE = 7

LOG_RECORDS: Final = 256
LOG_RECORD_BYTES: Final = 128
LOG_ARGUMENTS: Final = 32
"""A record of what a kernel printed: address of the format, thread, line, block, 1 for an assertion, then up to 96
bytes of arguments.
"""

SHARED_ALIGN: Final = 16
"""Dynamic shared memory starts at the next multiple of this after the static one."""

LOCAL_ALIGN: Final = 16
