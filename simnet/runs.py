"""One world from start to end: run, watched, summed up."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from p2pcompute.errors import UsageError
from simnet.chance import CHANCE, plan_of, scenario_of
from simnet.faults import Plan, check_plan
from simnet.hosts import HostWorld
from simnet.invariants import Violation, Watch
from simnet.scenario import Scenario, load_scenario
from simnet.virtual import VirtualWorld
from simnet.world import World

DRIVERS: Final[dict[str, type[World]]] = {"wheel": World, "trio": VirtualWorld, "libp2p": HostWorld}


class Outcome(msgspec.Struct, frozen=True):
    """What came of a world. `violation` is empty when every invariant holds; `trace` is the hash of all that every node
    lived through, where it was asked for; times are virtual milliseconds and seconds of one processor."""

    scenario: str
    seed: int
    driver: str
    nodes: int
    events: int
    virtual_ms: int
    cpu_s: float
    tasks: int
    done: int
    trace: str
    violation: str
    faults: int


def prepare(name: str, seed: int, *, nodes: int = 0) -> tuple[Scenario, Plan]:
    """A scenario by name or file, and the faults that come on top; `chance` draws both from the seed, as a swarm does.
    `nodes` replaces the number of all nodes. Raises UsageError."""
    if name == CHANCE:
        scenario = scenario_of(seed)
        plan = plan_of(seed, scenario)
    else:
        scenario, plan = load_scenario(name), ()
    if nodes:
        if nodes <= scenario.requesters:
            raise UsageError(f"{nodes} nodes are too few: this scenario has {scenario.requesters} requesters alone")
        scenario = msgspec.structs.replace(scenario, providers=nodes - scenario.requesters)
        check_plan((*scenario.faults, *plan), scenario.names())
    return scenario, plan


def make_world(
    scenario: Scenario,
    seed: int,
    plan: Plan = (),
    *,
    driver: str = "wheel",
    show: Callable[[str], None] | None = None,
    hashing: bool = False,
) -> World:
    """The world, on one of the drivers. Raises UsageError for one that there is not."""
    if driver not in DRIVERS:
        raise UsageError(f"there is no driver {driver!r}; there are: {', '.join(DRIVERS)}")
    return DRIVERS[driver](scenario, seed, plan=plan, show=show, hashing=hashing)


def finish(name: str, world: World, watch: Watch | None = None) -> Outcome:
    """Run it to its end and look at every invariant."""
    watch = watch or Watch(world)
    begin_s = time.process_time()
    events, violation = world.run(), ""
    try:
        watch.end()
    except Violation as broken:
        violation = str(broken)
    return Outcome(
        scenario=name,
        seed=world.seed,
        driver=next(driver for driver, kind in DRIVERS.items() if type(world) is kind),
        nodes=len(world.nodes),
        events=events,
        virtual_ms=world.wheel.now_ms,
        cpu_s=round(time.process_time() - begin_s, 3),
        tasks=len(world.tasks),
        done=sum(task.done for task in world.tasks.values()),
        trace=world.trace.digest() if world.trace.hashing else "",
        violation=violation,
        faults=len(world.plan),
    )


def shrink(name: str, scenario: Scenario, seed: int, plan: Plan) -> Plan:
    """The faults without which the same world keeps its invariants, of the scenario's own and of `plan`: one after the
    other is left out, and stays out when something breaks all the same."""
    kept = [*scenario.faults, *plan]
    scenario = msgspec.structs.replace(scenario, faults=())
    for fault in list(kept):
        rest = tuple(one for one in kept if one is not fault)
        if finish(name, make_world(scenario, seed, rest)).violation:
            kept = list(rest)
    return tuple(kept)


def version() -> str:
    """The commit this code is at, where it runs from a checkout; else the version of the package."""
    here = Path(__file__).parent
    try:
        git = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
        found = subprocess.run(git, capture_output=True, text=True, check=True, timeout=10)
        return found.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        from importlib.metadata import version as installed

        return f"version {installed('p2pcompute')}"
