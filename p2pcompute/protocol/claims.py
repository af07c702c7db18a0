"""What device time a claim may state where nobody else computed the same: rule F7 of docs/spec/documents.md.

In a group a claim is held against the others'. One that stands alone is held against what was paid before, for the same
launches on the same class of device, where several operators agreed; as long as there is nothing to hold it against, it
counts up to the price ceiling.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NamedTuple

from p2pcompute.protocol.durations import kind_of_work
from p2pcompute.wire.manifest import Manifest

ROWS_MAX: Final = 100_000


class Work(NamedTuple):
    """What takes about as long every time: the same kernels, launches and sizes, on one class of device."""

    kind: bytes
    device: str


def work_of(manifest: Manifest, device: str) -> Work:
    """The work a replica does on such a device."""
    return Work(kind_of_work(manifest), device)


class Claims:
    """This requester's own experience. The work not seen for the longest time is forgotten first."""

    def __init__(self) -> None:
        self._longest_us: OrderedDict[Work, int] = OrderedDict()

    def see(self, work: Work, us: int) -> None:
        """So much was paid to one of several operators that agreed. The longest counts: with other inputs the same
        launches may well take longer, and nobody honest is to be paid short."""
        self._longest_us[work] = max(us, self._longest_us.pop(work, 0))
        while len(self._longest_us) > ROWS_MAX:
            self._longest_us.popitem(last=False)

    def bound(self, work: Work, claimed_us: int) -> int:
        """Microseconds of a lone claim that count."""
        return min(claimed_us, self._longest_us.get(work, claimed_us))
