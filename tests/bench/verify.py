"""What it costs to believe results, and what a cheat gets away with: worlds on the simulator's wheel, with the real
protocol code on every peer.

`adaptive`: ten equal providers and one user of one kernel; what is computed for all its tasks, over one run of each.
Then the same with sleepers, who are honest until their word counts and lie from then on. `sample`: tasks of 1,000
blocks, of which providers and user together compute so much more; then with fakers, who make up every tenth block.
"""

from __future__ import annotations

import statistics
from typing import Final

from p2pcompute.protocol.sampling import points
from p2pcompute.protocol.trust import CONFIRMATIONS_MIN
from p2pcompute.wire.manifest import decode_manifest
from simnet.characters.liars import FAKED_ONE_IN
from simnet.invariants.results import NoWrongResult, is_right
from simnet.scenario import Scenario, Work
from simnet.site import is_faked
from simnet.world import World
from tests.bench import progress

GOALS: Final = {
    "adaptive_cost": ("<=", 1.08),
    "milked_max": ("<=", 38.0),
    "sampled_cost": ("<=", 1.05),
    "sampled_detection": (">=", 0.99),
}
BLOCKS: Final = 1_000
SAMPLES: Final = 44
PROVIDERS: Final = 10
SLEEPERS: Final = 3
EVERY_MS: Final = 300


def measure(*, quick: bool) -> dict[str, object]:
    """`adaptive_cost`: device time of all runs over that of one run for each task, in a world without cheats, the time
    in which trust is earned included. `milked_max`: the most wrong results that one sleeper got believed, of all
    sleepers in all worlds. `sampled_cost`: device time of all runs and recomputed blocks over that of one run for each
    task. `sampled_detection`: the share of results with a tenth of the blocks made up that are refuted: of
    `sampled_draws` draws by the protocol's own rule; `sampled_caught` is the share in whole worlds, of `sampled_faked`
    results.
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
    }


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
