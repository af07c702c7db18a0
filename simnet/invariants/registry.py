"""All invariants by name, and the watch that keeps them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from p2pcompute.errors import UsageError
from p2pcompute.protocol.machine import Emit
from simnet.invariants.base import Invariant, Violation
from simnet.invariants.market import LiarsAreOut, NoDoubleBooking, NoTaskLost, NoWrongResult, PaidOnce
from simnet.site import Site
from simnet.world import World

SECOND_MS: Final = 1_000
INVARIANTS: Final[dict[str, type[Invariant]]] = {
    one.name: one for one in (NoTaskLost, NoWrongResult, NoDoubleBooking, PaidOnce, LiarsAreOut)
}


class Watch:
    """Keeps invariants over one world: make it before the world runs, call `end` after. The first violation stops the
    world; `end` raises it."""

    def __init__(self, world: World, names: Sequence[str] = ()) -> None:
        """`names`: which ones; empty for those of the scenario, and all when it names none. Raises UsageError."""
        self._world = world
        self._kept = [_invariant(name)(world) for name in names or world.scenario.checks or INVARIANTS]
        self.violation: Violation | None = None
        world.observers.append(self._on_event)
        world.schedule(SECOND_MS, self._on_second)

    def _on_event(self, now_ms: int, node: Site, event: Emit) -> None:
        if self.violation is None:
            try:
                for invariant in self._kept:
                    invariant.on_event(now_ms, node, event)
            except Violation as violation:
                self._stop(violation)

    def _on_second(self) -> None:
        now_ms = self._world.wheel.now_ms
        try:
            for invariant in self._kept:
                invariant.on_second(now_ms)
        except Violation as violation:
            self._stop(violation)
        self._world.schedule(now_ms + SECOND_MS, self._on_second)

    def _stop(self, violation: Violation) -> None:
        self.violation = self.violation or violation
        self._world.stopped = True

    def end(self) -> None:
        """Raise Violation for the first invariant that broke."""
        if self.violation is not None:
            raise self.violation
        for invariant in self._kept:
            invariant.at_end()


def _invariant(name: str) -> type[Invariant]:
    try:
        return INVARIANTS[name]
    except KeyError:
        raise UsageError(f"there is no invariant {name!r}; there are: {', '.join(INVARIANTS)}") from None
