"""Whole nodes on simulated sockets: transport, DHT, py-libp2p's host, blob exchange and runtime, in virtual time."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from p2pcompute.errors import UsageError
from simnet.faults import Crash, Nat, Partition, Plan
from simnet.hosts import HostWorld
from simnet.invariants import Watch
from simnet.scenario import Scenario, Work

SMALL = Scenario(providers=4, characters={"liar": 1}, work=Work(tasks=2))
SCRIPT = """
from simnet.hosts import HostWorld
from simnet.scenario import Scenario, Work
world = HostWorld(Scenario(providers=4, characters={"liar": 1}, work=Work(tasks=2)), 5, hashing=True)
world.run()
print(world.trace.digest(), world.wheel.now_ms)
"""


def lived(seed: int, plan: Plan = (), scenario: Scenario = SMALL) -> HostWorld:
    world = HostWorld(scenario, seed, plan=plan, hashing=True)
    watch = Watch(world)
    world.run()
    watch.end()
    return world


def events(world: HostWorld, name: str) -> int:
    return sum(event == name for _, _, event, _ in world.events)


def test_whole_nodes_do_the_tasks_and_catch_the_liar() -> None:
    world = lived(1)
    assert all(task.done for task in world.tasks.values())
    assert any(event == "job.verdict" and fields["judgement"] == "OUTVOTED" for _, _, event, fields in world.events)


def test_a_provider_that_crashes_while_it_works_comes_back_and_no_task_is_lost() -> None:
    world = lived(2, (Crash("provider0", 2_600, 3_000), Crash("requester", 3_000, 1_000)))
    assert events(world, "node.crashed") == 2


def test_a_line_that_is_cut_for_a_while_costs_no_task() -> None:
    lived(3, (Partition(at_ms=2_500, for_ms=8_000, nodes="provider1,provider2"),))


def test_tasks_are_done_although_nobody_can_dial_half_of_the_providers() -> None:
    lived(4, (Nat(for_ms=60_000, nodes="provider2,provider3"),))


def test_one_seed_is_one_world_in_any_process() -> None:
    outputs = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            timeout=120,
        ).stdout
        for seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1]
    assert len(outputs[0].split()) == 2


def test_there_is_a_limit_to_the_nodes() -> None:
    with pytest.raises(UsageError, match="at most 30 nodes"):
        HostWorld(Scenario(providers=30), 1).run()
