from __future__ import annotations

import sys
from pathlib import Path

import pytest

from p2pcompute.compute.nvml import Gpu, Nvml, Reading
from p2pcompute.errors import DeviceError

GPU = "GPU-stub-0"


def test_every_gpu_is_found(gpus: pytest.MonkeyPatch, nvml: Nvml) -> None:
    gpus.setenv("STUB_GPUS", "2")
    assert nvml.gpus() == [
        Gpu("GPU-stub-0", "Stub GPU", 80 << 30, 90, "GPU-stub-0"),
        Gpu("GPU-stub-1", "Stub GPU", 80 << 30, 90, "GPU-stub-1"),
    ]
    assert nvml.driver() == "550.54.15"


def test_of_a_split_gpu_its_instances_are_found_and_not_itself(gpus: pytest.MonkeyPatch, nvml: Nvml) -> None:
    gpus.setenv("STUB_GPUS", "2")
    gpus.setenv("STUB_MIG", "2")
    assert [(gpu.uuid, gpu.memory_bytes >> 30, gpu.compute_capability, gpu.whole) for gpu in nvml.gpus()] == [
        ("MIG-stub-0", 10, 90, GPU),
        ("MIG-stub-1", 10, 90, GPU),
        ("GPU-stub-1", 80, 90, "GPU-stub-1"),
    ]
    assert [gpu.is_part for gpu in nvml.gpus()] == [True, True, False]


def test_a_reading_has_load_processes_heat_and_power(gpus: pytest.MonkeyPatch, nvml: Nvml) -> None:
    gpus.setenv("STUB_PIDS", "71 82 93 104 115 126")
    gpus.setenv("STUB_SM", "37")
    gpus.setenv("STUB_CELSIUS", "81")
    expected = Reading(37, frozenset({71, 82, 93, 104, 115, 126}), {71: 37}, 81, 70_000)
    assert nvml.reading(GPU) == expected


def test_an_idle_gpu_has_no_processes(nvml: Nvml) -> None:
    assert nvml.reading(GPU).processes == frozenset()


def test_what_a_gpu_cannot_say_is_none(gpus: pytest.MonkeyPatch, nvml: Nvml) -> None:
    gpus.setenv("STUB_OLD", "1")
    reading = nvml.reading(GPU)
    assert (reading.processes, reading.shares, nvml.energy_mj(GPU)) == (None, None, None)
    assert nvml.reading("GPU-gone") == Reading(None, None, None, None, None)
    assert nvml.energy_mj("GPU-gone") is None
    assert nvml.free_bytes("GPU-gone") is None


def test_energy_grows_and_memory_is_told(nvml: Nvml) -> None:
    before, after = nvml.energy_mj(GPU), nvml.energy_mj(GPU)
    assert before is not None
    assert after == before + 5_000
    assert nvml.free_bytes(GPU) == 79 << 30


def test_power_is_limited_within_what_the_gpu_allows(nvml: Nvml) -> None:
    for wanted_mw, limit_mw in ((250_000, 250_000), (10_000, 100_000), (5_000_000, 700_000)):
        assert nvml.limit_power(GPU, wanted_mw) == ""
        assert nvml.power_limit_mw(GPU) == limit_mw
    assert nvml.power_limit_mw("GPU-gone") is None


def test_who_may_not_limit_power_is_told_the_command(gpus: pytest.MonkeyPatch, nvml: Nvml) -> None:
    gpus.setenv("STUB_DENY", "1")
    assert nvml.limit_power(GPU, 250_000).endswith(f"as root: nvidia-smi -i {GPU} -pl 250")
    assert nvml.limit_power("GPU-gone", 250_000) == "there is no GPU GPU-gone"


def test_no_gpu_is_an_error_with_the_next_step(gpus: pytest.MonkeyPatch, nvml: Nvml) -> None:
    gpus.setenv("STUB_GPUS", "0")
    with pytest.raises(DeviceError, match="nvidia-smi -L"):
        nvml.gpus()


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (12, "ubuntu-drivers install"),
        (9, "modprobe nvidia"),
        (18, "restart the machine"),
        (4, "usermod -aG"),
        (999, "does not start"),
    ],
)
def test_a_library_that_does_not_start_names_the_remedy(gpus: pytest.MonkeyPatch, code: int, says: str) -> None:
    gpus.setenv("STUB_INIT", str(code))
    with pytest.raises(DeviceError, match=says):
        Nvml.open()


def test_without_the_bindings_their_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(DeviceError, match=r"pip install 'p2pcompute\[gpu\]'"):
        Nvml.open()


def test_the_stub_is_not_there_for_others(stub_library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STUB_GPUS", raising=False)
    with pytest.raises(DeviceError, match="not installed"):
        Nvml.open()
