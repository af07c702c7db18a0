"""What a replica costs: F7 of docs/spec/documents.md and V7 of docs/spec/verification.md."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pcompute.protocol import pricing, records
from p2pcompute.protocol.machine import JobStatus
from p2pcompute.protocol.matching import Needs, RankBy
from p2pcompute.protocol.pricing import paid_us, price_ceiling, price_due, price_floor, traffic_bytes
from p2pcompute.wire import documents as d
from p2pcompute.wire import limits
from p2pcompute.wire.manifest import Buffer, Role, encode_manifest
from p2pcompute.wire.policy import Policy
from tests.protocol.stage import MANIFEST, NETWORK, Stage, ending, verify_once

replace: Any = msgspec.structs.replace
ASSIGNMENT = d.Assignment(
    b"r" * 32, b"m" * 32, b"b" * 32, 100, 1_000_000, 0, 100, 1_000_000, 10**12, Policy(), b"n" * 32
)  # fmt: skip
MONEY = st.integers(0, limits.PRICE_MAX)
MOVED = st.integers(0, 2**45)
MS = st.integers(1, limits.DEVICE_MS_MAX)


@pytest.mark.parametrize(
    ("claimed_us", "lowest_us", "price"),
    [
        (0, 0, 100),
        (100, 100, 100),
        (101, 101, 101),
        (100_000, 100_000, 100_000),
        (125_000, 100_000, 125_000),
        (900_000, 100_000, 125_000),
        (10**9, 10**9, 1_000_000),
    ],
    ids=["nothing", "minimum", "above it", "as claimed", "a quarter more", "padded", "ceiling"],
)
def test_the_price_is_the_claim_up_to_a_quarter_above_the_lowest(claimed_us: int, lowest_us: int, price: int) -> None:
    assert price_due(ASSIGNMENT, paid_us(claimed_us, lowest_us), 0) == price


@pytest.mark.parametrize(
    ("per_gb", "moved", "price"),
    [(0, 10**12, 500), (7, 10**9, 507), (7, 1, 501), (10**9, 500, 1_000), (10**9, 10**9, 1_000_000)],
    ids=["free", "a gigabyte", "a part rounds up", "bytes", "ceiling"],
)
def test_bytes_that_travel_are_added(per_gb: int, moved: int, price: int) -> None:
    assert price_due(replace(ASSIGNMENT, price_per_gb=per_gb), 500, moved) == price


def test_the_minimum_covers_both_parts_together() -> None:
    assignment = replace(ASSIGNMENT, price_per_gb=10**9)
    assert price_due(assignment, 60, 30) == 100
    assert price_due(assignment, 60, 60) == 120


def test_prices_round_up_once() -> None:
    assert price_due(replace(ASSIGNMENT, price_per_device_s=1_500_000), 101, 0) == 152
    halves = replace(ASSIGNMENT, price_per_device_s=1_500_000, price_per_gb=500_000_000)
    assert price_due(halves, 101, 1) == 152
    assert price_ceiling(replace(ASSIGNMENT, price_per_device_s=1_001, price_minimum=1), 1, 0) == 2


@given(MONEY, MONEY, MONEY, MS, MOVED, st.integers(0, 2**53 - 1), st.integers(0, 2**53 - 1))
def test_no_price_is_above_the_ceiling_or_below_the_floor(
    per_s: int, per_gb: int, minimum: int, device_ms: int, moved: int, claimed_us: int, lowest_us: int
) -> None:
    rates = d.Quote(bytes(32), per_s, per_gb, minimum)
    ceiling = price_ceiling(rates, device_ms, moved)
    exact = Fraction(per_s * device_ms, 1_000) + Fraction(per_gb * moved, 10**9)
    assert ceiling == min(limits.PRICE_MAX, max(minimum, math.ceil(exact)))
    assignment = replace(
        ASSIGNMENT, price_per_device_s=per_s, price_per_gb=per_gb, price_minimum=minimum, price_ceiling=ceiling
    )
    due = price_due(assignment, paid_us(claimed_us, min(claimed_us, lowest_us)), moved)
    assert minimum <= price_floor(assignment, moved) <= due <= ceiling


def test_what_travels_is_the_manifest_the_ptx_each_distinct_input_and_the_outputs() -> None:
    twice = (
        Buffer("a", "u8", (10,), Role.IN, b"a" * 32), Buffer("b", "u8", (10,), Role.IN, b"a" * 32),
        Buffer("c", "u8", (1_000,), Role.INOUT, b"c" * 32), Buffer("d", "u8", (100_000,), Role.OUT),
        Buffer("e", "u8", (10**6,), Role.TEMP),
    )  # fmt: skip
    manifest = replace(MANIFEST, buffers=twice, ptx_size_bytes=100)
    assert traffic_bytes(manifest, 7, with_outputs=False) == 7 + 100 + 10 + 1_000
    assert traffic_bytes(manifest, 7, with_outputs=True) == 7 + 100 + 10 + 1_000 + 101_000


# -- a whole task ----------------------------------------------------------------------------------------------------

IN = len(encode_manifest(MANIFEST)) + 100 + 32
OUT = 32
PER_GB = 10**12
DEVICE = 50_000


def receipts(stage: Stage) -> list[tuple[str, int]]:
    """(provider, price) of every receipt."""
    return [
        (actor.name, d.open_document(NETWORK, record.receipt, verify_once).body.price)
        for actor in stage.actors.values()
        for record in actor.records(records.Issued)
        if isinstance(record, records.Issued)
    ]


def test_every_agreeing_replica_is_paid_for_the_outputs_though_only_one_sends_them() -> None:
    stage = Stage()
    providers = stage.providers(3, price_per_device_s=1_000_000, price_per_gb=PER_GB)
    requester = stage.actor("requester")
    stage.play(requester, replicas=3, quorum=2)
    fetched = requester.event("job.fetching")
    assert len(fetched) == 1, "the outputs travelled once"
    price = DEVICE + (IN + OUT) * PER_GB // 10**9
    assert receipts(stage) == [(p.name, price) for p in providers]
    assert requester.core.ledger.account(providers[2].peer).promised == price


def test_outputs_that_a_trap_left_nobody_are_not_paid() -> None:
    stage = Stage()
    for p in stage.providers(2, price_per_device_s=1_000_000, price_per_gb=PER_GB):
        p.compute = ending(JobStatus.TRAP)
    requester = stage.actor("requester")
    stage.play(requester)
    assert [price for _, price in receipts(stage)] == [DEVICE + IN * PER_GB // 10**9] * 2


def test_the_bytes_are_within_the_budget_before_anything_is_reserved() -> None:
    most = 1_000_000 + (IN + OUT) * PER_GB // 10**9
    for budget, done in ((2 * most, True), (2 * most - 1, False)):
        stage = Stage()
        providers = stage.providers(2, price_per_device_s=1_000_000, price_per_gb=PER_GB)
        requester = stage.actor("requester")
        stage.play(requester, budget=budget)
        assert bool(requester.event("job.done")) is done
        assert all(bool(p.records(records.Reserved)) is done for p in providers)


def test_a_provider_dear_only_by_its_bytes_is_chosen_last() -> None:
    stage = Stage()
    providers = stage.providers(3, price_per_device_s=1_000_000)
    dear = replace(providers[0].offer, price_per_gb=PER_GB, price_per_device_s=999_999)
    providers[0].publish(dear)
    requester = stage.actor("requester")
    stage.play(requester)
    assert {name for name, _ in receipts(stage)} == {"p1", "p2"}


def test_ranked_by_work_the_fast_are_hired() -> None:
    stage = Stage()
    slow, *fast = stage.providers(3, mflops=1_000)
    for p in fast:
        assert p.offer is not None
        p.publish(replace(p.offer, price_per_device_s=p.offer.price_per_device_s + 2_000_000, mflops=4_000))
    for number, (by, hired) in enumerate(((RankBy.GFLOP, {"p1", "p2"}), (RankBy.DEVICE_SECOND, {"p0", "p1"}))):
        requester = stage.actor(f"requester {by}")
        stage.play(requester, job=bytes([number]) * 16, needs=Needs(rank_by=by))
        peers = {e.fields["peer"] for e in requester.event("job.assigned")}
        assert {p.name for p in (slow, *fast) if p.peer in peers} == hired


def test_the_bytes_are_paid_after_a_restart_too() -> None:
    stage = Stage()
    providers = stage.providers(2, price_per_device_s=1_000_000, price_per_gb=PER_GB)
    requester = stage.actor("requester")
    stage.submit(requester)
    stage.run(lambda: all(p.records(records.Committed) for p in providers))
    providers[0].crash()
    stage.run(lambda: bool(requester.event("job.done")))
    assert [price for _, price in receipts(stage)] == [DEVICE + (IN + OUT) * PER_GB // 10**9] * 2


def test_a_price_can_always_be_stated() -> None:
    rates = d.Quote(bytes(32), limits.PRICE_MAX, limits.PRICE_MAX, 0)
    assert pricing.price_ceiling(rates, limits.DEVICE_MS_MAX, 2**45) == limits.PRICE_MAX
