"""Launches that repeat until a buffer is zero, on both engines and under the checker."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np
import pytest

from p2pcompute.compute.cpu import CpuEngine
from p2pcompute.compute.cuda import CudaEngine
from p2pcompute.compute.engine import EngineResult
from p2pcompute.compute.preflight import preflight
from p2pcompute.protocol.machine import JobStatus
from p2pcompute.wire.manifest import Manifest, Role
from tests.compute.conftest import Compiled
from tests.compute.manifests import buffer, launch, manifest

START = np.array([1, 8, 5, 3], np.int32)


@pytest.fixture
def text(compiled: Compiled) -> bytes:
    return compiled("until.cu").ptx.encode()


def task(text: bytes, *, repeats: int, flag: Role = Role.OUT, times: int = 1) -> Manifest:
    buffers = [buffer("x", "i32", 4, Role.INOUT), buffer("moved", "i32", 1, flag), buffer("rounds", "i32", 1, Role.OUT)]
    once = msgspec.structs.replace(launch("settle", "x", "moved", "rounds", threads=4, repeats=repeats), until="moved")
    return manifest(text, buffers, [once] * times)


def given(flag: int = 1) -> dict[str, bytes]:
    return {"x": START.tobytes(), "moved": np.int32(flag).tobytes()}


async def run(engine: CpuEngine | CudaEngine, text: bytes, asked: Manifest) -> tuple[list[int], int, int | None]:
    """x, the rounds, and the flag if it is a result."""
    result = await engine.run(asked, text, given())
    assert (result.status, result.reason) == (JobStatus.OK, "")
    found = {name: np.frombuffer(data, np.int32) for name, data in result.outputs.items()}
    return found["x"].tolist(), int(found["rounds"][0]), int(found["moved"][0]) if "moved" in found else None


@pytest.mark.parametrize("flag", [Role.OUT, Role.INOUT])
async def test_it_ends_when_nothing_moved_and_the_flag_says_so(
    either: CpuEngine | CudaEngine, text: bytes, flag: Role
) -> None:
    assert await run(either, text, task(text, repeats=1000, flag=flag)) == ([1, 1, 1, 1], 4, 0)


async def test_it_ends_after_its_repeats_at_the_latest(either: CpuEngine | CudaEngine, text: bytes) -> None:
    assert await run(either, text, task(text, repeats=2)) == ([1, 2, 1, 1], 2, 1)


async def test_the_next_launch_follows_and_begins_anew(either: CpuEngine | CudaEngine, text: bytes) -> None:
    assert await run(either, text, task(text, repeats=2, flag=Role.TEMP, times=3)) == ([1, 1, 1, 1], 5, None)


async def test_states_are_not_shown(either: CpuEngine | CudaEngine, text: bytes) -> None:
    async def never(state: Mapping[str, bytes]) -> None:
        raise AssertionError("there is no state to show")

    result = await either.run(task(text, repeats=9), text, given(), on_step=never)
    assert result == EngineResult(
        JobStatus.REFUSED,
        reason="the task repeats a launch until a buffer is zero: how many states it has shows only then",
    )


def test_the_checker_repeats_as_often_and_the_flag_counts_as_written(text: bytes) -> None:
    found = preflight(task(text, repeats=1000, flag=Role.TEMP), text.decode(), given())
    assert [finding.message for finding in found.result.findings if "moved" in finding.message] == []
    assert found.result.blocks == 4
