"""What it costs to believe results, and what a cheat gets away with: worlds on the simulator's wheel, with the real
protocol code on every peer.

`adaptive`: ten equal providers and one user of one kernel; what is computed for all its tasks, over one run of each.
Then the same with sleepers, who are honest until their word counts and lie from then on. `sample`: tasks of 1,000
blocks, of which providers and user together compute so much more; then with fakers, who make up every tenth block.
`replicate`: two of three among twenty equal operators, of which a share collude and state one wrong result; every user
comes once, and has banned nobody.
"""

from __future__ import annotations

import dataclasses
import statistics
from typing import Final

from p2pcompute.protocol.sampling import points
from p2pcompute.protocol.trust import CONFIRMATIONS_MIN
from p2pcompute.wire.manifest import decode_manifest
from simnet.characters.liars import FAKED_ONE_IN
from simnet.invariants.draws import Draws
from simnet.invariants.results import NoWrongResult, is_right, win_chance, wins_max
from simnet.scenario import Scenario, Work
from simnet.site import is_faked
from simnet.world import World
from tests.bench import progress

GOALS: Final = {
    "adaptive_cost": ("<=", 1.08),
    "milked_max": ("<=", 38.0),
    "sampled_cost": ("<=", 1.05),
    "sampled_detection": (">=", 0.99),
    "wrong_below_quorum": ("==", 0.0),
    "collusion_excess": ("<=", 0.0),
}
BLOCKS: Final = 1_000
SAMPLES: Final = 44
PROVIDERS: Final = 10
SLEEPERS: Final = 3
OPERATORS: Final = 20
"""In the worlds with colluders, of whom there are so many in ten."""
COLLUDING_TENTHS: Final = (1, 2, 3)
QUORUM: Final = 2
REPLICAS: Final = 3
USERS: Final = 25
"""Of each such world, with a task each."""
EVERY_MS: Final = 300


