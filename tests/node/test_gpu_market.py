"""A provider of GPUs, from NVML to the receipt: NVML is a stub, and the device the CPU engine behind a fake of PyCUDA.

Nothing here says anything about a GPU.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trio

from p2pcompute.client.arguments import In, InOut
from p2pcompute.compute import cuda_worker
from p2pcompute.compute.cuda import CudaEngine
from p2pcompute.compute.measure import Effort
from p2pcompute.errors import DeviceError
from p2pcompute.identity import keys
from p2pcompute.node import factory, selling
from p2pcompute.protocol.matching import Needs
from p2pcompute.protocol.receipts import audit
from p2pcompute.wire.policy import replicate
from tests.compute import fake_cuda
from tests.compute.nvml.conftest import gpus, stub_library  # noqa: F401
from tests.node.market import LOOPBACK, SAXPY, open_market

GIB = 2**30
N = 10_000


@pytest.fixture
def machine(gpus: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:  # noqa: F811
    """A machine with one GPU, which is measured quickly."""
    folder = tmp_path / "device"
    folder.mkdir()
    fake_cuda.install(folder, total_bytes=16 * GIB, needs_zeros=True)
    gpus.syspath_prepend(str(folder))
    gpus.setattr(CudaEngine, "_PROGRAM", tuple(fake_cuda.command(folder, cuda_worker.__name__)[3:]))
    gpus.setattr(selling, "GPU", Effort(2, 2**16))
    return gpus


async def test_a_gpu_is_sold_and_a_processor_computes_the_same_bits(
    machine: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    x = np.arange(N, dtype=np.float32) / 7
    async with open_market(tmp_path, [None, None], engines=["cuda", "cpu"]) as (client, (gpu, processor)):
        book = {row["engine"]: row for row in await client.node.table("book")}
        offer = book["cuda"]
        assert (offer["model"], offer["compute_capability"], offer["numeric_class"]) == ("Stub GPU", 90, "cuda-90")
        assert (offer["slots"], offer["memory_bytes_max"], offer["isolation"]) == (1, 4 * GIB, "jail")
        assert min(int(str(offer[rate])) for rate in ("mflops", "mflops_f64", "copy_mb_s")) > 0
        with trio.fail_after(60):
            arguments = {"n": N, "a": 2.0, "x": In(x), "y": InOut(np.ones(N, np.float32))}
            job = await client.submit(SAXPY, arguments=arguments, grid=40, block=256, policy=replicate(2))
            result = await job.result()
        assert np.array_equal(result["y"], np.float32(2) * x + np.float32(1))
        checked = audit("main", await job.evidence(), keys.verify)
        assert checked.ok
        assert len(checked.receipts) == 2
        assert [peer.core.provider.chain.next_link()[0] for peer in (gpu, processor)] == [1, 1]


async def test_work_that_asks_for_a_gpu_goes_to_one(machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async with open_market(tmp_path, [None, None], engines=["cuda", "cpu"], prices=[900, 1]) as (client, peers):
        with trio.fail_after(60):
            arguments = {"n": N, "a": 2.0, "x": In(np.ones(N, np.float32)), "y": InOut(np.ones(N, np.float32))}
            needs = Needs(engine="cuda")
            job = await client.submit(SAXPY, arguments=arguments, grid=40, block=256, replicas=1, needs=needs)
            result = await job.result()
        assert result["y"].sum() == 3 * N
        assert [peer.core.provider.chain.next_link()[0] for peer in peers] == [1, 0]


async def test_each_gpu_of_one_model_is_a_slot(machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine.setenv("STUB_GPUS", "2")
    factory.create_home(tmp_path / "home", "", "", "main")
    async with factory.open_provider(tmp_path / "home", "", {"listen": LOOPBACK}) as (peer, node):
        terms = peer.core.provider.terms
        assert terms is not None
        assert (terms.engine, terms.slots) == ("cuda", 2)
        assert (await node.status())["remarks"] == []


async def test_a_gpu_that_does_not_start_leaves_the_others_to_sell(machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine.setenv("STUB_GPUS", "3")
    fake_cuda.install(tmp_path / "device", total_bytes=16 * GIB, needs_zeros=True, missing=["GPU-stub-1"])
    factory.create_home(tmp_path / "home", "", "", "main")
    async with factory.open_provider(tmp_path / "home", "", {"listen": LOOPBACK}) as (peer, node):
        terms = peer.core.provider.terms
        assert terms is not None
        assert (terms.engine, terms.slots) == ("cuda", 2)
        (remark,) = (await node.status())["remarks"]
        assert remark.startswith("not sold: Stub GPU GPU-stub-1: ")
        assert "no CUDA-capable device" in remark


async def test_a_gpu_that_does_not_start_is_one_sentence_and_the_next_step(
    machine: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake_cuda.install(tmp_path / "device", faults={"cuInit": 999})
    factory.create_home(tmp_path / "home", "", "", "main")
    with pytest.raises(DeviceError, match=r"^Stub GPU GPU-stub-0: .*unknown error; p2pcompute doctor tells more"):
        async with factory.open_provider(tmp_path / "home", "", {"listen": LOOPBACK}):
            pass


async def test_one_that_is_too_hot_is_not_sold(machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine.setenv("STUB_CELSIUS", "85")
    factory.create_home(tmp_path / "home", "", "", "main")
    changes = {"listen": LOOPBACK, "celsius_max": 80, "resume_s": 0}
    async with factory.open_provider(tmp_path / "home", "", changes) as (_, node):
        status = await node.status()
        assert (status["offers"], status["paused"]) == (0, "a GPU has 85 degrees, more than 80")
        async with node.events() as events:
            machine.setenv("STUB_CELSIUS", "70")
            with trio.fail_after(20):
                async for event in events:
                    if event.name == "node.resumed":
                        break
        status = await node.status()
        assert (status["offers"], status["paused"]) == (1, "")


async def test_the_power_limit_is_the_drivers_while_it_sells(machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    factory.create_home(tmp_path / "home", "", "", "main")
    changes = {"listen": LOOPBACK, "watts_max": 250}
    with selling.open_nvml() as (nvml, _):
        assert nvml is not None
        nvml.limit_power("GPU-stub-0", 400_000)
        async with factory.open_provider(tmp_path / "home", "", changes):
            assert nvml.power_limit_mw("GPU-stub-0") == 250_000
        assert nvml.power_limit_mw("GPU-stub-0") == 400_000
        machine.setenv("STUB_DENY", "1")
        async with factory.open_provider(tmp_path / "home", "", changes) as (_, node):
            (remark,) = node.peer.remarks
            assert remark.endswith("as root: nvidia-smi -i GPU-stub-0 -pl 250")
