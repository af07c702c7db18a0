"""How far up from the cheapest a requester looks for somebody who is free, and how many it asks at once.

Price-aware power of many choices (Mitzenmacher, 2001, for loads; here for prices): all buyers know who is cheap, none
who is free. If all asked the cheapest, these would be busy for everybody and the others never asked. So a buyer draws
whom it asks by lot from a window of the cheapest, just so wide that some of those asked are free.
"""

from __future__ import annotations

from typing import Final

from p2pcompute.wire import limits

WINDOW_MIN: Final = limits.PROBES_MAX
"""Then everybody in it is asked."""
WIDEN: Final = 1.5
"""Factor of the window after a round with fewer quotes than replicas were wanted."""
NARROW: Final = 0.92
"""Factor after a round with more than SPARE quotes for each of them. Seven of these undo one widening, so that where
demand is steady one round in eight or so wants another."""
SPARE: Final = 2
FREE_SHARE: Final = 0.2
"""How much one round counts in the share of those asked who are free."""
CLASSES_MAX: Final = 1_024


class Reach:
    """What one requester learned from its rounds about one resource class."""

    __slots__ = ("_free", "_window")

    def __init__(self) -> None:
        self._window, self._free = float(WINDOW_MIN), 1.0

    @property
    def window(self) -> int:
        """From how many of the cheapest that fit to draw."""
        return int(self._window)

    def probes(self, wanted: int) -> int:
        """How many to ask: 16, and more where few of them are free."""
        needed = int(SPARE * wanted / max(self._free, SPARE * wanted / limits.PROBES_BUSY_MAX))
        return max(limits.PROBES_MAX, min(needed, limits.PROBES_BUSY_MAX))

    def learn(self, answered: int, quotes: int, wanted: int, known: int) -> None:
        """A round is over: of so many who answered so many quoted. `known`: how many there were to draw from. Silence
        teaches nothing: where the network or this node is overburdened, to ask more would only make it worse."""
        if not answered:
            return
        self._free += FREE_SHARE * (quotes / answered - self._free)
        if quotes < wanted:
            self.widen(known)
        elif quotes > SPARE * wanted:
            self._window = max(NARROW * self._window, float(WINDOW_MIN))

    def widen(self, known: int) -> None:
        """Too few of those in the window were free, or others were quicker."""
        self._window = min(WIDEN * self._window, float(max(known, WINDOW_MIN)))


class Reaches:
    """For each resource class asked for; what was asked for longest ago is forgotten first."""

    def __init__(self) -> None:
        self._by_class: dict[tuple[str, str], Reach] = {}

    def of(self, engine: str, model: str) -> Reach:
        """What was learned of a class."""
        known = self._by_class.pop((engine, model), None) or Reach()
        self._by_class[engine, model] = known
        while len(self._by_class) > CLASSES_MAX:
            del self._by_class[next(iter(self._by_class))]
        return known
