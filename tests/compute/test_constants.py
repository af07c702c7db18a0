"""Variables of a module that a task sets before its first launch, on both engines."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from p2pcompute.compute import blocks
from p2pcompute.compute.cpu import CpuEngine
from p2pcompute.compute.cuda import CudaEngine
from p2pcompute.compute.sampling.task import eligible_fault
from p2pcompute.protocol.machine import JobStatus
from p2pcompute.wire import limits
from p2pcompute.wire.manifest import Manifest, Role
from tests.compute.conftest import Compiled
from tests.compute.manifests import buffer, launch, manifest

UUID = "GPU-6e2c0c3e-5d4e-4f6a-9b60-2c1d0e9f8a7b"
GIVEN = {"w": np.array([2, 3, 5, 7], np.int32), "s": np.array([10], np.int32)}


@pytest.fixture
def text(compiled: Compiled) -> bytes:
    return compiled("constants.cu").ptx.encode()


def task(text: bytes, *constants: tuple[str, str], repeats: int = 1) -> Manifest:
    buffers = [buffer("w", "i32", 4, Role.IN), buffer("s", "i32", 1, Role.IN), buffer("out", "i32", 4, Role.OUT)]
    made = manifest(text, buffers, [launch("weigh", "out", threads=4, repeats=repeats)])
    return msgspec.structs.replace(made, constants=constants)


async def run(engine: CpuEngine | CudaEngine, text: bytes, asked: Manifest) -> list[int]:
    result = await engine.run(asked, text, {name: array.tobytes() for name, array in GIVEN.items()})
    assert (result.status, result.reason) == (JobStatus.OK, "")
    return np.frombuffer(result.outputs["out"], np.int32).tolist()


async def test_variables_hold_what_the_task_gives_and_the_next_task_knows_nothing_of_it(
    either: CpuEngine | CudaEngine, text: bytes
) -> None:
    assert await run(either, text, task(text, ("weights", "w"), ("scale", "s"))) == [20, 30, 50, 70]
    assert await run(either, text, task(text, ("weights", "w"))) == [2, 3, 5, 7]
    assert await run(either, text, task(text)) == [1, 1, 1, 1]


async def test_what_a_kernel_adds_to_a_variable_stays_for_the_next_launch(
    either: CpuEngine | CudaEngine, text: bytes
) -> None:
    assert await run(either, text, task(text, ("calls", "s"), repeats=2)) == [111, 111, 111, 111]


async def test_a_buffer_may_be_shorter_than_its_variable(either: CpuEngine | CudaEngine, text: bytes) -> None:
    assert await run(either, text, task(text, ("weights", "s"))) == [10, 1, 1, 1]


@pytest.mark.parametrize(
    ("constant", "reason"),
    [
        (("nothing", "w"), "the PTX has no variable 'nothing'"),
        (("scale", "w"), "variable scale has 4 bytes, buffer w 16"),
    ],
)
async def test_what_does_not_fit_is_refused(
    either: CpuEngine | CudaEngine, text: bytes, constant: tuple[str, str], reason: str
) -> None:
    result = await either.run(task(text, constant), text, {name: array.tobytes() for name, array in GIVEN.items()})
    assert (result.status, result.reason) == (JobStatus.REFUSED, reason)


async def test_single_blocks_are_not_recomputed(text: bytes) -> None:
    engine = CpuEngine(threads=1, memory_bytes_max=64 * limits.MIB)
    state = {name: array.tobytes() for name, array in GIVEN.items()} | {"out": bytes(16)}
    try:
        asked = task(text, ("weights", "w"))
        found = await blocks.log_blocks(engine, asked, text, state, launch=0, blocks=[0])
        assert (found.result.status, found.result.reason) == (
            JobStatus.REFUSED,
            "the task sets variables, which are no part of a state",
        )
        assert "sets variables" in eligible_fault(asked, text)
        assert await run(engine, text, asked) == [2, 3, 5, 7]
    finally:
        await engine.aclose()
