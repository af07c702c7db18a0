"""Run simulated networks: the protocol's own code, one seed, every fault with a name."""

from __future__ import annotations

import argparse
import inspect
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, get_args

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from p2pcompute.errors import UsageError
from simnet.chance import CHANCE, crash_worlds
from simnet.characters import CHARACTERS
from simnet.extras import load_extras
from simnet.faults import AnyFault, Plan, check_plan, decode_plan, encode_plan
from simnet.invariants import INVARIANTS
from simnet.mutants import command
from simnet.runs import DRIVERS, finish, make_world, prepare, version
from simnet.scenario import FOLDER, NODES_MAX, check_scenario, known_scenarios, load_scenario
from simnet.swarm import Failure, Findings, swarm

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
talk = Console(stderr=True, highlight=False)


def _read_plan(path: str) -> Plan:
    try:
        return decode_plan(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None


def _run(args: argparse.Namespace) -> int:
    """One world."""
    scenario, plan = prepare(args.scenario, args.seed, nodes=args.nodes)
    if args.plan:
        plan = _read_plan(args.plan)
        scenario = msgspec.structs.replace(scenario, faults=())
        check_plan(plan, scenario.names())
    if args.print_plan:
        print(encode_plan((*scenario.faults, *plan)), end="")
        return OK
    show = print if args.trace else None
    world = make_world(scenario, args.seed, plan, driver=args.driver, show=show, hashing=args.hash)
    outcome = finish(args.scenario, world)
    if args.json:
        print(msgspec.json.encode(outcome).decode())
    else:
        shown = f", trace {outcome.trace}" if outcome.trace else ""
        print(
            f"{outcome.nodes} nodes, {outcome.events} events in {outcome.virtual_ms} virtual ms and {outcome.cpu_s} s, "
            f"{outcome.done} of {outcome.tasks} tasks done{shown}"
        )
    if outcome.violation:
        failure = Failure(args.scenario, args.load, outcome, scenario, (*scenario.faults, *plan))
        talk.print(failure.text(), soft_wrap=True, markup=False)
        return FAILED
    talk.print("all invariants hold")
    return OK


def _replay(args: argparse.Namespace) -> int:
    """One world again, with a line for everything that happens."""
    args.trace, args.plan, args.print_plan, args.json, args.hash = True, "", False, False, True
    return _run(args)


def _report(args: argparse.Namespace) -> int:
    """One world as pictures."""
    from simnet.recorder import Recorder
    from simnet.report import write_report

    scenario, plan = prepare(args.scenario, args.seed, nodes=args.nodes)
    world = make_world(scenario, args.seed, plan, driver=args.driver)
    recorder = Recorder(world)
    outcome = finish(args.scenario, world)
    print(write_report(Path(args.out), world, recorder, outcome))
    return FAILED if outcome.violation else OK


def _swarm(args: argparse.Namespace) -> int:
    """Many worlds."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=talk, transient=True, disable=not talk.is_terminal) as bar:
        task = bar.add_task("worlds", total=args.seeds)

        def progress(found: Findings) -> None:
            bar.update(task, completed=found.seeds)

        seeds = range(args.first, args.first + args.seeds)
        found, failure = swarm(
            args.scenario, seeds, nodes=args.nodes, jobs=args.jobs, load=args.load, progress=progress
        )
    if args.json:
        print(msgspec.json.encode(found).decode())
    else:
        verdict = "all invariants hold" if failure is None else "1 failed"
        twice = f", {found.twice} run twice" if found.twice else ""
        print(f"{found.seeds} worlds with {found.tasks} tasks and {found.faults} faults{twice}: {verdict}")
    if failure is not None:
        talk.print(failure.text(), soft_wrap=True, markup=False)
        return FAILED
    return OK


def _crash(args: argparse.Namespace) -> int:
    """A crash at every journal record of every node."""
    count = 0
    for name, world in crash_worlds(args.seed):
        outcome = finish("crash", world)
        if outcome.violation:
            talk.print(f"crash of {name}: {outcome.violation}\ncommit: {version()}", markup=False)
            talk.print(f"replay: python -m simnet crash --seed {args.seed}\n{encode_plan(world.plan)}", markup=False)
            return FAILED
        count += 1
    print(f"{count} crash points, all invariants hold")
    return OK


def _scenarios(args: argparse.Namespace) -> int:
    """What there is to run."""
    table = Table("scenario", "nodes", "shows", "checks", box=None, padding=(0, 2, 0, 0))
    for name in known_scenarios():
        scenario = load_scenario(name)
        checks = ", ".join(scenario.checks) or "all invariants"
        table.add_row(name, str(scenario.providers + scenario.requesters), scenario.shows, checks)
    shows = "A small world with faults, all of it drawn from the seed: what a swarm runs."
    table.add_row(CHANCE, "6-9", shows, "all invariants")
    Console(highlight=False).print(table)
    return OK


def _catalogue(args: argparse.Namespace) -> int:
    """The characters, the invariants or the faults that there are, each with what its own page says first."""
    kinds: dict[str, Mapping[str, type]] = {
        "characters": CHARACTERS,
        "invariants": INVARIANTS,
        "faults": {kind.__name__.lower(): kind for kind in get_args(AnyFault)},
    }
    table = Table(args.what[:-1], "what it is", box=None, padding=(0, 2, 0, 0))
    for name, kind in kinds[args.what].items():
        table.add_row(name, " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].split()))
    Console(highlight=False).print(table)
    return OK


def _check(args: argparse.Namespace) -> int:
    """Whether a scenario file says something that can be run."""
    scenario = check_scenario(load_scenario(args.scenario))
    print(f"{args.scenario}: {len(scenario.names())} nodes, {len(scenario.faults)} faults. {scenario.shows}")
    return OK


def _mutants(args: argparse.Namespace) -> int:
    """Planted bugs, and what caught them."""
    return command.run(args.only, as_json=args.json)


def _odds(args: argparse.Namespace) -> int:
    """A number of docs/security.md, and the bound that the invariant `colluders-bounded` holds worlds to."""
    from simnet.invariants.results import win_chance

    if args.colluding > args.operators or args.quorum > args.replicas:
        raise UsageError("no more can collude than there are operators, nor agree than there are replicas")
    print(f"{100 * win_chance(args.colluding, args.operators, args.replicas, args.quorum):.3f} % of tasks")
    return OK


def _count(text: str) -> int:
    number = int(text)
    if not 0 <= number <= NODES_MAX:
        raise argparse.ArgumentTypeError(f"must be 0 to {NODES_MAX}")
    return number


def _positive(text: str) -> int:
    if not _count(text):
        raise argparse.ArgumentTypeError("must be at least 1")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m simnet", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    one = argparse.ArgumentParser(add_help=False)
    one.add_argument("--nodes", type=_count, default=0, help="that many nodes instead of the scenario's")
    one.add_argument("--load", default="", help="a Python file with characters and invariants of your own")
    one.add_argument("--driver", default="wheel", help=f"{' or '.join(DRIVERS)} (default: wheel)")
    run = verbs.add_parser("run", help="run one world", parents=[one])
    run.add_argument("scenario", help=f"a name ({FOLDER.name}/) or a .toml file; see: python -m simnet scenarios")
    run.add_argument("--seed", type=int, default=1)
    run.add_argument("--plan", default="", help="a file of faults instead of the scenario's own")
    run.add_argument("--print-plan", action="store_true", help="print the faults and do nothing")
    run.add_argument("--trace", action="store_true", help="a line for everything that happens")
    run.add_argument("--hash", action="store_true", help="the hash of everything that every node lives through")
    run.add_argument("--json", action="store_true")
    run.set_defaults(go=_run)
    replay = verbs.add_parser("replay", help="run a world again and show everything that happens", parents=[one])
    replay.add_argument("scenario")
    replay.add_argument("seed", type=int)
    replay.set_defaults(go=_replay)
    report = verbs.add_parser("report", help="run one world and draw it: PNG files and one HTML page", parents=[one])
    report.add_argument("scenario")
    report.add_argument("--seed", type=int, default=1)
    report.add_argument("--out", default="report", help="the folder (default: report)")
    report.set_defaults(go=_report)
    many = verbs.add_parser("swarm", help="run many worlds, up to the first failure")
    many.add_argument("--seeds", type=_count, default=200)
    many.add_argument("--first", type=int, default=0)
    many.add_argument("--jobs", type=_positive, default=os.cpu_count() or 1)
    many.add_argument("--scenario", default=CHANCE)
    many.add_argument("--nodes", type=_count, default=0)
    many.add_argument("--load", default="", help="a Python file with characters and invariants of your own")
    many.add_argument("--json", action="store_true")
    many.set_defaults(go=_swarm)
    crash = verbs.add_parser("crash", help="crash every node at every journal record")
    crash.add_argument("--seed", type=int, default=1)
    crash.set_defaults(go=_crash)
    verbs.add_parser("scenarios", help="what there is to run").set_defaults(go=_scenarios)
    for what in ("characters", "invariants", "faults"):
        verbs.add_parser(what, help=f"the {what} that there are").set_defaults(go=_catalogue, what=what)
    check = verbs.add_parser("check", help="read a scenario file and say whether it can be run")
    check.add_argument("scenario")
    check.add_argument("--load", default="")
    check.set_defaults(go=_check)
    odds = verbs.add_parser("odds", help="how likely operators that collude get a wrong result accepted")
    odds.add_argument("--operators", type=_positive, default=100, help="how many there are (default: 100)")
    odds.add_argument("--colluding", type=_count, default=10, help="how many of them (default: 10)")
    odds.add_argument("--replicas", type=_positive, default=3)
    odds.add_argument("--quorum", type=_positive, default=2)
    odds.set_defaults(go=_odds)
    mutants = verbs.add_parser("mutants", help="plant bugs into the protocol, and say which invariant caught each")
    mutants.add_argument("--only", default="", help="those whose names hold this")
    mutants.add_argument("--json", action="store_true")
    mutants.set_defaults(go=_mutants)
    return parser


def main() -> int:
    """Parse and run; the exit code: 0 all is well, 1 an invariant broke, 2 it cannot be done."""
    args = _parser().parse_args()
    try:
        if getattr(args, "load", ""):
            load_extras(args.load)
        code: int = args.go(args)
    except UsageError as error:
        talk.print(f"simnet: {error}", markup=False, soft_wrap=True)
        return USAGE
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever reads has seen enough
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 # for the interpreter, which flushes it at its end
        return OK
    return code


if __name__ == "__main__":
    sys.exit(main())
