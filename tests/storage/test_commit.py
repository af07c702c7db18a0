from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import trio

from p2pcompute.errors import HomeError, UsageError
from p2pcompute.storage import commit as commit_module
from p2pcompute.storage.commit import open_committer
from p2pcompute.storage.journal import RECORD_BYTES_MAX, Journal


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal.create(tmp_path / "journal.db") as journal:
        yield journal


class Gate:
    """Stands in front of `journal.append`: counts batches, and holds the first one until opened."""

    def __init__(self, journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
        self.batches: list[int] = []
        self.entered, self.opened = trio.Event(), threading.Event()
        self._append = journal.append
        self._token = trio.lowlevel.current_trio_token()
        monkeypatch.setattr(journal, "append", self.append)

    def append(self, records: Sequence[bytes]) -> list[int]:
        self.batches.append(len(records))
        self._token.run_sync_soon(self.entered.set)
        assert self.opened.wait(timeout=60)
        return self._append(records)


async def test_a_committed_record_is_in_the_journal(journal: Journal) -> None:
    async with open_committer(journal) as committer:
        assert await committer.commit(b"a") == 1
        assert list(journal.replay()) == [(1, b"a")]


async def test_waiting_callers_share_one_commit_in_order(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(journal, monkeypatch)
    async with open_committer(journal) as committer:
        first = committer.enqueue(b"first")
        await gate.entered.wait()
        others = [committer.enqueue(bytes([n])) for n in range(50)]
        gate.opened.set()
        assert await first.wait() == 1
        assert [await ticket.wait() for ticket in others] == list(range(2, 52))
    assert gate.batches == [1, 50]
    assert [body for _, body in journal.replay()] == [b"first", *(bytes([n]) for n in range(50))]


async def test_leaving_the_block_writes_what_is_in_line(journal: Journal) -> None:
    async with open_committer(journal) as committer:
        for n in range(10):
            committer.enqueue(bytes([n]))
    assert journal.last_lsn == 10
    with pytest.raises(HomeError, match="closing"):
        committer.enqueue(b"late")


@pytest.mark.parametrize("error", [HomeError("disk full"), ValueError("disk full")])
async def test_a_failed_write_reaches_every_waiter_and_later_caller(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(records: Sequence[bytes]) -> list[int]:
        raise error

    monkeypatch.setattr(journal, "append", fail)
    async with open_committer(journal) as committer:
        tickets = [committer.enqueue(b"a"), committer.enqueue(b"b")]
        for ticket in tickets:
            with pytest.raises(HomeError, match="disk full"):
                await ticket.wait()
        with pytest.raises(HomeError, match="disk full"):
            await committer.commit(b"c")


async def test_records_in_line_behind_a_failed_write_are_told(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit_module, "BATCH_RECORDS_MAX", 1)
    gate = Gate(journal, monkeypatch)
    async with open_committer(journal) as committer:
        first, second = committer.enqueue(b"a"), committer.enqueue(b"b")
        await gate.entered.wait()
        journal._fault = "disk full"
        gate.opened.set()
        for ticket in (first, second):
            with pytest.raises(HomeError, match="disk full"):
                await ticket.wait()
    assert gate.batches == [1]


async def test_cancelling_the_block_finishes_the_batch_in_flight_and_fails_the_rest(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(journal, monkeypatch)
    with trio.CancelScope() as scope:
        async with open_committer(journal) as committer:
            flying = committer.enqueue(b"a")
            await gate.entered.wait()
            waiting = committer.enqueue(b"b")
            scope.cancel()
            gate.opened.set()
            await trio.lowlevel.checkpoint()
    assert await flying.wait() == 1
    with pytest.raises(HomeError, match="closed before"):
        await waiting.wait()
    assert journal.last_lsn == 1


async def test_a_cancelled_caller_does_not_disturb_the_others(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(journal, monkeypatch)
    async with open_committer(journal) as committer:
        ticket = committer.enqueue(b"a")
        with trio.CancelScope() as scope:
            scope.cancel()
            await committer.commit(b"b")
        gate.opened.set()
        assert await ticket.wait() == 1
    assert [body for _, body in journal.replay()] == [b"a", b"b"]


async def test_an_oversized_record_harms_only_its_caller(journal: Journal) -> None:
    async with open_committer(journal) as committer:
        with pytest.raises(UsageError):
            await committer.commit(bytes(RECORD_BYTES_MAX + 1))
        assert await committer.commit(b"fine") == 1


async def test_the_line_is_bounded(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit_module, "PENDING_RECORDS_MAX", 2)
    async with open_committer(journal) as committer:
        committer.enqueue(b"a")
        committer.enqueue(b"b")
        with pytest.raises(HomeError, match="2 journal records behind"):
            committer.enqueue(b"c")
