"""Plants bugs one at a time, and runs worlds until an invariant catches each."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import FrameType
from typing import Final

from simnet.invariants import Violation, Watch
from simnet.mutants.trials import TRIALS, Trial
from simnet.world import World

HANGS_S: Final = 5.0
"""Of the processor's time: a world of a trial takes a tenth of a second."""

Plant = Callable[[], contextlib.AbstractContextManager[None]]


@dataclasses.dataclass(frozen=True)
class Mutant:
    """A bug. `trials` are the worlds that should show it, by name; others are run when they do not."""

    name: str
    sentence: str
    plant: Plant
    trials: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Catch:
    """What caught a mutant, and where: an invariant's name, or how the code itself broke. Empty: nothing did."""

    mutant: Mutant
    by: str = ""
    trial: str = ""
    words: str = ""


class Hung(BaseException):
    """A world does not come to an end."""


def verdict_on(world: World) -> tuple[str, str]:
    """Run a world under its invariants: the name of the one that broke and what it says; or that the code broke, which
    stands for itself; or nothing."""
    watch = Watch(world)
    try:
        with _patience():
            world.run()
            watch.end()
    except Violation as violation:
        return watch.broken or "an invariant", str(violation)
    except Hung:
        return "it hangs", f"more than {HANGS_S:.0f} s"
    except Exception as error:
        return "it breaks", f"{type(error).__name__}: {error}"
    return "", ""


def catch(mutant: Mutant, others: Sequence[str] = ()) -> Catch:
    """Run its trials, then the other ones, until something catches it."""
    for name in dict.fromkeys((*mutant.trials, *others)):
        trial = TRIALS[name]
        with trial.room(), mutant.plant():
            for by, words in map(verdict_on, trial.worlds()):
                if by:
                    return Catch(mutant, by, name, words)
    return Catch(mutant)


def campaign(mutants: Iterable[Mutant], others: Sequence[str]) -> Iterator[Catch]:
    """One after the other. Raises Violation when a trial fails without any bug: then it shows nothing."""
    for mutant in mutants:
        yield catch(mutant, others)


def check_trial(trial: Trial) -> None:
    """Raises Violation when a trial fails although nothing is planted."""
    with trial.room():
        for by, words in map(verdict_on, trial.worlds()):
            if by:
                raise Violation(f"without any bug, {by}: {words}")


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    def hung(number: int, frame: FrameType | None) -> None:
        raise Hung

    before = signal.signal(signal.SIGVTALRM, hung)
    signal.setitimer(signal.ITIMER_VIRTUAL, HANGS_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
