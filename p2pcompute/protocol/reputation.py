"""What this peer itself has seen of operators. Praise by others counts zero, and so does blame without proof.

Silence is forgiven, with good work and with time; a wrong result or a proven contradiction is not: rule C5 of
docs/spec/market.md.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

SILENCE_DEMERITS_MAX: Final = 1_000
OPERATORS_MAX: Final = 100_000
REST_MS_MIN: Final = 15_000
"""How long somebody who went silent is left in peace; doubled with every further time before good work."""
REST_MS_MAX: Final = 600_000
HALF_LIFE_MS: Final = 3_600_000
"""After so long without a further one, half of the demerits are gone: all of them within half a day."""


class Reputation:
    """Demerits per operator: silence and failures push it down the ranking, a wrong result ends its business here."""

    def __init__(self) -> None:
        self._demerits: OrderedDict[bytes, tuple[int, int]] = OrderedDict()
        """Operator -> demerits, and since when they are so many; the oldest first."""
        self._banned: dict[bytes, str] = {}
        self._resting: dict[bytes, tuple[int, int]] = {}
        """Operator -> how often it was silent since its last good work, and until when it rests."""

    def good(self, operator: bytes) -> None:
        """A replica of this operator agreed: halve its demerits."""
        self._resting.pop(operator, None)
        if operator in self._demerits:
            count, since_ms = self._demerits[operator]
            self._demerits[operator] = count // 2, since_ms

    def slow(self, operator: bytes, now_ms: int) -> None:
        """A replica failed or went silent."""
        count, _ = self._demerits.pop(operator, (0, 0))
        self._demerits[operator] = min(count + 1, SILENCE_DEMERITS_MAX), now_ms
        times, _ = self._resting.pop(operator, (0, 0))
        self._resting[operator] = times + 1, now_ms + min(REST_MS_MIN << min(times, 16), REST_MS_MAX)
        for row in (self._demerits, self._resting):
            while len(row) > OPERATORS_MAX:
                del row[next(iter(row))]

    def fade(self, now_ms: int) -> None:
        """Time has passed: halve what is older than the half-life. Bans stay."""
        while self._demerits:
            operator, (count, since_ms) = next(iter(self._demerits.items()))
            if now_ms - since_ms < HALF_LIFE_MS:
                return
            del self._demerits[operator]
            if count > 1:
                self._demerits[operator] = count // 2, now_ms

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
        return -1 if operator in self._banned else self._demerits.get(operator, (0, 0))[0]
