"""Group commit: callers that wait at the same time share one synchronisation of the disk.

One writer works at a time, in a thread. Whatever is enqueued while it waits for the disk goes into the next batch, so
the batch grows by itself as the disk gets slower than the callers.
"""

from __future__ import annotations

import contextlib
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
        self._pending: list[Ticket] = []
        self._wake = trio.Event()
        self._closing = False
        self._fault = ""

    async def commit(self, record: bytes) -> int:
        """Enqueue `record` and wait until it is durable; its lsn. A cancelled caller's record is still written.

        Raises UsageError for a record over the limit, HomeError when the journal fails: then every waiter gets the
        same error, and so does every later call.
        """
        return await self.enqueue(record).wait()

    def enqueue(self, record: bytes) -> Ticket:
        """Put `record` in line at once, without waiting; `await ticket.wait()` before anything that relies on it."""
        check_record(record)
        if self._fault or self._closing:
            raise HomeError(self._fault or "the journal is closing")
        if len(self._pending) >= PENDING_RECORDS_MAX:
            raise HomeError(f"the disk is {PENDING_RECORDS_MAX} journal records behind; stopping is safer than waiting")
        ticket = Ticket(record)
        self._pending.append(ticket)
        self._wake.set()
        return ticket

    async def run(self) -> None:
        """Write batches until closed and empty. A batch on its way to the disk is finished even when cancelled."""
        while self._pending or not self._closing:
            await self._wake.wait()
            self._wake = trio.Event()
            while self._pending:
                batch, self._pending = self._pending[:BATCH_RECORDS_MAX], self._pending[BATCH_RECORDS_MAX:]
                with trio.CancelScope(shield=True):
                    await self._write(batch)

    def close(self) -> None:
        """Take no more records; `run` ends when the last one is written."""
        self._closing = True
        self._wake.set()

    def abandon(self) -> None:
        """The writer has stopped: whoever still waits is told so."""
        self._closing = True
        self._settle(self._pending, fault=self._fault or "the journal was closed before the record was written")
        self._pending = []

    async def _write(self, batch: list[Ticket]) -> None:
        if self._fault:
            self._settle(batch, fault=self._fault)
            return
        try:
            lsns = await trio.to_thread.run_sync(self._journal.append, [ticket.record for ticket in batch])
        except P2PComputeError as error:
            self._fault = str(error)
            self._settle(batch, fault=self._fault)
            return
        for ticket, lsn in zip(batch, lsns, strict=True):
            ticket.settle(lsn)

    @staticmethod
    def _settle(batch: list[Ticket], fault: str) -> None:
        for ticket in batch:
            ticket.settle(0, fault)


@contextlib.asynccontextmanager
async def open_committer(journal: Journal) -> AsyncIterator[GroupCommitter]:
    """A committer whose writer runs as long as the block; at its end all records in line are written first. The
    journal stays open."""
    committer = GroupCommitter(journal)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(committer.run)
        try:
            yield committer
            committer.close()
        except BaseException:
            nursery.cancel_scope.cancel()
            raise
        finally:
            if nursery.cancel_scope.cancel_called:
                committer.abandon()
