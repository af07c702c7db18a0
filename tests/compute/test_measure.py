from __future__ import annotations

import pytest

from p2pcompute.compute.cpu import CpuEngine
from p2pcompute.compute.measure import measure
from p2pcompute.errors import KernelError


async def test_an_engine_has_a_speed(engine: CpuEngine) -> None:
    speed = await measure(engine)
    assert speed.mflops_f32 > 0
    assert speed.mbytes_per_s > 0


async def test_an_engine_too_small_to_measure_is_an_error() -> None:
    engine = CpuEngine(threads=1, memory_bytes_max=1)
    with pytest.raises(KernelError, match="cannot be measured"):
        await measure(engine)
