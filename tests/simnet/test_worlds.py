"""Whole worlds: nothing breaks an invariant, and a seed says everything."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from p2pcompute.protocol import records
from p2pcompute.protocol.machine import Reply
from p2pcompute.wire import documents as d
from simnet.chance import BAD_PROVIDERS, BAD_REQUESTERS, crash_worlds, plan_of, scenario_of, world_of
from simnet.disk import CrashState
from simnet.faults import CrashAtRecord
from simnet.invariants import Watch
from simnet.invariants.base import of_kind
from simnet.links import Links
from simnet.scenario import Scenario, Work
from simnet.site import NETWORK, network_verify
from simnet.world import World

SWARM_SEEDS = 25
ROUGH = Scenario(providers=6, characters={"liar": 1}, links=Links(loss=0.1))


def run_watched(world: World) -> World:
    watch = Watch(world)
    world.run()
    watch.end()
    return world


@pytest.mark.parametrize("seed", range(SWARM_SEEDS))
def test_a_small_world_with_liars_and_faults_keeps_every_invariant(seed: int) -> None:
    run_watched(world_of(seed))


def test_the_swarm_covers_liars_loss_both_policies_and_most_faults() -> None:
    scenarios = [scenario_of(seed) for seed in range(200)]
    assert any(s.characters["liar"] for s in scenarios)
    assert {name for s in scenarios for name in s.characters} == {"liar", *BAD_PROVIDERS}
    assert {name for s in scenarios for name in s.requester_characters} == set(BAD_REQUESTERS)
    assert any(s.links.loss for s in scenarios)
    assert {s.work.replicas for s in scenarios} == {2, 3}
    assert any(s.work.referee and s.characters["gang"] > s.work.quorum for s in scenarios)
    kinds = {type(fault).__name__ for seed in range(200) for fault in plan_of(seed, scenarios[seed])}
    assert kinds >= {"Crash", "CrashAtRecord", "Absence", "Pause", "Partition", "Storm", "Skew", "SlowDisk", "Nat"}


def test_a_crash_at_any_record_of_any_node_breaks_nothing() -> None:
    crashed = 0
    for name, world in crash_worlds(1):
        run_watched(world)
        crashed += any(event == "node.crashed" for _, _, event, _ in world.events)
        assert world.events, name
    assert crashed >= 100


def trace(seed: int) -> list[str]:
    lines: list[str] = []
    World(ROUGH, seed, show=lines.append).run()
    return lines


def test_one_seed_gives_one_trace() -> None:
    first = trace(3)
    assert first == trace(3)
    assert first != trace(4)
    assert len(first) > 100


def test_one_seed_gives_one_trace_in_any_process() -> None:
    script = "from simnet.chance import *; from simnet.world import World; World(scenario_of(3), 3, show=print).run()"
    outputs = [
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1]
    assert outputs[0].count(b"\n") > 100


def deadbeat_world() -> World:
    """A requester that never sends a cheque, and providers that carry no second debt."""
    scenario = Scenario(
        providers=3, requester_characters={"deadbeat": 1}, credit=1, work=Work(tasks=1), until_ms=60_000
    )
    return run_watched(World(scenario, 1))


def test_a_deadbeat_gets_its_result_and_leaves_unpaid_receipts() -> None:
    world = deadbeat_world()
    assert [task.done for task in world.tasks.values()] == [True]
    assert sum(any(of_kind(p, records.Issued)) for p in world.providers) == 2
    assert not any(any(of_kind(p, records.Covered)) for p in world.providers)


def test_a_deadbeat_gets_no_further_work_from_those_it_owes() -> None:
    world = deadbeat_world()
    deadbeat = world.requester
    assert deadbeat.core is not None
    codes = []
    for p in world.providers:
        assert p.core is not None
        probe = deadbeat.core.post.write(p.now, d.Probe(deadbeat.delegation, "cpu", 1, 1, 1), lifetime_ms=1_000)
        reply = next(e for e in p.core.on_request(p.now, deadbeat.peer, 10**6, probe.raw) if isinstance(e, Reply))
        assert reply.frame is not None
        answer = d.open_document(NETWORK, reply.frame, network_verify).body
        codes.append(answer.code if isinstance(answer, d.Decline) else None)
    assert sorted(codes, key=str) == [d.DeclineCode.NO_CREDIT, d.DeclineCode.NO_CREDIT, None]


def test_a_crash_leaves_of_the_last_write_what_the_plan_says() -> None:
    kept = {}
    for state in CrashState:
        plan = (CrashAtRecord("requester", 0, disk=state, down_ms=10_000_000),)
        world = World(Scenario(providers=2, work=Work(tasks=1), until_ms=5_000), 1, plan=plan)
        world.run()
        kept[state] = len(world.requester.disk.records)
    assert kept == {"clean": 1, "torn": 1, "lost": 0}


@pytest.mark.parametrize("seed", [1, 2])
def test_large_results_for_little_credit_come_in_slices_and_are_paid_once(seed: int) -> None:
    work = Work(tasks=3, every_ms=3_000, output_kb=1_000)
    world = run_watched(World(Scenario(providers=4, credit=10**6, work=work, until_ms=240_000), seed))
    assert [task.done for task in world.tasks.values()] == [True] * 3
    assert any(of_kind(world.requester, records.PartPaid))


def test_a_deadbeat_gets_no_large_result_for_little_credit() -> None:
    work = Work(tasks=1, output_kb=1_000)
    scenario = Scenario(providers=3, requester_characters={"deadbeat": 1}, credit=10**6, work=work, until_ms=120_000)
    world = run_watched(World(scenario, 1))
    assert [task.done for task in world.tasks.values()] == [False]
    assert sum(any(of_kind(p, records.Issued)) for p in world.providers) == 2
