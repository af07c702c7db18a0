"""Whole worlds: nothing breaks an invariant, and a seed says everything."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import simnet.node
from p2pcompute.protocol import records
from p2pcompute.protocol.machine import Reply
from p2pcompute.wire import documents as d
from simnet.__main__ import crash_worlds, scenario_of, world_of
from simnet.invariants import check, journal
from simnet.network import Links
from simnet.node import NETWORK, Node
from simnet.world import Scenario, World

SWARM_SEEDS = 25
ROUGH = Scenario(providers=6, characters=("honest", "liar"), links=Links(loss=0.1))


@pytest.mark.parametrize("seed", range(SWARM_SEEDS))
def test_a_small_world_with_liars_loss_and_crashes_keeps_every_invariant(seed: int) -> None:
    world = world_of(seed)
    world.run()
    check(world)


def test_the_swarm_covers_liars_loss_crashes_and_both_policies() -> None:
    scenarios = [scenario_of(seed) for seed in range(SWARM_SEEDS)]
    assert any("liar" in s.characters for s in scenarios)
    assert any(s.links.loss for s in scenarios)
    assert {s.replicas for s in scenarios} == {2, 3}
    assert any(n.crash_at_append >= 0 for seed in range(SWARM_SEEDS) for n in world_of(seed).providers)


def test_a_crash_at_any_append_of_any_node_breaks_nothing() -> None:
    crashed = 0
    for name, world in crash_worlds(1):
        world.run()
        check(world)
        crashed += any(event == "node.crashed" for _, _, event, _ in world.events)
        assert world.events, name
    assert crashed >= 50


def trace(seed: int) -> list[str]:
    lines: list[str] = []
    World(ROUGH, seed, trace=lines.append).run()
    return lines


def test_one_seed_gives_one_trace() -> None:
    first = trace(3)
    assert first == trace(3)
    assert first != trace(4)
    assert len(first) > 100


def test_one_seed_gives_one_trace_in_any_process() -> None:
    command = [sys.executable, "-m", "simnet", "run", "--seed", "3", "--loss", "0.1"]
    outputs = [
        subprocess.run(
            command, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True, timeout=60
        ).stdout
        for seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1]
    assert outputs[0].endswith(b"all invariants hold\n")


def deadbeat_world(monkeypatch: pytest.MonkeyPatch) -> World:
    """A requester that never sends a cheque, and providers that carry no second debt."""
    monkeypatch.setattr(simnet.node, "CREDIT", 1)
    world = World(Scenario(providers=3, requester="deadbeat", tasks=1, until_ms=60_000), 1)
    world.run()
    return world


def test_a_deadbeat_gets_its_result_and_leaves_unpaid_receipts(monkeypatch: pytest.MonkeyPatch) -> None:
    world = deadbeat_world(monkeypatch)
    assert [done for done, _ in world.finished.values()] == [True]
    unpaid = [p for p in world.providers if any(isinstance(x, records.Issued) for x in journal(p))]
    assert len(unpaid) == 2
    assert not any(isinstance(x, records.Covered) for p in world.providers for x in journal(p))


def test_a_deadbeat_gets_no_further_work_from_those_it_owes(monkeypatch: pytest.MonkeyPatch) -> None:
    world = deadbeat_world(monkeypatch)
    deadbeat = world.requester
    assert deadbeat.core is not None
    codes = []
    for p in world.providers:
        assert p.core is not None
        probe = deadbeat.core.post.write(p.now, d.Probe(deadbeat.delegation, "cpu", 1, 1), lifetime_ms=1_000)
        reply = next(e for e in p.core.on_request(p.now, deadbeat.peer, 10**6, probe.raw) if isinstance(e, Reply))
        assert reply.frame is not None
        answer = d.open_document(NETWORK, reply.frame, Node.network_verify).body
        codes.append(answer.code if isinstance(answer, d.Decline) else None)
    assert sorted(codes, key=str) == [d.DeclineCode.NO_CREDIT, d.DeclineCode.NO_CREDIT, None]
