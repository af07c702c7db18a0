"""What this peer itself has seen of operators. Praise or blame by others counts zero."""

from __future__ import annotations

from typing import Final

SILENCE_DEMERITS_MAX: Final = 1_000
OPERATORS_MAX: Final = 100_000
REST_MS_MIN: Final = 15_000
"""How long somebody who went silent is left in peace; doubled with every further time before good work."""
REST_MS_MAX: Final = 600_000


class Reputation:
    """Demerits per operator: silence and failures push it down the ranking, a wrong result ends its business here."""

    def __init__(self) -> None:
        self._demerits: dict[bytes, int] = {}
        self._banned: dict[bytes, str] = {}
        self._resting: dict[bytes, tuple[int, int]] = {}
        """Operator -> how often it was silent since its last good work, and until when it rests."""

    def good(self, operator: bytes) -> None:
        """A replica of this operator agreed: halve its demerits."""
        self._resting.pop(operator, None)
        if operator in self._demerits:
            self._demerits[operator] //= 2

    def slow(self, operator: bytes, now_ms: int) -> None:
        """A replica failed or went silent."""
        self._demerits[operator] = min(self._demerits.pop(operator, 0) + 1, SILENCE_DEMERITS_MAX)
        times, _ = self._resting.pop(operator, (0, 0))
        self._resting[operator] = times + 1, now_ms + min(REST_MS_MIN << min(times, 16), REST_MS_MAX)
        for row in (self._demerits, self._resting):
            while len(row) > OPERATORS_MAX:
                del row[next(iter(row))]

    def rests(self, operator: bytes, now_ms: int) -> bool:
        """Whether it was silent not long ago, so that others are asked first."""
        return now_ms < self._resting.get(operator, (0, 0))[1]

    def ban(self, operator: bytes, reason: str) -> None:
        """No more business with this operator, here."""
        self._banned[operator] = reason

    def pardon(self, operator: bytes) -> bool:
        """Lift a ban; whether there was one."""
        return self._banned.pop(operator, None) is not None

    def banned(self) -> dict[bytes, str]:
        """Operator -> reason."""
        return dict(self._banned)

    def demerits(self, operator: bytes) -> int:
        """For ranking: 0 is best, more is worse, -1 is never."""
        return -1 if operator in self._banned else self._demerits.get(operator, 0)
