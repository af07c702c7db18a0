"""Whole tasks over real transports, journals and jailed engines."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
import pytest
import trio

from p2pcompute.cli.liar import LyingEngine
from p2pcompute.client.aio import open_client
from p2pcompute.client.arguments import In, InOut, Out
from p2pcompute.client.calls import Call
from p2pcompute.client.kernel import Kernel
from p2pcompute.compute.engine import Engine, EngineResult, OnStep
from p2pcompute.errors import BudgetError, KernelError, NoPeersError, P2PComputeError, VerificationError
from p2pcompute.identity import keys
from p2pcompute.node import factory
from p2pcompute.node.fraud import Fraud, verify_fraud
from p2pcompute.protocol.ledger import Credit
from p2pcompute.protocol.matching import Needs
from p2pcompute.protocol.receipts import audit
from p2pcompute.wire.fraud import FraudProof, decode_fraud, encode_fraud
from p2pcompute.wire.manifest import Manifest
from p2pcompute.wire.policy import replicate, sample
from tests.node.market import SAXPY, open_market

N = 10_000


def saxpy_arguments() -> tuple[dict[str, object], np.ndarray]:
    x = np.arange(N, dtype=np.float32)
    y = np.ones(N, np.float32)
    return {"n": N, "a": 2.0, "x": In(x), "y": InOut(y)}, 2 * x + 1


async def test_replicas_agree_and_their_receipts_verify_offline(tmp_path: Path) -> None:
    async with open_market(tmp_path, [None, None]) as (client, _):
        arguments, expected = saxpy_arguments()
        with trio.fail_after(30):
            job = await client.submit(SAXPY, arguments=arguments, grid=40, block=256, replicas=2)
            result = await job.result()
        assert np.array_equal(result["y"], expected)
        assert len(result.receipts) == 2
        checked = audit("main", await job.evidence(), keys.verify)
    assert checked.ok
    assert all(line.countersigned for line in checked.receipts)


async def test_a_result_that_costs_more_than_the_credit_comes_in_slices_and_is_paid_once(tmp_path: Path) -> None:
    n = 1_000_000
    async with open_market(tmp_path, [None, None]) as (client, peers):
        for peer in peers:
            peer.core.ledger.credit = Credit(300, 300, 10**9)  # less than the least price of a task
        x, y = np.arange(n, dtype=np.float32), np.ones(n, np.float32)
        with trio.fail_after(60):
            arguments = {"n": n, "a": 2.0, "x": In(x), "y": InOut(y)}
            job = await client.submit(SAXPY, arguments=arguments, grid=3907, block=256, replicas=2)
            result = await job.result()
            assert np.array_equal(result["y"], 2 * x + 1)
            receipts = [r for peer in peers for r in peer.core.provider.chain.receipts()]
            while not all(peer.core.provider.chain.receipts() and not peer.core.provider._unpaid for peer in peers):
                await trio.sleep(0)
    assert any(e.paid for peer in peers for e in peer.core.provider._engagements.values())
    assert sum(r.body.price for r in receipts) == result.price


async def test_the_cheapest_liar_is_outvoted_and_gets_no_more_work(tmp_path: Path) -> None:
    async with open_market(tmp_path, [LyingEngine, None, None], prices=[1, 500, 600]) as (client, peers):
        for _ in range(2):
            arguments, expected = saxpy_arguments()
            with trio.fail_after(30):
                job = await client.submit(SAXPY, arguments=arguments, grid=40, block=256, replicas=2)
                result = await job.result()
            assert np.array_equal(result["y"], expected)
        bans = await client.node.table("bans")
        assert len(bans) == 1
        assert peers[0].core.provider.chain.receipts() == []
        jobs = await client.node.table("jobs")
        assert [len(row["replicas"]) for row in jobs if isinstance(row["replicas"], dict)] == [3, 2]


async def test_the_cheapest_liar_is_refuted_by_a_block_recomputed_here(tmp_path: Path) -> None:
    async with open_market(tmp_path, [LyingEngine, None], prices=[1, 500]) as (client, peers):
        arguments, expected = saxpy_arguments()
        with trio.fail_after(60):
            job = await client.submit(SAXPY, arguments=arguments, grid=40, block=256, policy=sample(40))
            result = await job.result()
        assert np.array_equal(result["y"], expected)
        assert len(result.receipts) == 1
        assert [peer.core.provider.chain.next_link()[0] for peer in peers] == [0, 1]
        (ban,) = await client.node.table("bans")
        assert "refuted" in str(ban["reason"])
        (proof,) = await job.frauds()
    path = tmp_path / "fraud.p2p"
    path.write_bytes(proof)
    fraud = await verified(proof)
    assert fraud.provider == peers[0].core.post.env.me
    assert "leaves another byte" in fraud.sentence
    for bent in bent_proofs(decode_fraud(proof)):
        with pytest.raises(VerificationError):
            await verified(encode_fraud(bent))


async def test_a_majority_of_liars_is_refuted_by_the_block_in_which_they_differ(tmp_path: Path) -> None:
    """Both liars bend the same bit: for a majority they would be right."""
    row = [LyingEngine, LyingEngine, None, None]
    async with open_market(tmp_path, row, prices=[1, 2, 500, 600]) as (client, peers):
        arguments, expected = saxpy_arguments()
        policy = replicate(3, 2, referee=True)
        with trio.fail_after(60):
            job = await client.submit(SAXPY, arguments=arguments, grid=40, block=256, policy=policy)
            result = await job.result()
        assert np.array_equal(result["y"], expected)
        assert [peer.core.provider.chain.next_link()[0] for peer in peers] == [0, 0, 1, 1]
        bans = await client.node.table("bans")
        assert len(bans) == 2
        assert all("refuted" in str(ban["reason"]) for ban in bans)
        proofs = await job.frauds()
    frauds = [await verified(proof) for proof in proofs]
    assert {fraud.provider for fraud in frauds} == {peer.core.post.env.me for peer in peers[:2]}


@dataclasses.dataclass(frozen=True)
class LateLiar:
    """Computes two steps, bends the state after the third, and states that nothing changes from then on."""

    honest: Engine
    quarantine = ""

    async def run(
        self,
        manifest: Manifest,
        ptx_text: bytes,
        inputs: Mapping[str, bytes | memoryview],
        *,
        on_step: OnStep | None = None,
    ) -> EngineResult:
        assert on_step is not None
        shown: list[Mapping[str, bytes]] = []

        async def show(state: Mapping[str, bytes]) -> None:
            bent = {name: data[:-5] + bytes([data[-5] ^ 1]) + data[-4:] for name, data in state.items()}
            shown.append(state if len(shown) < 2 else bent if len(shown) == 2 else shown[2])
            await on_step(shown[-1])

        return await self.honest.run(manifest, ptx_text, inputs, on_step=show)

    async def aclose(self) -> None:
        await self.honest.aclose()


async def test_the_first_false_step_decides_though_later_ones_rest_on_it(tmp_path: Path) -> None:
    async with open_market(tmp_path, [LateLiar, None, None], prices=[1, 500, 600]) as (client, peers):
        arguments, _ = saxpy_arguments()
        task = await client.prepare(SAXPY, [Call(arguments, 40, 256, repeats=5)])
        with trio.fail_after(60):
            job = await client.submit_task(task, policy=replicate(2, 2, referee=True))
            result = await job.result()
        assert np.array_equal(result["y"], 10 * np.arange(N, dtype=np.float32) + 1)
        (proof,) = await job.frauds()
    fraud = await verified(proof)
    assert (fraud.provider, fraud.sentence[:6]) == (peers[0].core.post.env.me, "step 2")


async def verified(proof: bytes) -> Fraud:
    engine = factory.cpu_engine(2**30)
    try:
        return await verify_fraud("main", decode_fraud(proof), engine, keys.verify)
    finally:
        await engine.aclose()


def bent_proofs(proof: FraudProof) -> list[FraudProof]:
    """Each says something that is not so."""
    replace, e = msgspec.structs.replace, proof.evidence
    first, last = e.pieces[0], e.pieces[-1]
    data = bytes([last.data[0] ^ 1]) + last.data[1:]
    return [
        replace(proof, evidence=replace(e, pieces=e.pieces[1:])),
        replace(proof, evidence=replace(e, pieces=())),
        replace(proof, evidence=replace(e, pieces=(*e.pieces[:-1], replace(last, data=data)))),
        replace(proof, evidence=replace(e, pieces=(replace(first, leaves=(first.leaves[0] + 1,)), *e.pieces[1:]))),
        replace(proof, evidence=replace(e, byte=e.byte + 1024 * 4)),
        replace(proof, evidence=replace(e, block=e.block + 1)),
        replace(proof, evidence=replace(e, step=1)),
        replace(proof, evidence=replace(e, buffer=0)),
        replace(proof, ptx=proof.ptx + b"\n"),
        replace(proof, manifest=proof.manifest[:-1]),
        replace(proof, commitment=proof.assignment),
        replace(proof, opening=proof.opening[:-1] + bytes([proof.opening[-1] ^ 1])),
    ]


@dataclasses.dataclass(frozen=True)
class OtherBits:
    """An honest engine whose sums run in another order: the last bit of each float differs."""

    honest: Engine
    quarantine = ""

    async def run(
        self,
        manifest: Manifest,
        ptx_text: bytes,
        inputs: Mapping[str, bytes | memoryview],
        *,
        on_step: OnStep | None = None,
    ) -> EngineResult:
        result = await self.honest.run(manifest, ptx_text, inputs, on_step=on_step)
        other = {name: (np.frombuffer(data, "u4") ^ 1).tobytes() for name, data in result.outputs.items()}
        return dataclasses.replace(result, outputs=other)

    async def aclose(self) -> None:
        await self.honest.aclose()


async def test_results_that_are_close_enough_agree(tmp_path: Path) -> None:
    async with open_market(tmp_path, [None, OtherBits]) as (client, _):
        arguments, expected = saxpy_arguments()
        arguments["y"] = InOut(np.ones(N, np.float32), ulp=2)
        with trio.fail_after(60):
            result = await (await client.submit(SAXPY, arguments=arguments, grid=40, block=256)).result()
        np.testing.assert_array_max_ulp(result["y"], expected, 2)
        assert len(result.receipts) == 2
        arguments["y"] = InOut(np.ones(N, np.float32))
        with trio.fail_after(60):
            job = await client.submit(SAXPY, arguments=arguments, grid=40, block=256, timeout_s=4)
            with pytest.raises(P2PComputeError):
                await job.result()


async def test_faulty_kernels_end_in_one_sentence(tmp_path: Path) -> None:
    wild = Kernel('extern "C" __global__ void wild(int* p) { p[threadIdx.x + 1] = 1; }', "wild")
    endless = Kernel('extern "C" __global__ void endless(volatile int* p) { while (p[0] == 0) {} }', "endless")
    async with open_market(tmp_path, [None, None]) as (client, _):
        with trio.fail_after(30):
            job = await client.submit(wild, p=Out.of(32, np.int32), grid=1, block=32)
            with pytest.raises(KernelError, match="thread"):
                await job.result()
            job = await client.submit(endless, p=InOut(np.zeros(1, np.int32)), grid=1, block=1, device_s=0.3)
            with pytest.raises(KernelError):
                await job.result()


async def test_a_budget_too_small_signs_nothing(tmp_path: Path) -> None:
    async with open_market(tmp_path, [None, None]) as (client, peers):
        arguments, _ = saxpy_arguments()
        with trio.fail_after(30):
            job = await client.submit(SAXPY, arguments=arguments, grid=40, block=256, budget=10)
            with pytest.raises(BudgetError, match="budget"):
                await job.result()
        assert all(peer.core.provider.running == 0 for peer in peers)


async def test_nobody_to_ask_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("p2pcompute.protocol.hiring.LONELY_ROUNDS_MAX", 1)
    async with open_client(tmp_path / "client") as client:
        arguments, _ = saxpy_arguments()
        with trio.fail_after(30):
            job = await client.submit(SAXPY, arguments=arguments, grid=40, block=256)
            with pytest.raises(NoPeersError, match="no offers have been seen"):
                await job.result()


async def test_a_demand_that_no_offer_meets_is_answered_down_to_a_floor(tmp_path: Path) -> None:
    async with open_market(tmp_path, [None, None]) as (client, peers):
        for peer in peers:
            peer.core.provider.leasing.proposer.floor = 400_000
        arguments, expected = saxpy_arguments()
        with trio.fail_after(60):
            async with client.events() as events:
                job = await client.submit(
                    SAXPY, arguments=arguments, grid=40, block=256, needs=Needs(price_per_device_s_max=500_000)
                )
                async for event in events:
                    if event.name == "job.demand":
                        break
            (row,) = await client.node.table("demands")
            assert (row["job"], row["quantity"]) == (job.id.hex(), 2)
            assert (await client.node.table("jobs"))[0]["demand"] == "resting, 0 proposals"
            result = await job.result()
        assert np.array_equal(result["y"], expected)
        assert await client.node.table("demands") == []
