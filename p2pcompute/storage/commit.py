"""Group commit: callers that wait at the same time share one synchronisation of the disk.

One thread writes. Whatever is enqueued while it waits for the disk goes into the next batch, so the batch grows by
itself as the disk gets slower than the callers.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import AsyncIterator
from typing import Final

import trio

from p2pcompute.errors import HomeError, P2PComputeError
from p2pcompute.storage.journal import Journal, check_record

BATCH_RECORDS_MAX: Final = 1_024
"""Records in one commit. Beyond some hundred, the disk's synchronisation is a small part of the cost."""
PENDING_RECORDS_MAX: Final = 65_536
"""Records enqueued and not yet durable. A peer this far ahead of its disk has to stop."""


class Ticket:
    """One record on its way to the disk."""

    def __init__(self, record: bytes) -> None:
        self.record = record
        self._done = trio.Event()
        self._lsn = 0
        self._fault = ""

    async def wait(self) -> int:
        """The record's lsn, once it is durable. Raises HomeError when it could not be written."""
        await self._done.wait()
        if self._fault:
            raise HomeError(self._fault)
        return self._lsn

    def settle(self, lsn: int, fault: str = "") -> None:
        self._lsn, self._fault = lsn, fault
        self._done.set()


class GroupCommitter:
    """Made by `open_committer`. Records become durable in the order in which they were enqueued."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._trio = trio.lowlevel.current_trio_token()
        self._changed = threading.Condition()
        """Guards `_pending`, `_closing` and `_fault`, which the writing thread shares."""
        self._pending: list[Ticket] = []
        self._closing = False
        self._fault = ""
        self._ended = trio.Event()

    async def commit(self, record: bytes) -> int:
        """Enqueue `record` and wait until it is durable; its lsn. A cancelled caller's record is still written.

        Raises UsageError for a record over the limit, HomeError when the journal fails: then every waiter gets the
        same error, and so does every later call.
        """
        return await self.enqueue(record).wait()

    def enqueue(self, record: bytes) -> Ticket:
        """Put `record` in line at once, without waiting; `await ticket.wait()` before anything that relies on it."""
        check_record(record)
        ticket = Ticket(record)
        with self._changed:
            if self._fault or self._closing:
                raise HomeError(self._fault or "the journal is closing")
            if len(self._pending) >= PENDING_RECORDS_MAX:
                raise HomeError(f"the disk is {PENDING_RECORDS_MAX} journal records behind; the peer has to stop")
            self._pending.append(ticket)
            self._changed.notify()
        return ticket

    async def close(self, *, abandon: bool = False) -> None:
        """Take no more records and wait for the writer to end: when all in line are written, or, to `abandon` them,
        after the batch on its way to the disk. Cannot be cancelled."""
        with self._changed:
            self._closing = True
            abandoned = self._pending if abandon else []
            if abandon:
                self._pending = []
            self._changed.notify()
        _settle(abandoned, [0] * len(abandoned), "the journal was closed before the record was written")
        with trio.CancelScope(shield=True):
            await self._ended.wait()

    def write(self) -> None:
        """The writing thread: one batch after the other, until closed and empty."""
        try:
            while batch := self._next_batch():
                lsns, fault = [0] * len(batch), self._fault
                if not fault:
                    try:
                        lsns = self._journal.append([ticket.record for ticket in batch])
                    except Exception as error:  # whatever it is, those who wait have to be told
                        fault = str(error) if isinstance(error, P2PComputeError) else f"the journal failed: {error!r}"
                        with self._changed:
                            self._fault = fault
                self._trio.run_sync_soon(_settle, batch, lsns, fault)
        finally:
            self._trio.run_sync_soon(self._ended.set)

    def _next_batch(self) -> list[Ticket]:
        with self._changed:
            while not self._pending and not self._closing:
                self._changed.wait()
            batch, self._pending = self._pending[:BATCH_RECORDS_MAX], self._pending[BATCH_RECORDS_MAX:]
            return batch


def _settle(batch: list[Ticket], lsns: list[int], fault: str) -> None:
    for ticket, lsn in zip(batch, lsns, strict=True):
        ticket.settle(lsn, fault)


@contextlib.asynccontextmanager
async def open_committer(journal: Journal) -> AsyncIterator[GroupCommitter]:
    """A committer that writes as long as the block runs; at its end all records in line are written first, unless it
    ends by an error. The journal stays open."""
    committer = GroupCommitter(journal)
    threading.Thread(target=committer.write, name="journal", daemon=True).start()
    try:
        yield committer
    except BaseException:
        await committer.close(abandon=True)
        raise
    await committer.close()
