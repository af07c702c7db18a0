"""`python -m simnet`: run simulated worlds from the shell."""

from __future__ import annotations

import argparse
import sys

from simnet.chance import crash_worlds, world_of
from simnet.invariants import Violation, Watch
from simnet.mutants import command
from simnet.scenario import load_scenario
from simnet.world import World


def _run(args: argparse.Namespace) -> int:
    world = World(load_scenario(args.scenario), args.seed, show=print)
    watch = Watch(world)
    calls = world.run()
    watch.end()
    print(f"{calls} events, {world.wheel.now_ms} virtual ms, all invariants hold")
    return 0


def _crash(args: argparse.Namespace) -> int:
    count = 0
    for name, world in crash_worlds(args.seed):
        watch = Watch(world)
        world.run()
        try:
            watch.end()
        except Violation as violation:
            print(f"crash of {name}: {violation}\nreplay: python -m simnet crash --seed {args.seed}")
            return 1
        count += 1
    print(f"{count} crash points, all invariants hold")
    return 0


def _swarm(args: argparse.Namespace) -> int:
    for seed in range(args.first, args.first + args.seeds):
        world = world_of(seed)
        watch = Watch(world)
        world.run()
        try:
            watch.end()
        except Violation as violation:
            print(f"seed {seed}: {violation}\nreplay: python -m simnet swarm --first {seed} --seeds 1\n{world.plan}")
            return 1
        if sys.stderr.isatty():
            print(f"\r{seed - args.first + 1}/{args.seeds} worlds", end="", file=sys.stderr)
    print(f"{args.seeds} worlds, all invariants hold")
    return 0


def _mutants(args: argparse.Namespace) -> int:
    return command.run(args.only, as_json=args.json)


def main() -> int:
    """Parse and run; the exit code."""
    parser = argparse.ArgumentParser(prog="simnet", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    verbs = parser.add_subparsers(required=True)
    run = verbs.add_parser("run", help="one world, with a line for every event")
    run.add_argument("scenario")
    run.add_argument("--seed", type=int, default=1)
    run.set_defaults(go=_run)
    crash = verbs.add_parser("crash", help="crash every node at every journal record")
    crash.add_argument("--seed", type=int, default=1)
    crash.set_defaults(go=_crash)
    swarm = verbs.add_parser("swarm", help="many small worlds")
    swarm.add_argument("--seeds", type=int, default=200)
    swarm.add_argument("--first", type=int, default=0)
    swarm.set_defaults(go=_swarm)
    mutants = verbs.add_parser("mutants", help="plant bugs into the protocol, and say which invariant caught each")
    mutants.add_argument("--only", default="", help="those whose names hold this")
    mutants.add_argument("--json", action="store_true")
    mutants.set_defaults(go=_mutants)
    args = parser.parse_args()
    code: int = args.go(args)
    return code


if __name__ == "__main__":
    sys.exit(main())
