"""A simulated disk: what is durable, what is on its way, and what a crash leaves of it."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Final

from simnet.links import mix
from simnet.wheel import Phase, Wheel

_DURABLE: Final = 4


class CrashState(enum.StrEnum):
    """What a crash leaves of the records that nobody was told are durable."""

    CLEAN = "clean"
    """All of them: the operating system still wrote what it had."""
    TORN = "torn"
    """The first half of the batch under way."""
    LOST = "lost"
    """None."""


class Disk:
    """One node's journal. Records are synchronised in batches, as by storage.commit; `records` are durable."""

    def __init__(self, wheel: Wheel, index: int, seed: int, sync_ms: tuple[int, int]) -> None:
        self._wheel, self._index, self._seed = wheel, index, mix(seed ^ mix(index))
        self._sync_ms = sync_ms
        self.slowness = 1
        """Factor on the time of every synchronisation."""
        self.records: list[bytes] = []
        self._pending: list[bytes] = []
        self._batch: list[bytes] = []
        self._syncs = 0
        self._life = 0
        self._durable: Callable[[], None] = lambda: None
        self.crash_at: tuple[int, CrashState] | None = None
        """Crash when the record of this number is about to be declared durable."""
        self.on_crash: Callable[[CrashState], None] = lambda state: None

    def mount(self, durable: Callable[[], None]) -> list[bytes]:
        """Begin a life: all durable records. `durable` is called whenever there are more of them."""
        self._life += 1
        self._durable = durable
        return list(self.records)

    def append(self, record: bytes) -> int:
        """Put a record in line; it is durable once `len(records)` exceeds the number that comes back."""
        number = len(self.records) + len(self._batch) + len(self._pending)
        self._pending.append(record)
        if not self._batch:
            self._sync()
        return number

    def _sync(self) -> None:
        self._batch, self._pending = self._pending, []
        self._syncs += 1
        low, high = self._sync_ms
        took_ms = self.slowness * (low + mix(self._seed + self._syncs) % (high - low + 1))
        key = self._index, _DURABLE, self._syncs, 0
        at_ms = self._wheel.now_ms + max(1, took_ms)
        self._wheel.at(at_ms, Phase.SETTLE, key, self._synced, self._life)

    def _synced(self, life: int) -> None:
        if life != self._life:
            return
        if self.crash_at is not None and len(self.records) + len(self._batch) > self.crash_at[0]:
            state, self.crash_at = self.crash_at[1], None
            self.on_crash(state)
            return
        self.records += self._batch
        self._batch = []
        if self._pending:
            self._sync()
        self._durable()

    def crash(self, state: CrashState) -> None:
        """The node is gone; what is left is decided by the state."""
        if state is CrashState.CLEAN:
            self.records += self._batch + self._pending
        elif state is CrashState.TORN:
            self.records += self._batch[: (len(self._batch) + 1) // 2]
        self._batch, self._pending = [], []
        self._life += 1
