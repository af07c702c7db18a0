"""The synchronous client against a real provider on another thread's node."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import trio

import p2pcompute
from p2pcompute import Client, In, InOut, LocalError, as_completed
from p2pcompute.errors import UsageError
from p2pcompute.identity.keys import verify
from p2pcompute.node import factory
from p2pcompute.wire import documents as d
from p2pcompute.wire.policy import sample
from tests.node.market import LOOPBACK, SAXPY


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where one provider listens, for as long as the module's tests run."""
    home = tmp_path_factory.mktemp("provider") / "home"
    factory.create_home(home, "", "", "main")
    ready, box = threading.Event(), dict[str, object]()

    async def serve() -> None:
        async with factory.open_provider(home, "", {"listen": LOOPBACK, "threads": 1}) as (peer, _):
            stop = trio.Event()
            box.update(address=peer.addresses()[0], stop=stop, token=trio.lowlevel.current_trio_token())
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: trio.run(serve))
    thread.start()
    assert ready.wait(30)
    yield str(box["address"])
    stop, token = box["stop"], box["token"]
    assert isinstance(stop, trio.Event)
    assert isinstance(token, trio.lowlevel.TrioToken)
    token.run_sync_soon(stop.set)
    thread.join(30)


def test_jobs_behave_like_futures_and_fill_arrays(address: str) -> None:
    with Client(bootstrap=[address]) as client:
        arrays = [np.full(1000, i, np.float32) for i in range(3)]
        jobs = [
            client.submit(SAXPY, n=1000, a=1.0, x=In(y.copy()), y=InOut(y), grid=4, block=256, replicas=1)
            for y in arrays
        ]
        assert {job.id for job in as_completed(jobs, 30)} == {job.id for job in jobs}
        for i, (job, y) in enumerate(zip(jobs, arrays, strict=True)):
            assert job.done()
            assert np.all(y == 2 * i)
            assert job.result()["y"].dtype == np.float32
        assert client.status()["offers"] == 1
    with pytest.raises(LocalError, match="closed"):
        client.status()


def test_a_sample_of_blocks_is_recomputed_by_the_clients_own_engine(address: str) -> None:
    y = np.arange(1000, dtype=np.float32)
    with Client(bootstrap=[address]) as client:
        job = client.submit(SAXPY, n=1000, a=1.0, x=In(y.copy()), y=InOut(y), grid=4, block=256, policy=sample(3))
        assert job.result(60)["y"].tolist() == (2 * np.arange(1000, dtype=np.float32)).tolist()
        (assignment, *_) = job.evidence()
        assert d.body_of(d.open_document("main", assignment, verify), d.Assignment).policy == sample(3)
        counter = p2pcompute.Kernel('extern "C" __global__ void count(int* p) { atomicAdd(p, 1); }', "count")
        with pytest.raises(UsageError, match="replicate it instead"):
            client.submit(counter, p=InOut(np.zeros(1, np.int32)), grid=1, block=32, policy=sample(3))


def test_a_session_keeps_its_provider_from_job_to_job_and_gives_it_back(address: str) -> None:
    with Client(bootstrap=[address]) as client:
        with client.session(providers=1) as session:
            for i in range(3):
                y = np.full(1000, i, np.float32)
                job = session.submit(SAXPY, n=1000, a=1.0, x=In(y.copy()), y=InOut(y), grid=4, block=256, replicas=1)
                assert np.all(job.result(30)["y"] == 2 * i)
            named = [{"n": 10, "a": 2.0, "x": In(x), "y": InOut(x.copy())} for x in np.ones((2, 10), np.float32)]
            for result in session.map(SAXPY, named, grid=1, block=32, replicas=1):
                assert np.all(result["y"] == 3)
        again = np.ones(10, np.float32)
        job = client.submit(SAXPY, n=10, a=1.0, x=In(again.copy()), y=InOut(again), grid=1, block=32, replicas=1)
        assert np.all(job.result(30)["y"] == 2)
    with Client(bootstrap=[address]) as client, pytest.raises(UsageError, match="1 to 1024 providers"):
        client.session(providers=0).__enter__()


def test_an_error_of_a_job_is_raised_by_its_result(address: str) -> None:
    wild = p2pcompute.Kernel('extern "C" __global__ void wild(int* p) { p[9] = 1; }', "wild")
    with Client(bootstrap=[address]) as client:
        job = client.submit(wild, p=InOut(np.zeros(1, np.int32)), grid=1, block=1, replicas=1)
        assert isinstance(job.exception(30), p2pcompute.KernelError)


def test_closing_fails_what_is_not_over(address: str) -> None:
    client = Client()
    job = client.submit(SAXPY, n=1, a=1.0, x=In(np.ones(1, "f4")), y=InOut(np.ones(1, "f4")), grid=1, block=1)
    client.close()
    with pytest.raises(LocalError, match="closed before"):
        job.result(5)
