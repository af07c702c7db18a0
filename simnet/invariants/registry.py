"""All invariants by name, and the watch that keeps them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from p2pcompute.errors import UsageError
from p2pcompute.protocol.machine import Emit
from simnet.invariants.base import Invariant, Violation
from simnet.invariants.bounds import MemoryBounded
from simnet.invariants.contact import ContradictionsTold, SeveralAsked
from simnet.invariants.exposure import SlicesBounded, StrangersBounded, WorkBounded
from simnet.invariants.journals import DurableFirst, JournalTellsAll
from simnet.invariants.leases import LeasesRenewed, NoDoubleBooking, QuotesKept, SlotsShared
from simnet.invariants.mesh import BooksConverge, NewsOnce, NoHonestConvicted
from simnet.invariants.money import (
    DebtBounded,
    FairPrice,
    PaidOnce,
    ReceiptsVerify,
    SettledOnce,
    ValueConserved,
)
from simnet.invariants.results import ColludersBounded, GoodWorkCounts, LiarsAreOut, NothingLeaks, NoWrongResult
from simnet.invariants.tasks import Liveness, NoAcknowledgedTaskLost, NoTaskLost, StopIsFinal, WithinBudget
from simnet.invariants.trust import WordEarned
from simnet.site import Site
from simnet.world import World

SECOND_MS: Final = 1_000
INVARIANTS: Final[dict[str, type[Invariant]]] = {
    one.name: one
    for one in (
        NoTaskLost,
        NoAcknowledgedTaskLost,
        Liveness,
        StopIsFinal,
        NoWrongResult,
        ColludersBounded,
        NothingLeaks,
        LiarsAreOut,
        WordEarned,
        GoodWorkCounts,
        NoHonestConvicted,
        ContradictionsTold,
        SeveralAsked,
        NoDoubleBooking,
        SlotsShared,
        LeasesRenewed,
        QuotesKept,
        WithinBudget,
        PaidOnce,
        ValueConserved,
        SettledOnce,
        DebtBounded,
        WorkBounded,
        StrangersBounded,
        SlicesBounded,
        FairPrice,
        ReceiptsVerify,
        DurableFirst,
        JournalTellsAll,
        NewsOnce,
        BooksConverge,
        MemoryBounded,
    )
}


class Watch:
    """Keeps invariants over one world: make it before the world runs, call `end` after. The first violation stops the
    world; `end` raises it."""

    def __init__(self, world: World, names: Sequence[str] = ()) -> None:
        """`names`: which ones; empty for those of the scenario, and all when it names none. Raises UsageError."""
        self._world = world
        self._kept = [_invariant(name)(world) for name in names or world.scenario.checks or INVARIANTS]
        self.violation: Violation | None = None
        self.broken = ""
        """The name of the invariant that broke."""
        world.observers.append(self._on_event)
        world.schedule(SECOND_MS, self._on_second)

    @property
    def wrong_accepted(self) -> int:
        """Wrong results that were accepted with fewer than a quorum of colluders among those drawn."""
        return sum(len(kept.wrong_accepted) for kept in self._kept if isinstance(kept, NoWrongResult))

    @property
    def wrong_by_quorum(self) -> int:
        """Wrong results that a quorum of colluders, drawn together, got accepted: what the policy allows for."""
        return sum(len(kept.wrong_by_quorum) for kept in self._kept if isinstance(kept, NoWrongResult))

    def _on_event(self, now_ms: int, node: Site, event: Emit) -> None:
        if self.violation is None:
            self._look(lambda kept: kept.on_event(now_ms, node, event))

    def _on_second(self) -> None:
        now_ms = self._world.wheel.now_ms
        self._look(lambda kept: kept.on_second(now_ms))
        self._world.schedule(now_ms + SECOND_MS, self._on_second)

    def _look(self, question: Callable[[Invariant], None]) -> None:
        for kept in self._kept:
            try:
                question(kept)
            except Violation as violation:
                if self.violation is None:
                    self.violation, self.broken = violation, kept.name
                self._world.stopped = True
                return

    def end(self) -> None:
        """Raise Violation for the first invariant that broke."""
        if self.violation is None:
            self._look(lambda kept: kept.at_end())
        if self.violation is not None:
            raise self.violation


def _invariant(name: str) -> type[Invariant]:
    try:
        return INVARIANTS[name]
    except KeyError:
        raise UsageError(f"there is no invariant {name!r}; there are: {', '.join(INVARIANTS)}") from None
