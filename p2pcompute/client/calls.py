"""The launches of a task, as developers write them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from p2pcompute.client.arguments import InOut, Out, Temp, Value

Dim = int | Sequence[int]


@dataclasses.dataclass(frozen=True)
class Call:
    """One launch: `arguments` by the parameter's name in the source (or by `position`), `grid` and `block` of one to
    three numbers, `shared_bytes` of dynamic shared memory. `entry` is another kernel of the same source, if it is not
    the one that the task's Kernel names. `repeats`: so many times in a row; with `until`, one of the call's arguments,
    that is zeroed before each time, and if it is still all zeros after one, that was the last.

    Calls of one task see each other's memory: wherever the same In, Out, InOut or Temp object is given, it is the same
    buffer.
    """

    arguments: Mapping[str, Value]
    grid: Dim
    block: Dim
    entry: str = ""
    shared_bytes: int = 0
    repeats: int = 1
    until: Out | InOut | Temp | None = None
    position: Sequence[Value] = ()
