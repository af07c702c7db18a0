"""`python -m simnet mutants`: plants every bug and says what caught it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from simnet.invariants import Violation
from simnet.mutants.campaign import Catch, Mutant, catch, check_trial
from simnet.mutants.mechanical import ORDER, mechanical
from simnet.mutants.planted import PLANTED
from simnet.mutants.trials import TRIALS

NAME_COLUMNS = 60
BY_COLUMNS = 26


def chosen(only: str) -> list[tuple[Mutant, Sequence[str]]]:
    """The mutants whose names hold this text, each with the trials that are run when its own do not show it."""
    everything: list[tuple[Mutant, Sequence[str]]] = [(mutant, ()) for mutant in PLANTED]
    everything += [(mutant, ORDER) for mutant in mechanical()]
    return [(mutant, others) for mutant, others in everything if only in mutant.name]


def run(only: str, *, as_json: bool) -> int:
    """Print a line for each mutant, then how many were planted and caught; the exit code: 1 when one survives."""
    mutants = chosen(only)
    for name in dict.fromkeys(name for mutant, others in mutants for name in (*mutant.trials, *others)):
        try:
            check_trial(TRIALS[name])
        except Violation as violation:
            print(f"the trial {name!r} shows nothing: {violation}", file=sys.stderr)
            return 1
    catches: list[Catch] = []
    for mutant, others in mutants:
        found = catch(mutant, others)
        catches.append(found)
        if not as_json:
            print(f"{mutant.name:<{NAME_COLUMNS}} {found.by or 'SURVIVES':<{BY_COLUMNS}} {found.trial}", flush=True)
        elif sys.stderr.isatty():
            print(f"\r{len(catches)}/{len(mutants)} mutants", end="", file=sys.stderr)
    survivors = [one.mutant.name for one in catches if not one.by]
    if as_json:
        result: dict[str, object] = {"planted": len(catches), "caught": len(catches) - len(survivors)}
        print(json.dumps(result | ({"survivors": survivors} if survivors else {})))
    else:
        print(f"{len(catches)} planted, {len(catches) - len(survivors)} caught")
        print("".join(f"survives: {name}\n" for name in survivors), end="")
    return 1 if survivors else 0
