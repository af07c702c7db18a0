"""Every kernel of the library and of the frozen list of the benchmark `ptx`: the GPU's results beside the CPU engine's,
bit for bit where the kernel is exact.
"""

from __future__ import annotations

import pytest

from p2pcompute.protocol.machine import JobStatus
from tests.gpu import tasks
from tests.gpu.client import Worker


@pytest.mark.parametrize("name", tasks.names())
def test_the_gpu_and_the_cpu_engine_agree(worker: Worker, name: str) -> None:
    task = tasks.load(name)
    result = worker.run(task)
    assert (result.status, result.reason) == (JobStatus.OK, "")
    assert task.difference(task.shaped(result.outputs), tasks.on_cpu(task)) == ""
    assert result.device_us > 0


@pytest.mark.parametrize("name", ["kernels_cu/mandelbrot", "kernels_cu/sgemm", "kernels_cu/saxpy"])
def test_library_kernels_agree_with_numpy(worker: Worker, name: str) -> None:
    import kernels_cu

    task, spec = tasks.load(name), kernels_cu.load(name.partition("/")[2])
    outputs = task.shaped(worker.run(task).outputs)
    assert spec.check(spec.build(1), outputs) == ""
