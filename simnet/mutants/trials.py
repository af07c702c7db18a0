"""The small worlds in which planted bugs have to show themselves."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Final

from p2pcompute.protocol import leasing, shards
from simnet.chance import plan_of, scenario_of
from simnet.disk import CrashState
from simnet.faults import (
    Absence,
    Crash,
    CrashAtRecord,
    Partition,
    Pause,
    Plan,
    Quit,
    Restore,
    SlowDisk,
    Storm,
    Straggle,
)
from simnet.invariants import bounds
from simnet.links import Links
from simnet.scenario import Scenario, Work
from simnet.world import World

LOST: Final = CrashState.LOST


@dataclasses.dataclass(frozen=True)
class Trial:
    """A world to run, `seeds` times. `quotes_max`: with so little room for quotes, so that it is soon used up.
    `shard_offers`: with shards of so many offers, so that the book is soon cut."""

    scenario: Scenario
    plan: Plan = ()
    seeds: int = 2
    quotes_max: int = 0
    shard_offers: int = 0

    def worlds(self) -> Iterator[World]:
        """One after the other."""
        for seed in range(1, self.seeds + 1):
            yield World(self.scenario, seed, plan=self.plan)

    @contextlib.contextmanager
    def room(self) -> Iterator[None]:
        """While its worlds run."""
        before = leasing.QUOTES_MAX, bounds.LIMITS["quotes"]
        shard = shards.SHARD_OFFERS_MAX, shards.SHARD_OFFERS_MIN
        if self.quotes_max:
            leasing.QUOTES_MAX = bounds.LIMITS["quotes"] = self.quotes_max  # type: ignore[misc]
        if self.shard_offers:
            shards.SHARD_OFFERS_MAX, shards.SHARD_OFFERS_MIN = self.shard_offers, self.shard_offers // 4  # type: ignore[misc]
        try:
            yield
        finally:
            leasing.QUOTES_MAX, bounds.LIMITS["quotes"] = before  # type: ignore[misc]
            shards.SHARD_OFFERS_MAX, shards.SHARD_OFFERS_MIN = shard  # type: ignore[misc]


def _mixed(**kinds: float) -> dict[str, float]:
    return {name.replace("_", "-"): share for name, share in kinds.items()}


ROUGH_LINKS: Final = Links(loss=0.1, request_loss=0.15)
TRIALS: Final[dict[str, Trial]] = {
    "calm": Trial(Scenario(providers=5, characters=_mixed(liar=1), requesters=2, work=Work(tasks=5))),
    "three": Trial(
        Scenario(providers=7, characters=_mixed(liar=1), price_step=0, work=Work(tasks=4, replicas=3)), seeds=2
    ),
    "loss": Trial(Scenario(providers=4, slots=1, links=ROUGH_LINKS, work=Work(tasks=6, first_ms=2_300)), seeds=3),
    "cut now and then": Trial(
        Scenario(providers=2, work=Work(tasks=10, every_ms=500)),
        plan=tuple(Partition(at_ms=at_ms, for_ms=350, nodes="provider0") for at_ms in range(2_000, 10_000, 1_000)),
        seeds=8,
    ),
    "crashes": Trial(
        Scenario(providers=4, work=Work(tasks=6, every_ms=1_000)),
        plan=(
            CrashAtRecord("requester", 5, disk=LOST),
            Crash("provider1", 3_400, disk=LOST),
            Crash("requester", 6_200, disk=LOST),
            Crash("provider0", 5_000, disk=CrashState.TORN),
        ),
        seeds=4,
    ),
    "late crash": Trial(
        Scenario(providers=3, work=Work(tasks=8, every_ms=1_500)),
        plan=(Crash("requester", 7_000, disk=LOST), Crash("provider*", 9_000, disk=CrashState.CLEAN)),
    ),
    "lost reservation": Trial(
        Scenario(providers=2, slots=1, work=Work(tasks=2, every_ms=300)),
        plan=(CrashAtRecord("requester", 1, disk=LOST),),
        seeds=3,
    ),
    "stops": Trial(
        Scenario(providers=3, slots=1, work=Work(tasks=8, every_ms=900, stops=0.5, run_ms_min=500, run_ms_max=2_000))
    ),
    "no budget": Trial(Scenario(providers=3, work=Work(tasks=2, budget=60_000_000)), seeds=1),
    "cheap only": Trial(Scenario(providers=5, work=Work(tasks=3, price_max=10_500_000)), seeds=1),
    "moved home": Trial(
        Scenario(providers=3, work=Work(tasks=6, every_ms=1_500)),
        plan=(Restore("requester", 6_000), Restore("provider1", 8_000)),
    ),
    "gang below quorum": Trial(
        Scenario(
            providers=6, characters=_mixed(gang=2), price_step=0, work=Work(tasks=4, replicas=3, quorum=3, every_ms=800)
        ),
        seeds=4,
    ),
    "tie": Trial(
        Scenario(providers=4, characters=_mixed(gang=2), price_step=0, work=Work(tasks=1, replicas=4), until_ms=60_000),
        seeds=4,
    ),
    "referee": Trial(
        Scenario(
            providers=7,
            characters=_mixed(gang=3, liar=1),
            price_step=0,
            work=Work(tasks=4, replicas=3, referee=True, blocks=100, every_ms=1_500),
        ),
        seeds=4,
    ),
    "little credit": Trial(Scenario(providers=4, credit=1, work=Work(tasks=4, every_ms=1_500)), seeds=1),
    "skimper": Trial(
        Scenario(
            providers=3, requesters=2, requester_characters=_mixed(skimper=1), work=Work(tasks=8), until_ms=20_000
        ),
        seeds=1,
    ),
    "hoarder": Trial(
        Scenario(
            providers=2,
            slots=32,
            requester_characters=_mixed(hoarder=1),
            work=Work(tasks=30, arrival="burst"),
            until_ms=6_000,
        ),
        seeds=1,
    ),
    "understater": Trial(
        Scenario(
            providers=2,
            slots=8,
            credit_first=80_000_000,
            requester_characters=_mixed(understater=1),
            work=Work(tasks=6, arrival="burst", run_ms_min=2_000, run_ms_max=4_000),
            until_ms=20_000,
        ),
        seeds=1,
    ),
    "haggler": Trial(
        Scenario(
            providers=3, requesters=2, requester_characters=_mixed(haggler=1), work=Work(tasks=4), until_ms=30_000
        ),
        seeds=1,
    ),
    "crammer": Trial(
        Scenario(
            providers=3, requesters=2, requester_characters=_mixed(crammer=1), work=Work(tasks=4), until_ms=30_000
        ),
        seeds=1,
    ),
    "hoarders": Trial(
        Scenario(
            providers=2,
            slots=32,
            requesters=3,
            credit_first=10**9,
            requester_characters=_mixed(hoarder=3),
            work=Work(tasks=90, arrival="burst"),
            until_ms=6_000,
        ),
        seeds=1,
    ),
    "session": Trial(
        Scenario(providers=4, requesters=2, slots=1, work=Work(tasks=14, every_ms=900, session=2)),
        plan=(Crash("requester", 9_000, disk=LOST),),
        seeds=1,
    ),
    "rare tasks": Trial(
        Scenario(providers=3, work=Work(tasks=8, every_ms=30_000, arrival="poisson", session=2), until_ms=600_000),
        plan=(Crash("provider1", 45_000, disk=LOST),),
    ),
    "long runs": Trial(
        Scenario(
            providers=3,
            slots=1,
            work=Work(tasks=2, every_ms=17_000, run_ms_min=20_000, run_ms_max=30_000),
            until_ms=200_000,
        ),
        seeds=1,
    ),
    "late assignments": Trial(
        Scenario(providers=3, requesters=2, slots=1, work=Work(tasks=4, every_ms=6_000), until_ms=240_000),
        plan=(SlowDisk(at_ms=1_000, for_ms=20_000, nodes="requester", factor=10_000),),
        seeds=1,
    ),
    "hydra": Trial(Scenario(providers=6, characters=_mixed(hydra=3), work=Work(tasks=3, replicas=3)), seeds=2),
    "liars": Trial(
        Scenario(providers=6, characters=_mixed(liar=2, subtle_liar=1), work=Work(tasks=9, outputs=3, every_ms=1_500))
    ),
    "copiers": Trial(Scenario(providers=6, characters=_mixed(lazy_copier=1), work=Work(tasks=3, every_ms=3_000))),
    "turncoat": Trial(
        Scenario(providers=7, characters=_mixed(turncoat=2), work=Work(tasks=7, every_ms=4_000)), seeds=3
    ),
    "withholder": Trial(Scenario(providers=6, characters=_mixed(withholder=1), work=Work(tasks=6))),
    "sybils": Trial(Scenario(providers=7, characters=_mixed(sybil=3), work=Work(tasks=2)), seeds=1),
    "deadbeat": Trial(
        Scenario(
            providers=2,
            slots=1,
            credit=1,
            requester_characters=_mixed(deadbeat=1),
            work=Work(tasks=6, every_ms=1_500),
            until_ms=20_000,
        ),
        seeds=1,
    ),
    "deniers": Trial(
        Scenario(providers=5, requesters=2, requester_characters=_mixed(loss_inventor=1), work=Work(tasks=6)), seeds=1
    ),
    "forger": Trial(
        Scenario(providers=6, characters=_mixed(forger=1), work=Work(tasks=4, every_ms=1_000), linger_ms=25_000),
        seeds=2,
    ),
    "replayer": Trial(
        Scenario(providers=5, characters=_mixed(replayer=1), work=Work(tasks=2), linger_ms=130_000, until_ms=200_000),
        plan=(Quit("provider3", 4_000),),
        seeds=1,
    ),
    "spammer": Trial(
        Scenario(providers=4, characters=_mixed(spammer=1), work=Work(tasks=2), linger_ms=5_000), quotes_max=4, seeds=1
    ),
    "offers run out": Trial(
        Scenario(providers=3, work=Work(tasks=1, first_ms=5_000), linger_ms=640_000, until_ms=700_000),
        plan=(Crash("provider2", 8_000, down_ms=630_000),),
        seeds=1,
    ),
    "two faces": Trial(
        Scenario(providers=8, characters=_mixed(two_faced=3), work=Work(tasks=2), linger_ms=70_000), seeds=2
    ),
    "squatter": Trial(Scenario(providers=6, characters=_mixed(squatter=2), work=Work(tasks=2)), seeds=1),
    "partition": Trial(
        Scenario(providers=8, work=Work(tasks=2), linger_ms=60_000),
        plan=(
            Partition(at_ms=100, for_ms=30_000, nodes="provider5,provider6,provider7"),
            Absence(at_ms=6_000, for_ms=10_000, nodes="provider1"),
            Absence(at_ms=7_000, for_ms=10_000, nodes="provider6"),
        ),
        seeds=2,
    ),
    "joining": Trial(Scenario(providers=8, boot_every_ms=700, work=Work(tasks=2), linger_ms=25_000), seeds=2),
    "stragglers": Trial(
        Scenario(providers=4, work=Work(tasks=4)), plan=(Straggle(at_ms=0, for_ms=60_000, nodes="provider1"),), seeds=1
    ),
    "slices": Trial(
        Scenario(
            providers=3,
            requesters=2,
            requester_characters=_mixed(deadbeat=1),
            credit=2_000_000,
            work=Work(tasks=4, every_ms=1_500, output_kb=1_024),
            until_ms=90_000,
        ),
        plan=(Restore("requester", 4_000), Crash("provider1", 6_000, disk=LOST)),
    ),
    "half paid": Trial(
        Scenario(providers=3, credit=500_000, work=Work(tasks=1, output_kb=1_024)),
        plan=(Partition(at_ms=3_620, for_ms=15_000, nodes="provider0"), Restore("requester", 3_640)),
        seeds=40,  # it must strike in the few moments between a cheque and its part
    ),
    "half paid, asleep": Trial(
        Scenario(providers=3, credit=500_000, work=Work(tasks=1, output_kb=1_024), until_ms=400_000),
        plan=(Pause(at_ms=3_920, for_ms=200_000, nodes="provider0"),),
        seeds=1,
    ),
    "backups": Trial(
        Scenario(providers=3, slots=8, work=Work(tasks=2, run_ms_min=200)),
        plan=(Straggle(at_ms=0, for_ms=60_000, nodes="provider1", factor=30.0),),
        seeds=1,
    ),
    "settled": Trial(
        Scenario(
            providers=3,
            settle_at=200_000,
            links=Links(loss=0.05, request_loss=0.05),
            work=Work(tasks=8, every_ms=700),
        ),
        plan=(CrashAtRecord("requester", 9, disk=LOST), Crash("requester", 5_500, disk=LOST)),
        seeds=4,
    ),
    "forkers": Trial(Scenario(providers=5, characters=_mixed(forker=1), work=Work(tasks=5, every_ms=900))),
    "padders": Trial(
        Scenario(
            providers=4,
            characters=_mixed(padder=2),
            price_step=0,
            work=Work(tasks=60, every_ms=400, kernels=1, verify="adaptive"),
        ),
        seeds=1,
    ),
    "traps": Trial(
        Scenario(providers=5, characters=_mixed(liar=1), work=Work(tasks=4, traps=0.6, every_ms=1_000)),
        plan=(Crash("requester", 6_000, disk=LOST),),
    ),
    "naysayers": Trial(
        Scenario(
            providers=6,
            characters=_mixed(naysayer=1, sleeper=1),
            price_step=0,
            work=Work(tasks=60, every_ms=400, kernels=1, verify="adaptive", traps=0.2),
        ),
        seeds=2,
    ),
    "samples": Trial(
        Scenario(
            providers=6,
            characters=_mixed(liar=1, faker=1),
            work=Work(tasks=8, every_ms=800, verify="sample", samples=44, blocks=1_000, traps=0.4),
        ),
    ),
    "named": Trial(
        Scenario(
            providers=5,
            characters=_mixed(liar=1),
            work=Work(tasks=5, verify="restricted", replicas=1, quorum=1, named=2),
        ),
    ),
    "shards": Trial(
        Scenario(
            providers=20,
            acquaintances=3,
            checks=("no-task-lost", "no-wrong-result", "several-asked", "paid-once"),
            until_ms=40_000,
            work=Work(tasks=4, first_ms=12_000, every_ms=1_000),
        ),
        seeds=1,
        shard_offers=8,
    ),
    "storm": Trial(
        Scenario(providers=6, work=Work(tasks=6), links=Links(request_loss=0.1)),
        plan=(Storm(at_ms=1_000, for_ms=8_000, loss=0.3, duplicate=0.2, reorder=0.3, request_loss=0.4),),
        seeds=3,
    ),
    **{f"swarm {seed}": Trial(scenario_of(seed), plan_of(seed, scenario_of(seed)), seeds=1) for seed in range(1, 7)},
}
