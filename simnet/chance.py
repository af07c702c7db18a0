"""Worlds and faults drawn from a seed: what a swarm runs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final

import msgspec

from p2pcompute.wire.policy import Scheme
from simnet.characters import CHARACTERS
from simnet.disk import CrashState
from simnet.faults import (
    Absence,
    AnyFault,
    Crash,
    CrashAtRecord,
    Lag,
    Nat,
    Partition,
    Pause,
    Plan,
    Skew,
    SlowDisk,
    Storm,
    Straggle,
)
from simnet.links import Links
from simnet.scenario import Scenario, Work
from simnet.world import World

CHANCE: Final = "chance"
"""The scenario that is drawn from the seed."""
CALM_MS: Final = 20_000
"""Faults are over by then, so that whatever can be done can also be finished."""
BAD_REQUESTERS: Final = (
    "deadbeat",
    "hoarder",
    "skimper",
    "loss-inventor",
    "understater",
    "crammer",
    "spammer",
    "forger",
    "replayer",
)
"""No haggler, which reserves all there is, one after the other, and so keeps all few slots of a small world."""
BAD_PROVIDERS: Final = tuple(
    name
    for name in CHARACTERS
    if name not in ("honest", "liar", "padder", "naysayer", "haggler")
    and (name not in BAD_REQUESTERS or name in ("spammer", "forger", "replayer"))
)
"""Small worlds end before a padder pads, or a naysayer says no."""
REFEREED: Final = 0.25
LAG_MS_MAX: Final = 200
"""Two nodes that both lag still answer each other within a second, as requests have to be."""
SKEW_MS_MAX: Final = 800
"""A quote lives for two seconds: peers whose clocks differ by more than that cannot trade."""


def scenario_of(seed: int) -> Scenario:
    """A small world."""
    rng = random.Random(f"scenario/{seed}")
    providers = rng.randrange(5, 9)
    scenario = Scenario(
        shows=f"a small world made of seed {seed}",
        providers=providers,
        characters={"liar": rng.choice((0, 1, 1, 2))},
        slots=rng.choice((1, 2, 4)),
        regions=rng.random() < 0.2,
        work=Work(
            tasks=rng.randrange(1, 5),
            replicas=rng.choice((2, 2, 3)),
            arrival=rng.choice(("even", "poisson", "burst")),
        ),
        links=Links(loss=rng.choice((0.0, 0.0, 0.05, 0.2)), latency=rng.choice(("uniform", "heavy"))),
    )
    scenario = msgspec.structs.replace(scenario, work=_varied(seed, _believed(seed, scenario.work)))
    return _refereed(seed, _populated(seed, scenario))


def _believed(seed: int, work: Work) -> Work:
    """A third of the worlds has another policy than replication, a fifth of the others results that are only close."""
    rng = random.Random(f"policy/{seed}")
    verify = rng.choice(("replicate",) * 4 + ("adaptive", "sample"))
    if verify == "sample":
        return msgspec.structs.replace(work, verify=verify, replicas=2, samples=44, blocks=1_000)
    if verify == "adaptive":
        return msgspec.structs.replace(work, verify=verify, replicas=2, kernels=1)
    return msgspec.structs.replace(work, tolerant=rng.random() < 0.2)


def _varied(seed: int, work: Work) -> Work:
    """In a fifth of the worlds some kernels trap, in another fifth tasks share leases."""
    rng = random.Random(f"varied/{seed}")
    traps = rng.choice((0.0,) * 4 + (0.5,))
    return msgspec.structs.replace(work, traps=traps, session=rng.choice((0,) * 4 + (work.replicas,)))


def _populated(seed: int, scenario: Scenario) -> Scenario:
    """In half of the worlds one more provider comes, of any bad character; in a third of them a bad requester."""
    rng = random.Random(f"characters/{seed}")
    if rng.random() < 0.5:
        characters = scenario.characters | {rng.choice(BAD_PROVIDERS): 1}
        scenario = msgspec.structs.replace(scenario, providers=scenario.providers + 1, characters=characters)
    if rng.random() < 0.33:
        characters = {rng.choice(BAD_REQUESTERS): 1}
        scenario = msgspec.structs.replace(scenario, requesters=2, requester_characters=characters)
    return scenario


def _refereed(seed: int, scenario: Scenario) -> Scenario:
    """A quarter of the worlds that replicate have a referee, most of these a gang that could be a quorum."""
    rng, work = random.Random(f"referee/{seed}"), scenario.work
    if work.policy.scheme is not Scheme.REPLICATE or work.tolerant or rng.random() >= REFEREED:
        return scenario
    gang = rng.choice((0, 2, 3))
    return msgspec.structs.replace(
        scenario,
        providers=scenario.providers + gang,
        characters=scenario.characters | {"gang": gang},
        work=msgspec.structs.replace(work, referee=True, blocks=1_000),
    )


def plan_of(seed: int, scenario: Scenario) -> Plan:
    """Its faults: in half of the worlds some node crashes at some journal record, in most something else goes wrong."""
    rng = random.Random(f"faults/{seed}")
    names = scenario.names()
    faults = [
        CrashAtRecord(name, rng.randrange(0, 8), disk=rng.choice(list(CrashState)))
        for name in names
        if rng.random() < 0.2
    ]
    return (*faults, *(_fault(rng, names) for _ in range(rng.choice((0, 1, 1, 2, 3)))))


def _fault(rng: random.Random, names: tuple[str, ...]) -> AnyFault:
    some = ",".join(rng.sample(names, rng.randrange(1, max(2, len(names) // 2))))
    one = rng.choice(names)
    at_ms = rng.randrange(0, CALM_MS // 2)
    for_ms = rng.randrange(100, CALM_MS // 2)
    drawn: tuple[AnyFault, ...] = (
        Crash(one, at_ms, rng.randrange(100, 5_000), rng.choice(list(CrashState))),
        Absence(at_ms=at_ms, for_ms=for_ms, nodes=rng.choice(names[1:-1])),
        Pause(at_ms=at_ms, for_ms=for_ms, nodes=one),
        Partition(at_ms=at_ms, for_ms=for_ms, nodes=some, one_way=rng.random() < 0.3),
        Storm(at_ms=at_ms, for_ms=for_ms, loss=0.2, duplicate=0.1, reorder=0.2, request_loss=0.1, jitter_ms=100),
        Storm(at_ms=at_ms, for_ms=for_ms, uplink_kb_s=rng.choice((8, 64))),
        Lag(at_ms=at_ms, for_ms=for_ms, nodes=some, extra_ms=rng.randrange(50, LAG_MS_MAX)),
        Skew(at_ms=at_ms, for_ms=for_ms, nodes=one, by_ms=rng.randrange(-SKEW_MS_MAX, SKEW_MS_MAX)),
        SlowDisk(at_ms=at_ms, for_ms=for_ms, nodes=some, factor=rng.choice((10, 100))),
        Straggle(at_ms=at_ms, for_ms=for_ms, nodes=some, factor=10.0),
        Nat(for_ms=CALM_MS, nodes=rng.choice(names[1:])),
    )
    return rng.choice(drawn)


def world_of(seed: int) -> World:
    """The swarm's world for a seed."""
    scenario = scenario_of(seed)
    return World(scenario, seed, plan=plan_of(seed, scenario))


def crash_worlds(seed: int) -> Iterator[tuple[str, World]]:
    """One world for each journal record of each node of an undisturbed run: that node crashes there, once for each
    state of the disk."""
    scenario = Scenario(providers=4)
    probe = World(scenario, seed)
    probe.run()
    for node in (probe.requester, *probe.providers):
        for record in range(len(node.disk.records)):
            for state in CrashState:
                plan = (CrashAtRecord(node.name, record, disk=state),)
                yield f"{node.name} at record {record}, disk {state}", World(scenario, seed, plan=plan)
