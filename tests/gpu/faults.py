"""Tasks from cases.cu."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from p2pcompute.wire.manifest import Role
from tests.gpu import compiling
from tests.gpu.tasks import Given, Task

HERE = Path(__file__).parent


def case(
    entry: str,
    *,
    blocks: int = 1,
    threads: int = 32,
    roles: dict[str, Role] | None = None,
    device_ms_max: int = 20_000,
    shared_bytes: int = 0,
    repeats: int = 1,
    **given: Given | int,
) -> Task:
    """One launch of a kernel of cases.cu. Integers are i32; buffers are outputs unless `roles` says otherwise."""
    arguments = {name: np.int32(value) if isinstance(value, int) else value for name, value in given.items()}
    buffers = (name for name, value in arguments.items() if isinstance(value, np.ndarray))
    text = (HERE / "cases.cu").read_text(encoding="utf-8")
    return Task(
        name=f"cases/{entry}",
        ptx_text=compiling.canonical("cases.cu", text),
        entry=entry,
        grid=(blocks, 1, 1),
        block=(threads, 1, 1),
        given=arguments,
        roles=dict.fromkeys(buffers, Role.OUT) | (roles or {}),
        shared_bytes=shared_bytes,
        repeats=repeats,
        device_ms_max=device_ms_max,
    )


def ints(count: int) -> np.ndarray:
    return np.zeros(count, np.int32)
