"""Many worlds, on several processors: until the first one breaks an invariant, or all have kept them."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from simnet.extras import load_extras
from simnet.faults import Plan, encode_plan
from simnet.runs import Outcome, finish, make_world, prepare, shrink, version
from simnet.scenario import Scenario

TWICE_EVERY: Final = 100
"""One world in so many is run twice, in processes of their own, and must be the same to the last event."""
CHUNK: Final = 4


class Findings(msgspec.Struct):
    """What a swarm found."""

    seeds: int = 0
    failed: int = 0
    wrong_accepted: int = 0
    twice: int = 0
    tasks: int = 0
    faults: int = 0
    cpu_s: float = 0.0


class Failure(msgspec.Struct, frozen=True):
    """A world that broke an invariant, with all that is needed to see it again."""

    name: str
    load: str
    outcome: Outcome
    scenario: Scenario
    plan: Plan

    def text(self) -> str:
        """For people."""
        seed, load = self.outcome.seed, f" --load {self.load}" if self.load else ""
        lines = (
            f"seed {seed}: {self.outcome.violation}",
            f"replay: python -m simnet replay {self.name} {seed}{load}",
            f"commit: {version()}",
            f"world: {msgspec.json.encode(self.scenario).decode()}",
            f"faults:\n{encode_plan(self.plan)}" if self.plan else "faults: none",
        )
        return "\n".join(lines)


def _work(job: tuple[str, int, int, bool]) -> Outcome:
    name, seed, nodes, hashing = job
    scenario, plan = prepare(name, seed, nodes=nodes)
    return finish(name, make_world(scenario, seed, plan, hashing=hashing))


def outcomes(name: str, seeds: Sequence[int], *, nodes: int, jobs: int, load: str) -> Iterator[Outcome]:
    """Of these seeds' worlds, in order; one in TWICE_EVERY comes twice in a row. Workers `load` a tester's file."""
    work = []
    for seed in seeds:
        twice = seed % TWICE_EVERY == 0
        work += [(name, seed, nodes, twice)] * (2 if twice else 1)
    if jobs == 1:
        yield from map(_work, work)
        return
    with multiprocessing.get_context("spawn").Pool(
        jobs, load_extras if load else None, (load,) if load else ()
    ) as pool:
        yield from pool.imap(_work, work, chunksize=CHUNK)


def swarm(
    name: str,
    seeds: Sequence[int],
    *,
    nodes: int = 0,
    jobs: int = 1,
    load: str = "",
    progress: Callable[[Findings], None],
) -> tuple[Findings, Failure | None]:
    """Run the worlds of these seeds up to the first failure, whose faults are shrunk to those that it takes."""
    found = Findings()
    before: Outcome | None = None
    for outcome in outcomes(name, seeds, nodes=nodes, jobs=jobs, load=load):
        if before is not None and before.seed == outcome.seed:
            found.twice += 1
            if before.trace != outcome.trace:
                changed = f"the same seed gave two worlds: {before.trace} and {outcome.trace}"
                outcome = msgspec.structs.replace(outcome, violation=changed)
        else:
            found.seeds += 1
            found.tasks += outcome.tasks
            found.faults += outcome.faults
        found.cpu_s += outcome.cpu_s
        before = outcome
        progress(found)
        if outcome.violation:
            found.failed += 1
            found.wrong_accepted += "wrong result" in outcome.violation
            scenario, plan = prepare(name, outcome.seed, nodes=nodes)
            return found, Failure(name, load, outcome, scenario, shrink(name, scenario, outcome.seed, plan))
    return found, None
