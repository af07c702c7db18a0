"""How far an operator's word goes unchecked here: the policy `adaptive`, rules V10 to V14 of docs/spec/verification.md.

Trust is earned for one device class and one kernel at a time, by results that others confirmed, and never suffices
for more than a window of tasks: in each one of them, which the operator cannot know, is checked all the same.
"""

from __future__ import annotations

import dataclasses
import math
from collections import OrderedDict
from typing import Final, NamedTuple

from blake3 import blake3

SABOTEURS: Final = 0.1
"""The share of operators that is assumed to cheat, before anything is known of one."""
CREDIBILITY_MIN: Final = 0.995
"""What an operator's word must be worth before it is taken unchecked."""
WINDOW: Final = 20
"""Tasks, of which one is checked."""
FORGET_MS: Final = 30 * 24 * 3600 * 1000
"""Who was not confirmed for so long begins anew."""
ROWS_MAX: Final = 100_000


def credibility(confirmed: int) -> float:
    """The chance that a result of an operator is right which passed so many checks and was never caught, for those who
    are banned once they are: 1 - f / (e k), whatever share of its results it fakes (Sarmenta, Sabotage-tolerance
    mechanisms for volunteer computing systems, 2002, section 4.3)."""
    return 1 - SABOTEURS / (math.e * confirmed) if confirmed else 1 - SABOTEURS


CONFIRMATIONS_MIN: Final = next(k for k in range(1, 1_000) if credibility(k) >= CREDIBILITY_MIN)
"""Confirmed results in a row before a task goes unchecked: 8."""


class Kind(NamedTuple):
    """What trust is about: whose word, on what device, for which kernels (the root of their canonical PTX)."""

    operator: bytes
    device: str
    kernels: bytes


@dataclasses.dataclass(slots=True)
class Row:
    """`confirmed` in a row, the last time at `at_wall_ms`; `tasks` that were assigned since this began to suffice.
    `owed`: a check was due and came to nothing."""

    confirmed: int = 0
    at_wall_ms: int = 0
    tasks: int = 0
    owed: bool = False


class Trust:
    """This peer's own evidence. The least recently confirmed rows go first."""

    def __init__(self, secret: bytes) -> None:
        """`secret`: 32 bytes that nobody else has; they place the checks."""
        self._secret = secret
        self._rows: OrderedDict[Kind, Row] = OrderedDict()

    def assign(self, kind: Kind, wall_ms: int) -> bool:
        """A task goes to this operator. Whether it is to be checked."""
        row = self._rows.get(kind)
        if row is None or row.confirmed < CONFIRMATIONS_MIN or wall_ms - row.at_wall_ms > FORGET_MS:
            return True
        window, place = divmod(row.tasks, WINDOW)
        row.tasks += 1
        return row.owed or place == self._secret_place(kind, window)

    def _secret_place(self, kind: Kind, window: int) -> int:
        text = b"".join((kind.operator, kind.kernels, window.to_bytes(8, "little"), kind.device.encode()))
        return int.from_bytes(blake3(text, key=self._secret).digest(length=8), "little") % WINDOW

    def confirm(self, kind: Kind, wall_ms: int) -> None:
        """Others stated the same."""
        row = self._rows.setdefault(kind, Row())
        if wall_ms - row.at_wall_ms > FORGET_MS:
            row.confirmed = row.tasks = 0
        row.confirmed, row.at_wall_ms, row.owed = row.confirmed + 1, wall_ms, False
        self._rows.move_to_end(kind)
        while len(self._rows) > ROWS_MAX:
            self._rows.popitem(last=False)

    def miss(self, kind: Kind) -> None:
        """A check came to nothing: the next task makes up for it."""
        if kind in self._rows:
            self._rows[kind].owed = True

    def forget(self, operator: bytes) -> None:
        """It was caught: nothing it ever did counts."""
        for kind in [kind for kind in self._rows if kind.operator == operator]:
            del self._rows[kind]

    def rows(self) -> list[tuple[Kind, Row]]:
        """For people: the least recently confirmed first."""
        return list(self._rows.items())
