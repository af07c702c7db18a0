"""How long work takes that was done before: from the assignment to the commitment, as this requester saw it."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Final

import msgspec
from blake3 import blake3

from p2pcompute.wire.manifest import Manifest

KINDS_MAX: Final = 4_096
"""Kinds of work remembered; the one seen longest ago is forgotten first."""
SEEN_MAX: Final = 40
"""Of each kind the last ones."""
SEEN_MIN: Final = 8
"""With fewer nothing is said."""
LATE: Final = 0.95
SLACK_MS: Final = 500
"""For what the network adds now and did not then."""


def kind_of_work(manifest: Manifest) -> bytes:
    """The same kernels, launches and sizes: what takes equally long, whatever the data."""
    sizes = [b.size_bytes for b in manifest.buffers]
    return blake3(msgspec.msgpack.encode([manifest.ptx_root, manifest.launches, sizes])).digest()


class Durations:
    """Milliseconds, by kind of work."""

    def __init__(self) -> None:
        self._seen: OrderedDict[bytes, deque[int]] = OrderedDict()

    def saw(self, kind: bytes, took_ms: int) -> None:
        """One run of this kind took so long."""
        row = self._seen.setdefault(kind, deque(maxlen=SEEN_MAX))
        row.append(took_ms)
        self._seen.move_to_end(kind)
        while len(self._seen) > KINDS_MAX:
            self._seen.popitem(last=False)

    def late_ms(self, kind: bytes) -> int | None:
        """What 95 of 100 runs stay below (the nearest rank), and a little more; None when too few were seen."""
        row = sorted(self._seen.get(kind, ()))
        if len(row) < SEEN_MIN:
            return None
        return row[min(len(row) - 1, int(LATE * len(row)))] + SLACK_MS