def measure(*, quick: bool) -> dict[str, object]:
    """`adaptive_cost`: device time of all runs over that of one run for each task, in a world without cheats, the time
    in which trust is earned included. `milked_max`: the most wrong results that one sleeper got believed, of all
    sleepers in all worlds. `sampled_cost`: device time of all runs and recomputed blocks over that of one run for each
    task. `sampled_detection`: the share of results with a tenth of the blocks made up that are refuted: of
    `sampled_draws` draws by the protocol's own rule; `sampled_caught` is the share in whole worlds, of `sampled_faked`
    results. `wrong_below_quorum`: wrong results that were accepted though fewer than a quorum of colluders stated them.
    `collusion_excess`: wrong results that a quorum stated, less the most that chance grants in 999 of 1,000 cases; the
    worst of the shares. `wrong_rate_30` is that of 30 % colluders, `wrong_chance_30` the chance of each task by
    `simnet odds`.
    """
    tasks, seeds, draws = (60, 1, 200) if quick else (3_000, 20, 20_000)
    progress.step("adaptive replication without cheats")
    adaptive = _world(tasks, verify="adaptive")
    progress.step("adaptive replication with sleepers")
    milked = [n for seed in range(seeds) for n in _milked(seed, 60 if quick else 400)]
    progress.step("samples without cheats")
    sampled = _world(tasks // 10, verify="sample", samples=SAMPLES, blocks=BLOCKS)
    progress.step("samples with fakers")
    caught, faked = _fakers(8 if quick else 400)
    progress.step("replication with colluders")
    gangs = {tenths: _colluding(tenths * OPERATORS // 10, 1 if quick else 40) for tenths in COLLUDING_TENTHS}
    return {
        "adaptive_cost": _cost(adaptive),
        "milked_max": float(max(milked)),
        "milked_median": float(statistics.median(milked)),
        "sampled_cost": _cost(sampled),
        "sampled_detection": _detection(sampled, draws),
        "sampled_draws": float(draws),
        "sampled_caught": caught / faked,
        "sampled_faked": float(faked),
        "confirmations": float(CONFIRMATIONS_MIN),
        "wrong_below_quorum": float(sum(gang.below for gang in gangs.values())),
        "collusion_excess": float(max(gang.won - gang.most for gang in gangs.values())),
        **{f"wrong_rate_{tenths}0": gang.won / gang.tasks for tenths, gang in gangs.items()},
        **{f"wrong_chance_{tenths}0": gang.chance for tenths, gang in gangs.items()},
        "colluding_tasks": float(sum(gang.tasks for gang in gangs.values())),
    }


@dataclasses.dataclass(frozen=True)
class Gang:
    """What colluders won of so many tasks: `won` with a quorum, `below` without one. Chance grants each task with
    `chance`, and `most` of all."""

    tasks: int
    won: int
    below: int
    chance: float
    most: int


def _colluding(gang: int, worlds: int) -> Gang:
    """So many of the operators collude."""
    won = below = 0
    for seed in range(worlds):
        world = World(
            Scenario(
                providers=OPERATORS,
                requesters=USERS,
                acquaintances=3,
                characters={"gang": float(gang)},
                price_step=0,
                until_ms=300_000,
                work=Work(tasks=USERS, every_ms=EVERY_MS, replicas=REPLICAS, quorum=QUORUM),
            ),
            seed,
        )
        world.run()
        if not all(task.done for task in world.tasks.values()):
            raise RuntimeError(f"not all of {USERS} tasks ended well")
        draws = Draws(world)
        wrong = [task for task in world.tasks.values() if not is_right(task)]
        overruled = sum(draws.overruled(task.id, task.roots) for task in wrong)
        won, below = won + overruled, below + len(wrong) - overruled
    tasks, chance = worlds * USERS, win_chance(gang, OPERATORS, REPLICAS, QUORUM)
    return Gang(tasks, won, below, chance, wins_max([chance] * tasks))


def _world(tasks: int, *, sleepers: int = 0, fakers: int = 0, seed: int = 1, **work: object) -> World:
    """Run to its end; all providers ask the same price, so that chance deals the tasks out."""
    scenario = Scenario(
        providers=PROVIDERS,
        acquaintances=3,
        characters={"sleeper": float(sleepers), "faker": float(fakers)},
        price_step=0,
        until_ms=300_000 + tasks * EVERY_MS * 2,
        work=Work(tasks=tasks, every_ms=EVERY_MS, kernels=1, **work),  # type: ignore[arg-type]
    )
    world = World(scenario, seed)
    world.run()
    undone = sum(not task.done for task in world.tasks.values())
    if undone:
        raise RuntimeError(f"{undone} of {tasks} tasks did not end well")
    return world


def _cost(world: World) -> float:
    once_us = sum(1_000 * world.providers[0].work_ms(task.manifest) for task in world.tasks.values())
    spent = [f["device_us"] for _, _, name, f in world.events if name in ("provider.committed", "job.inspected")]
    return sum(spent) / once_us  # type: ignore[arg-type]


def _milked(seed: int, tasks: int) -> list[int]:
    """Wrong results that each sleeper of a world got believed."""
    world = _world(tasks, sleepers=SLEEPERS, seed=seed, verify="adaptive")
    kept = NoWrongResult(world)
    kept.at_end()
    counts = [len(wrong) for wrong in kept.believed.values()]
    return counts + [0] * (SLEEPERS - len(counts))


def _fakers(tasks: int) -> tuple[int, int]:
    """(refuted, faked) results in worlds of one task, which goes from faker to faker until one is believed."""
    refuted = faked = 0
    for seed in range(tasks):
        world = _world(1, fakers=PROVIDERS - 1, seed=seed, verify="sample", samples=SAMPLES, blocks=BLOCKS)
        names = [name for _, _, name, _ in world.events]
        findings = [fields["finding"] for _, _, name, fields in world.events if name == "job.inspected"]
        assert "job.done" in names
        wrong = findings.count("WRONG")
        (task,) = world.tasks.values()
        refuted += wrong
        faked += wrong + (not is_right(task))
    return refuted, faked


def _detection(world: World, draws: int) -> float:
    """How often the draw of a sample meets a made-up block, over as many nonces."""
    (task, *_) = world.tasks.values()
    manifest = decode_manifest(task.manifest)
    size = manifest.outputs[0].size_bytes
    found = 0
    for number in range(draws):
        root = number.to_bytes(32, "big")
        blocks: dict[int, None] = {}
        for point in points(manifest, ((0,),), root, root, SAMPLES):
            if len(blocks) == SAMPLES:
                break
            blocks[point.byte * BLOCKS // size] = None
        found += any(is_faked(root, block, FAKED_ONE_IN) for block in blocks)
    return found / draws
