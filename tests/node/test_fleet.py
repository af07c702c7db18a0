from __future__ import annotations

import importlib.util
import re

import pytest

from p2pcompute.compute.cpu import CpuEngine
from p2pcompute.compute.cuda import CudaEngine
from p2pcompute.compute.nvml import Gpu, Nvml
from p2pcompute.errors import DeviceError, UsageError
from p2pcompute.node.config import Config, parse_config
from p2pcompute.node.fleet import choose, muster
from tests.compute.nvml.conftest import gpus, nvml, stub_library  # noqa: F401

GIB = 2**30


def gpu(number: int, name: str = "A", gib: int = 16) -> Gpu:
    return Gpu(f"GPU-{number}", name, gib * GIB, 80, f"GPU-{number}")


@pytest.fixture
def _pycuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if PyCUDA were installed: to find it is all that is done here."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())


def test_the_largest_class_is_sold_and_the_others_are_named() -> None:
    found = [gpu(0, "B", 80), gpu(1), gpu(2)]
    assert choose(found, ()) == ((gpu(1), gpu(2)), ("B GPU-0: unlike",))


def test_of_classes_of_one_size_the_one_with_more_memory_is_sold() -> None:
    assert choose([gpu(0), gpu(1, "B", 80)], ())[0] == (gpu(1, "B", 80),)


def test_of_one_model_with_unlike_memory_only_some_are_sold() -> None:
    assert choose([gpu(0), gpu(1), gpu(2, gib=8)], ())[0] == (gpu(0), gpu(1))


def test_gpus_can_be_named() -> None:
    found = [gpu(0), gpu(1), gpu(2)]
    assert choose(found, ["GPU-2", "GPU-0", "GPU-2"]) == ((gpu(2), gpu(0)), ())


@pytest.mark.parametrize(("wanted", "says"), [(["GPU-9"], "there is no GPU GPU-9"), (["GPU-0", "GPU-1"], "unlike")])
def test_gpus_that_cannot_be_sold_together_are_refused(wanted: list[str], says: str) -> None:
    with pytest.raises(DeviceError, match=says):
        choose([gpu(0), gpu(1, "B")], wanted)


@pytest.mark.usefixtures("_pycuda")
def test_each_gpu_has_an_engine_with_most_of_its_memory(gpus: pytest.MonkeyPatch, nvml: Nvml) -> None:  # noqa: F811
    gpus.setenv("STUB_GPUS", "2")
    fleet = muster(Config(memory_bytes=200 * GIB), nvml)
    assert [(e.device_id, e.memory_bytes_max) for e in fleet.engines if isinstance(e, CudaEngine)] == [
        ("GPU-stub-0", 75 * GIB),
        ("GPU-stub-1", 75 * GIB),
    ]
    assert (len(fleet.gpus), fleet.passed, fleet.workers) == (2, (), [])


def test_gpus_that_are_too_old_are_passed_over() -> None:
    old = Gpu("GPU-9", "Old", 16 * GIB, 61, "GPU-9")
    why = "Old GPU-9: compute capability 6.1, and 7.5 is needed"
    assert choose([old, gpu(0)], ()) == ((gpu(0),), (why,))
    for found, wanted in (([old], ()), ([old, gpu(0)], ("GPU-9", "GPU-0"))):
        with pytest.raises(DeviceError, match=f"^{re.escape(why)}$"):
            choose(found, wanted)


@pytest.mark.usefixtures("_pycuda")
def test_a_machine_whose_gpus_are_all_too_old_sells_processors(gpus: pytest.MonkeyPatch, nvml: Nvml) -> None:  # noqa: F811
    gpus.setenv("STUB_CAPABILITY", "61")
    fleet = muster(Config(), nvml)
    assert [type(engine) for engine in fleet.engines] == [CpuEngine]
    assert fleet.passed == ("no GPU: Stub GPU GPU-stub-0: compute capability 6.1, and 7.5 is needed",)


@pytest.mark.usefixtures("_pycuda")
def test_processors_are_sold_where_they_are_asked_for(nvml: Nvml) -> None:  # noqa: F811
    fleet = muster(Config(engine="cpu", slots=2, threads=4), nvml)
    assert [type(engine) for engine in fleet.engines] == [CpuEngine, CpuEngine]
    assert (fleet.gpus, fleet.passed) == ((), ())


def test_without_a_gpu_processors_are_sold_and_the_reason_is_told() -> None:
    fleet = muster(Config(), None, DeviceError("the driver is not loaded"))
    assert [type(engine) for engine in fleet.engines] == [CpuEngine]
    assert fleet.passed == ("no GPU: the driver is not loaded",)


@pytest.mark.parametrize("config", [Config(engine="cuda"), Config(gpus=("GPU-0",))])
def test_gpus_that_are_asked_for_must_be_there(config: Config) -> None:
    with pytest.raises(DeviceError, match="the driver is not loaded"):
        muster(config, None, DeviceError("the driver is not loaded"))


def test_without_pycuda_its_package_is_named(nvml: Nvml, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DeviceError, match=r"pip install 'p2pcompute\[gpu\]'"):
        muster(Config(engine="cuda"), nvml)


@pytest.mark.parametrize("text", ["engine = 'tpu'", "when = 'noon'", "celsius_max = -1", "gpus = [1]"])
def test_settings_that_mean_nothing_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_config(text, "config.toml")
