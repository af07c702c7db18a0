"""The two drivers hold each other to account: the wheel, and the real runtime in virtual time."""

from __future__ import annotations

import random
import time

import pytest

from p2pcompute.errors import UsageError
from simnet.disk import CrashState
from simnet.faults import Absence, Crash, CrashAtRecord, Nat, Partition, Pause, Plan, Skew, SlowDisk, Storm
from simnet.invariants import Watch
from simnet.links import Links
from simnet.scenario import Scenario
from simnet.virtual import VirtualWorld
from simnet.world import World

SEEDS = range(8)
SEEDS_NIGHTLY = range(8, 200)
ROUGH = Scenario(providers=6, characters={"liar": 1}, links=Links(loss=0.05, request_loss=0.02))


def rough_plan(seed: int) -> Plan:
    """Something of everything that both drivers can do."""
    rng = random.Random(seed)
    return (
        CrashAtRecord(f"provider{rng.randrange(6)}", rng.randrange(6), disk=rng.choice(list(CrashState))),
        Crash("requester", rng.randrange(2_000, 5_000), disk=CrashState.TORN),
        Partition(
            at_ms=rng.randrange(2_000, 5_000), for_ms=2_000, nodes="provider2,provider3", one_way=rng.random() < 0.5
        ),
        Storm(at_ms=1_000, for_ms=3_000, duplicate=0.1, reorder=0.1, uplink_kb_s=rng.choice((0, 5, 50))),
        Absence(at_ms=3_000, for_ms=1_000, nodes="provider4"),
        Nat(for_ms=100_000, nodes="provider5"),
        SlowDisk(at_ms=2_000, for_ms=4_000, nodes="provider0", factor=rng.choice((1, 30))),
        Skew(at_ms=1_500, for_ms=4_000, nodes="provider1", by_ms=rng.randrange(-500, 500)),
    )


def lived(kind: type[World], scenario: Scenario, seed: int, plan: Plan) -> tuple[str, int]:
    world = kind(scenario, seed, plan=plan, hashing=True)
    watch = Watch(world)
    world.run()
    watch.end()
    return world.trace.digest(), world.wheel.now_ms


def differences(seeds: range) -> list[int]:
    return [
        seed
        for seed in seeds
        if lived(World, ROUGH, seed, rough_plan(seed)) != lived(VirtualWorld, ROUGH, seed, rough_plan(seed))
    ]


def test_a_calm_world_is_the_same_on_both_drivers() -> None:
    assert lived(World, Scenario(), 1, ()) == lived(VirtualWorld, Scenario(), 1, ())


def test_a_rough_world_is_the_same_on_both_drivers() -> None:
    assert differences(SEEDS) == []


@pytest.mark.nightly
def test_many_rough_worlds_are_the_same_on_both_drivers() -> None:
    assert differences(SEEDS_NIGHTLY) == []


def test_another_seed_is_another_world() -> None:
    assert lived(VirtualWorld, Scenario(), 1, ()) != lived(VirtualWorld, Scenario(), 2, ())


def test_a_crash_changes_the_trace() -> None:
    calm, struck = ((), (Crash("requester", 3_000),))
    assert lived(VirtualWorld, Scenario(), 1, calm) != lived(VirtualWorld, Scenario(), 1, struck)


def test_the_runtime_reads_no_clock_but_the_worlds(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = lived(VirtualWorld, Scenario(), 1, ())
    monkeypatch.setattr(time, "monotonic_ns", lambda: 1 / 0)
    monkeypatch.setattr(time, "time_ns", lambda: 1 / 0)
    assert lived(VirtualWorld, Scenario(), 1, ()) == expected


def test_the_trio_driver_refuses_to_stop_a_node() -> None:
    world = VirtualWorld(Scenario(), 1, plan=(Pause(at_ms=500, for_ms=1_000, nodes="provider1"),))
    with pytest.raises(BaseExceptionGroup) as caught:
        world.run()
    assert caught.group_contains(UsageError, match="use the wheel driver")
