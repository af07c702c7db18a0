"""The real PyCUDA under our worker, on a libcuda that computes nothing (tests/gpu/stub.py).

This shows that PyCUDA's real interface is used as it is: types, arguments, events, copies, errors. It says nothing
about GPUs, and is never counted as a result of one.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from p2pcompute.compute.nvrtc import nvidia_directory
from p2pcompute.protocol.machine import JobStatus
from p2pcompute.wire import limits
from p2pcompute.wire.manifest import Role
from tests.compute import fake_cuda, pycuda_calls
from tests.gpu import stub
from tests.gpu.client import Place, Worker, WorkerGoneError, has_device
from tests.gpu.faults import case, ints

pytestmark = pytest.mark.nightly  # building PyCUDA takes minutes
ROOT = Path(__file__).parents[2]
WHEELS = ROOT / "build" / f"gpu-wheels-{sys.version_info[0]}.{sys.version_info[1]}"
"""Kept: the next run need not build again."""
TIMEOUT_S = 1800


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What tests/gpu/wheels.sh makes for this Python, unpacked."""
    subprocess.run([str(ROOT / "tests/gpu/wheels.sh"), str(WHEELS), sys.executable], check=True, timeout=TIMEOUT_S)
    folder = tmp_path_factory.mktemp("site")
    (wheel,) = WHEELS.glob("pycuda-*.whl")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def place(site: Path, folder: Path, *, has_device: bool) -> Place:
    library = stub.build(folder, nvidia_directory("cuda_runtime") / "include", has_device=has_device)
    return Place("stub", (str(site),), (str(library),))


def test_jobs_go_through_the_real_interface(site: Path, tmp_path: Path) -> None:
    data = np.arange(100_000, dtype=np.int32)
    untouched = case("store", threads=32, roles={"out": Role.INOUT}, out=data, value=5)
    with Worker(place(site, tmp_path, has_device=True)) as worker:
        device = worker.start().device
        assert device is not None
        assert (device.name, device.capability, device.driver) == ("Stub (no GPU)", 90, 12040)
        for _ in range(2):
            written = worker.run(case("store", threads=32, repeats=300, out=ints(1000), value=5))
            assert (written.status, written.reason) == (JobStatus.OK, "")
            assert not np.frombuffer(written.outputs["out"], np.int32).any()  # the device computes nothing
            copied = worker.run(untouched)
            assert copied.outputs["out"] == data.tobytes()
        assert worker.starts == 1


def test_what_the_driver_refuses_is_refused(site: Path, tmp_path: Path) -> None:
    small = case("store", threads=32, out=ints(32), value=1)
    with Worker(place(site, tmp_path, has_device=True)) as worker:
        too_large = worker.run(dataclasses.replace(small, room_bytes=limits.GIB))
        assert too_large.status is JobStatus.REFUSED
        assert "memory" in too_large.reason
        shared = worker.run(dataclasses.replace(small, shared_bytes=100_000))
        assert (shared.status, shared.reason) == (JobStatus.OK, "")
        assert worker.run(small).status is JobStatus.OK


def test_no_device_is_said_in_one_sentence(site: Path, tmp_path: Path) -> None:
    with Worker(place(site, tmp_path, has_device=False)) as worker:
        with pytest.raises(WorkerGoneError, match="the GPU cannot be used: no CUDA-capable device is detected"):
            worker.start()


@pytest.mark.skipif(has_device(), reason="this machine has the driver")
def test_a_pycuda_without_a_driver_is_said_in_one_sentence(site: Path) -> None:
    with Worker(Place("stub", (str(site),))) as worker:
        with pytest.raises(WorkerGoneError, match=r"PyCUDA cannot be loaded .*libcuda\.so\.1"):
            worker.start()


def test_the_fake_is_as_strict_as_the_real_one(site: Path, tmp_path: Path) -> None:
    """The same calls on both: the same types and errors, and of the driver's errors the same words."""
    include = nvidia_directory("cuda_runtime") / "include"
    library = stub.build(tmp_path / "stub", include, has_device=True)
    fake = tmp_path / "fake"
    fake.mkdir()
    found = []
    for arguments in ([str(site), str(library)], [str(fake_cuda.install(fake))]):
        command = [sys.executable, pycuda_calls.__file__, *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
        found.append(json.loads(done.stdout))
    real, pretended = found
    assert {name: (real[name], pretended[name]) for name in real if real[name] != pretended[name]} == {}
    assert sum("failed: " in text for text in real.values()) > 15


_BENCHMARK = """
import ctypes, json, os, sys
site, library = sys.argv[1:]
ctypes.CDLL(library, ctypes.RTLD_GLOBAL)
from tests.bench import gpu
from tests.gpu.client import Place
print(json.dumps(gpu.measure_on(Place("stub", (site,), (library,)), gpu.SMALL)), flush=True)
os._exit(0)
"""


def test_the_benchmark_uses_the_real_interface_as_it_is(site: Path, tmp_path: Path) -> None:
    library = stub.build(tmp_path, nvidia_directory("cuda_runtime") / "include", has_device=True)
    command = [sys.executable, "-c", _BENCHMARK, str(site), str(library)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300)
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["failed"] == ""
    assert figures["bit_equal_kernels"] == 0  # the device computes nothing, and the comparison sees it
