"""Every scenario that comes along, and what a scenario or a plan of faults refuses to be."""

from __future__ import annotations

import itertools

import pytest

from p2pcompute.errors import UsageError
from simnet.disk import CrashState
from simnet.faults import Churn, Crash, Partition, Plan, decode_plan, encode_plan
from simnet.runs import finish, make_world, prepare
from simnet.scenario import Scenario, Work, decode_scenario, known_scenarios, load_scenario
from simnet.world import World

SLOW = ("flash-crowd", "home-machines", "rush-hour", "sybil-attack", "ten-thousand")
"""They take more than a few seconds."""
WANTED = {
    "calm-market", "rush-hour", "partition-and-heal", "regional-outage", "sybil-attack", "eclipse", "gpu-farm",
    "flash-crowd", "slow-disks", "home-machines", "ten-thousand", "sleepers",
}  # fmt: skip


def names() -> list[object]:
    return [pytest.param(name, marks=[pytest.mark.nightly] if name in SLOW else []) for name in known_scenarios()]


@pytest.mark.parametrize("name", names())
def test_a_scenario_keeps_its_invariants_and_does_its_tasks(name: str) -> None:
    scenario, plan = prepare(name, 1)
    outcome = finish(name, make_world(scenario, 1, plan))
    assert outcome.violation == ""
    assert outcome.done == outcome.tasks == scenario.work.tasks


def test_the_scenarios_that_testers_expect_are_there() -> None:
    assert set(known_scenarios()) >= WANTED
    assert all(len(load_scenario(name).shows) > 40 for name in known_scenarios())


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("providers = 0", "at least one provider"),
        ("providers = -1", "this is no scenario"),
        ("colour = 'red'", "this is no scenario: Object contains unknown field `colour`"),
        ("providers = [", "this is no scenario"),
        ("[characters]\nsaint = 1", "there is no character 'saint'"),
        ("[work]\narrival = 'never'", "there is no arrival 'never'; there are: even, poisson, burst"),
        ("[work]\nquorum = 3", "the quorum must be 1 to the number of replicas"),
        ("[work]\nrun_ms_min = 500", "run_ms_min is above run_ms_max"),
        ("[links]\nlatency = 'wormhole'", "there is no latency 'wormhole'"),
        ("[links]\nlatency_ms_min = 500", "latency_ms_min is above latency_ms_max"),
        ("sync_ms_min = 9", "sync_ms_min is above sync_ms_max"),
        ("[[faults]]\nkind = 'plague'", "Invalid value 'plague'"),
        ("[[faults]]\nkind = 'crash'\nnodes = 'provider77'\nat_ms = 1", "names 'provider77', and no node is called so"),
        ("[[faults]]\nkind = 'outage'\nregion = 'moon'", "there is no region 'moon'"),
        ("[[faults]]\nkind = 'crash'\nnodes = '*'\nat_ms = -5", "Expected `int` >= 0"),
    ],
)
def test_a_scenario_that_cannot_be_is_refused_in_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        decode_scenario(text)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_plan_survives_being_written_down() -> None:
    plan: Plan = (Crash("provider1", 100, 5, CrashState.TORN), Partition(at_ms=1, for_ms=2, nodes="a*,b", one_way=True))
    assert decode_plan(encode_plan(plan)) == plan
    assert decode_plan("") == ()
    assert encode_plan(plan).count("\n") == 4


def test_a_plan_in_toml_is_read_too() -> None:
    assert decode_plan('[[faults]]\nkind = "churn"\nup_ms = 5') == (Churn(up_ms=5),)


def test_shares_and_numbers_of_characters_are_dealt() -> None:
    world = World(Scenario(providers=21, characters={"liar": 0.25, "deadbeat": 3}), 1)
    kinds = [node.kind.__name__ for node in world.providers]
    assert (kinds.count("Liar"), kinds.count("Deadbeat"), kinds[0]) == (5, 3, "Honest")


@pytest.mark.parametrize(("arrival", "spread"), [("burst", {0}), ("even", {400})])
def test_tasks_arrive_as_the_scenario_says(arrival: str, spread: set[int]) -> None:
    world = World(Scenario(work=Work(tasks=4, arrival=arrival)), 1)
    world.run()
    at_ms = [task.submitted_ms for task in world.tasks.values()]
    assert {b - a for a, b in itertools.pairwise(at_ms)} == spread


def test_churn_ends_when_it_says_and_everybody_is_back() -> None:
    plan: Plan = (Churn(nodes="provider*", at_ms=1_000, for_ms=20_000, up_ms=3_000, away_ms=2_000),)
    world = World(Scenario(providers=8, work=Work(tasks=1)), 1, plan=plan)
    world.run()
    assert sum(event == "node.crashed" for _, _, event, _ in world.events) >= 5
    assert all(node.up for node in world.nodes)
