"""What the doctor says of GPUs: NVML is a stub, PyCUDA the fake on the CPU engine, /dev and /sys are folders."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from p2pcompute.compute import compiler, cuda_worker
from p2pcompute.compute.child import Child
from p2pcompute.compute.cuda import CudaEngine
from p2pcompute.compute.measure import Effort
from p2pcompute.node import doctor, doctor_gpu
from p2pcompute.node.doctor_gpu import device_nodes, driver, examine_gpus, has_nvidia_hardware, permit
from p2pcompute.node.finding import Finding
from tests.compute import fake_cuda
from tests.compute.nvml.conftest import gpus, stub_library  # noqa: F401

Hardware = Callable[[str, str], bool]
GIB = 2**30


@pytest.fixture
def hardware(tmp_path: Path) -> Hardware:
    """`hardware(class, vendor)`: whether a machine with this one device on its bus is taken for one with a GPU."""

    def has(kind: str, vendor: str) -> bool:
        device = tmp_path / "bus" / "0000:17:00.0"
        device.mkdir(parents=True, exist_ok=True)
        (device / "class").write_text(f"{kind}\n")
        (device / "vendor").write_text(f"{vendor}\n")
        return has_nvidia_hardware(tmp_path / "bus")

    return has


@pytest.fixture
def dev(tmp_path: Path) -> Path:
    """A /dev with one GPU."""
    folder = tmp_path / "dev"
    folder.mkdir()
    for name in ("nvidiactl", "nvidia-uvm", "nvidia0"):
        (folder / name).touch()
    return folder


@pytest.fixture
def machine(gpus: pytest.MonkeyPatch, tmp_path: Path, dev: Path) -> pytest.MonkeyPatch:  # noqa: F811
    """One GPU, its devices, a PyCUDA that works, and little to measure."""
    fake_cuda.install(tmp_path, total_bytes=16 * GIB)
    gpus.setenv("PYTHONPATH", str(tmp_path))
    gpus.setattr(CudaEngine, "_PROGRAM", tuple(fake_cuda.command(tmp_path, cuda_worker.__name__)[3:]))
    gpus.setattr(doctor_gpu, "GPU", Effort(2, 2**16))
    gpus.setattr(doctor_gpu, "device_nodes", lambda: device_nodes(dev))
    return gpus


def broken_pycuda(folder: Path, error: ImportError) -> None:
    """In place of the fake, and of a real one that may be installed, one that cannot be imported."""
    (folder / "pycuda").unlink()
    (folder / "pycuda").mkdir()
    (folder / "pycuda" / "__init__.py").write_text(f"raise {error!r}\n")


async def findings() -> list[Finding]:
    return [finding async for finding in examine_gpus()]


@pytest.mark.parametrize(("is_there", "is_fault"), [(False, False), (True, True)])
@pytest.mark.usefixtures("stub_library")
async def test_a_missing_driver_is_a_fault_only_where_there_is_a_gpu(
    monkeypatch: pytest.MonkeyPatch, is_there: bool, is_fault: bool
) -> None:
    monkeypatch.delenv("STUB_GPUS", raising=False)
    monkeypatch.setattr(doctor_gpu, "has_nvidia_hardware", lambda: is_there)
    (found,) = await findings()
    assert (found.what, found.ok) == ("GPU driver", not is_fault)
    assert found.found == "NVIDIA's driver is not installed (no libnvidia-ml.so.1)"
    assert found.fix.startswith("sudo ubuntu-drivers install, then restart")


@pytest.mark.parametrize(
    ("code", "found", "fix"),
    [
        ("9", "NVIDIA's driver is not loaded", "sudo modprobe nvidia"),
        ("18", "NVIDIA's driver was updated and the old one still runs", "restart the machine"),
        (
            "4",
            "this user may not use the GPU (see ls -l /dev/nvidia*)",
            "sudo usermod -aG video,render $USER, then log in again",
        ),
    ],
)
async def test_a_driver_that_does_not_answer_is_a_fault_with_its_command(
    machine: pytest.MonkeyPatch, code: str, found: str, fix: str
) -> None:
    machine.setattr(doctor_gpu, "has_nvidia_hardware", lambda: True)
    machine.setenv("STUB_INIT", code)
    assert await findings() == [Finding("GPU driver", found, fix)]


async def test_a_gpu_that_works_is_measured(machine: pytest.MonkeyPatch) -> None:
    machine.setenv("STUB_GPUS", "2")
    told, first, second = await findings()
    assert told == Finding("GPU driver", "550.54.15")
    for number, found in enumerate((first, second)):
        assert (found.what, found.fix) == ("Stub GPU", "")
        assert found.found.startswith(f"GPU-stub-{number}: ")
        assert "GFLOP/s" in found.found
        assert found.found.endswith("GB/s")


@pytest.mark.parametrize(
    ("faults", "says", "fix"),
    [
        ({"cuInit": 46}, "busy or unavailable", "sudo nvidia-smi -i GPU-stub-0 -c DEFAULT"),
        ({"cuInit": 999}, "unknown error", "sudo nvidia-modprobe -u -c 0"),
        ({"cuInit": 803}, "unsupported display driver", "restart the machine"),
        ({"cuLaunchKernel": 719}, "the GPU runs no kernel", doctor_gpu.PAGE),
    ],
)
async def test_a_gpu_whose_engine_does_not_start_is_a_fault(
    machine: pytest.MonkeyPatch, tmp_path: Path, faults: dict[str, int], says: str, fix: str
) -> None:
    fake_cuda.install(tmp_path, faults=faults)
    _, found = await findings()
    assert (found.what, found.ok, found.fix) == ("Stub GPU", False, fix)
    assert says in found.found


async def test_a_gpu_is_not_tried_without_pycuda(machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken_pycuda(tmp_path, ModuleNotFoundError("No module named 'pycuda'"))
    _, found = await findings()
    assert (found.what, found.ok) == ("PyCUDA", False)
    assert found.found == "ModuleNotFoundError: No module named 'pycuda'"
    assert "-m pip install 'p2pcompute[gpu]'" in found.fix


async def test_a_pycuda_without_the_drivers_library_is_told_where_it_comes_from(
    machine: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake_cuda.install(tmp_path, libcuda=False)
    _, found = await findings()
    assert (found.what, found.ok, "libcuda.so.1" in found.found) == ("PyCUDA", False, True)
    assert "NVIDIA_DRIVER_CAPABILITIES=compute,utility" in found.fix


async def test_a_pycuda_that_wants_the_toolkit_is_built_without_it(machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lacking = "libcurand.so.10: cannot open shared object file: No such file or directory"
    broken_pycuda(tmp_path, ImportError(lacking))
    _, found = await findings()
    assert (found.what, found.ok) == ("PyCUDA", False)
    assert found.found == f"ImportError: {lacking}"
    assert found.fix.startswith("echo 'CUDA_ENABLE_CURAND = False' >>~/.aksetup-defaults.py && ")


def test_an_old_driver_is_replaced() -> None:
    assert driver("550.54.15").ok
    assert driver("unknown").ok
    old = driver("535.183.01")
    assert (old.ok, old.found) == (False, "535.183.01, older than 550")
    assert "ubuntu-drivers install" in old.fix


async def test_nothing_is_tried_on_an_old_driver(machine: pytest.MonkeyPatch) -> None:
    machine.setattr(doctor_gpu, "DRIVER_MIN", 551)
    (found,) = await findings()
    assert (found.what, found.ok) == ("GPU driver", False)


@pytest.mark.parametrize("name", ["nvidiactl", "nvidia-uvm"])
async def test_a_device_that_nobody_made_is_a_fault(machine: pytest.MonkeyPatch, dev: Path, name: str) -> None:
    (dev / name).unlink()
    _, found = await findings()
    assert found == Finding("GPU devices", f"there is no {dev / name}", "sudo nvidia-modprobe -u -c 0")


def test_a_device_that_this_user_may_not_use_is_a_fault(dev: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locked = dev / "nvidia0"
    locked.chmod(0o600)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != locked)  # root may open everything
    assert device_nodes(dev) == Finding("GPU devices", f"this user may not use {locked}", f"sudo chmod a+rw {locked}")


@pytest.mark.parametrize(
    ("mode", "group", "fix"),
    [
        (0o660, 1, "sudo usermod -aG daemon $USER, then log in again"),
        (0o600, 1, "sudo chmod a+rw /dev/nvidia0"),
        (0o660, 0, "sudo chmod a+rw /dev/nvidia0"),
        (0o660, 4_000_000, "sudo chmod a+rw /dev/nvidia0"),
    ],
)
def test_who_may_use_a_device_is_its_group_where_that_helps(mode: int, group: int, fix: str) -> None:
    assert permit(Path("/dev/nvidia0"), os.stat_result((mode, 0, 0, 1, 0, group, 0, 0, 0, 0))) == fix


def test_devices_that_can_be_used_are_no_finding(dev: Path) -> None:
    assert device_nodes(dev) is None


@pytest.mark.parametrize(
    ("kind", "vendor", "is_gpu"),
    [
        ("0x030000", "0x10de", True),
        ("0x030200", "0x10de", True),
        ("0x040300", "0x10de", False),
        ("0x030000", "0x1002", False),
    ],
)
def test_displays_of_nvidia_are_hardware(hardware: Hardware, kind: str, vendor: str, is_gpu: bool) -> None:
    assert hardware(kind, vendor) == is_gpu


def test_a_machine_without_a_bus_has_no_hardware(tmp_path: Path) -> None:
    assert not has_nvidia_hardware(tmp_path / "none")


_WITHOUT_NVRTC = """
import runpy, sys
sys.modules["nvidia.cuda_nvrtc"] = None
runpy.run_module("p2pcompute.compute.jail", run_name="__main__", alter_sys=True)
"""


async def test_a_missing_compiler_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "Child", lambda program, *more: Child(("-c", _WITHOUT_NVRTC), *more))
    found = await doctor._compiler()
    assert not found.ok
    assert "nvidia.cuda_nvrtc is not installed" in found.found
    assert "-m pip install --force-reinstall nvidia-cuda-nvrtc-cu12==12.4.127" in found.fix


def test_a_machine_that_does_not_tell_of_its_owner_is_shared_by_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    class Deaf:
        sources = ()

        def close(self) -> None: ...

    monkeypatch.setattr(doctor, "Inputs", Deaf)
    found = doctor._input()
    assert (found.ok, found.hint, found.fix) == (True, True, "serve --when HOURS")
