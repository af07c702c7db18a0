"""`python -m simnet`: run simulated worlds from the shell.

run [--seed S] [--liars N] …      one world, with a line for every event
crash [--seed S]                  crash the requester, then each provider, at every journal append of one world
swarm --seeds N                   many small worlds with liars, loss and crashes; stops at the first failure
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator

from simnet.invariants import Violation, check
from simnet.network import Links
from simnet.world import Scenario, World


def scenario_of(seed: int) -> Scenario:
    """A small world whose make-up follows from the seed."""
    rng = random.Random(f"scenario/{seed}")
    liars = rng.choice((0, 1, 1, 2))
    providers = rng.randrange(5, 9)
    return Scenario(
        providers=providers,
        characters=("honest", *("liar",) * liars),
        tasks=rng.randrange(1, 5),
        replicas=rng.choice((2, 2, 3)),
        quorum=2,
        slots=rng.choice((1, 2, 4)),
        links=Links(loss=rng.choice((0.0, 0.0, 0.05, 0.2))),
    )


def world_of(seed: int) -> World:
    """The swarm's world for a seed: in half of them some node crashes at some journal append."""
    world = World(scenario_of(seed), seed)
    rng = random.Random(f"faults/{seed}")
    for node in [*world.providers, world.requester]:
        if rng.random() < 0.25:
            node.crash_at_append = rng.randrange(0, 8)
            node.crash_keeps_append = rng.random() < 0.5
    return world


def crash_worlds(seed: int) -> Iterator[tuple[str, World]]:
    """One world for each journal append of each node of an undisturbed run: that node crashes there, once with the
    record durable and once without."""
    probe = World(Scenario(providers=4), seed)
    probe.run()
    for i, node in enumerate([probe.requester, *probe.providers]):
        for append in range(len(node.journal)):
            for keeps in (False, True):
                world = World(Scenario(providers=4), seed)
                victim = [world.requester, *world.providers][i]
                victim.crash_at_append, victim.crash_keeps_append = append, keeps
                yield f"{victim.name} at append {append}, {'after' if keeps else 'before'} it is durable", world


def _run(args: argparse.Namespace) -> int:
    characters = ("honest", *("liar",) * args.liars)
    scenario = Scenario(
        args.providers, characters, args.requester, args.tasks, args.replicas, links=Links(loss=args.loss)
    )
    world = World(scenario, args.seed, trace=print)
    calls = world.run()
    check(world)
    print(f"{calls} events, {world.wheel.now_ms} virtual ms, all invariants hold")
    return 0


def _crash(args: argparse.Namespace) -> int:
    count = 0
    for name, world in crash_worlds(args.seed):
        world.run()
        try:
            check(world)
        except Violation as violation:
            print(f"crash of {name}: {violation}\nreplay: python -m simnet crash --seed {args.seed}")
            return 1
        count += 1
    print(f"{count} crash points, all invariants hold")
    return 0


def _swarm(args: argparse.Namespace) -> int:
    for seed in range(args.first, args.first + args.seeds):
        world = world_of(seed)
        world.run()
        try:
            check(world)
        except Violation as violation:
            print(
                f"seed {seed}: {violation}\nreplay: python -m simnet swarm --first {seed} --seeds 1\n{world.scenario}"
            )
            return 1
        if sys.stderr.isatty():
            print(f"\r{seed - args.first + 1}/{args.seeds} worlds", end="", file=sys.stderr)
    print(f"{args.seeds} worlds, all invariants hold")
    return 0


def main() -> int:
    """Parse and run; the exit code."""
    parser = argparse.ArgumentParser(prog="simnet", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    verbs = parser.add_subparsers(required=True)
    run = verbs.add_parser("run", help="one world, with a line for every event")
    run.add_argument("--providers", type=int, default=6)
    run.add_argument("--liars", type=int, default=1)
    run.add_argument("--tasks", type=int, default=3)
    run.add_argument("--replicas", type=int, default=2)
    run.add_argument("--loss", type=float, default=0.0)
    run.add_argument("--requester", choices=("honest", "deadbeat"), default="honest")
    run.add_argument("--seed", type=int, default=1)
    run.set_defaults(go=_run)
    crash = verbs.add_parser("crash", help="crash every node at every journal append")
    crash.add_argument("--seed", type=int, default=1)
    crash.set_defaults(go=_crash)
    swarm = verbs.add_parser("swarm", help="many small worlds")
    swarm.add_argument("--seeds", type=int, default=200)
    swarm.add_argument("--first", type=int, default=0)
    swarm.set_defaults(go=_swarm)
    args = parser.parse_args()
    code: int = args.go(args)
    return code


if __name__ == "__main__":
    sys.exit(main())
