"""The power of a provider fails before, after and inside every append of a whole lease, on a real journal. Whoever
dealt with it repeats the letter that was not answered: nobody is promised a slot twice, no task that was taken is lost,
nothing is paid twice.
"""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import Any

import pytest

from p2pcompute.identity.keys import KeyPair
from p2pcompute.protocol import records
from p2pcompute.protocol.machine import Effect, Fetch, JobOutcome, JobStatus, Persist, RunJob
from p2pcompute.storage.journal import Journal
from p2pcompute.wire import documents as d
from tests.protocol.desk import DATA, REQUESTER, STRANGER, Desk, code
from tests.protocol.stage import NETWORK, right, terms, verify_once

TASKS = 4
"""One that is paid, one that is aborted, one that fails, and one that is never assigned."""


class PowerFailureError(Exception):
    """The power failed at the append that was chosen for it."""


class Fragile(Desk):
    """A desk whose provider has a real journal, and one weak moment."""

    def __init__(self, folder: Path, at: int = -1, moment: str = "") -> None:
        self.folder, self.at, self.moment, self.lives = folder, at, moment, 1
        self.store = Journal.create(folder / "journal.db")
        self.appends, self.counts = 0, itertools.count()
        self.todo: list[Fetch | RunJob] = []
        super().__init__(slots=1)
        self.holds = False
        self.given: list[d.AnyDocument] = []

    def take(self, effects: list[Effect]) -> Any:
        for effect in effects:
            if isinstance(effect, Persist):
                self.append(effect.record)
        answer = super().take([effect for effect in effects if not isinstance(effect, Persist)])
        self.effects = effects
        self.todo += [effect for effect in effects if isinstance(effect, Fetch | RunJob)]
        if isinstance(answer, d.Document) and isinstance(answer.body, d.Reservation):
            self.given.append(answer)
        return answer

    def append(self, record: bytes) -> None:
        self.appends += 1
        if self.appends - 1 != self.at:
            self.store.append([record])
            return
        wal = self.folder / "journal.db-wal"
        before = wal.stat().st_size
        if self.moment != "before":
            self.store.append([record])
        if self.moment == "torn":
            after = wal.stat().st_size
            assert after > before
            torn = wal.read_bytes()[: (before + after) // 2]
            copy = self.folder / f"{next(self.counts)}"
            copy.mkdir()
            shutil.copy(self.folder / "journal.db", copy / "journal.db")
            (copy / "journal.db-wal").write_bytes(torn)
            self.folder = copy
        raise PowerFailureError

    def restart(self) -> None:
        """Power on: what the journal kept is all there is."""
        self.lives += 1
        self.store.close()
        self.store = Journal.open(self.folder / "journal.db")
        self.actor.journal = [body for _, body in self.store.replay()]
        self.actor.queue.clear()
        self.actor.boot()
        self.actor.publish(terms(delegation=self.actor.delegation, slots=1))
        self.todo = [effect for effect in self.actor.queue if isinstance(effect, Fetch | RunJob)]
        assert self.core.provider.busy_slots >= self.holds, "what was promised is promised still"

    def persistently(self, raw: bytes, key: KeyPair = REQUESTER) -> Any:
        """Send a letter until it is answered."""
        while True:
            try:
                return self.send(raw, key)
            except PowerFailureError:
                self.restart()

    def reserve_somehow(self) -> None:
        """Quotes do not survive; a reservation does."""
        answer: Any = None
        while answer is None or isinstance(answer.body, d.Decline):
            quote = self.persistently(self.write(self.probe()))
            if isinstance(quote.body, d.Decline):  # the reservation counted, its answer was lost: it runs out
                self.stage.mono_ms += 31_000
                continue
            answer = self.persistently(self.write(d.ReservationRequest(quote.id, 30_000, TASKS)))
        self.held["reservation"], self.holds = answer.id, True

    def compute(self, outcome: JobOutcome | None) -> None:
        """Whatever the provider waits for comes, until its task has ended; without an outcome the inputs do not."""
        while self.state in ("fetching", "running"):
            try:
                self.come(self.todo.pop(), outcome)
            except PowerFailureError:
                self.restart()

    def come(self, awaited: Fetch | RunJob, outcome: JobOutcome | None) -> None:
        if isinstance(awaited, RunJob):
            assert outcome is not None
            self.take(self.core.on_job(self.stage.now, awaited.token, outcome))
            return
        blobs = (DATA,) if awaited.token.startswith("manifest") else ()
        self.take(self.core.on_fetch(self.stage.now, awaited.token, None if outcome is None else blobs))

    def assign_again(self) -> bytes:
        """One more task on the lease."""
        raw = self.write(self.assignment())
        assert self.persistently(raw) == ""
        return d.open_document(NETWORK, raw, verify_once).id

    def documents(self, kind: type[Any], field: str) -> list[d.AnyDocument]:
        rows = [records.decode_record(body) for _, body in self.store.replay()]
        return [d.open_document(NETWORK, getattr(r, field), verify_once) for r in rows if isinstance(r, kind)]


def play(desk: Fragile) -> None:
    """A whole lease, from the probe to its release."""
    desk.reserve_somehow()
    fresh = desk.persistently(desk.write(d.Renew(desk.held["reservation"], 30_000)))
    desk.held["reservation"] = fresh.id
    paid = desk.assign_again()
    desk.compute(JobOutcome(JobStatus.OK, right(DATA), 50_000))
    (commitment,) = desk.documents(records.Committed, "commitment")
    desk.held["commitment"] = commitment.id
    assert isinstance(desk.persistently(desk.write(desk.reveal_request())).body, d.RootReveal)
    verdict = desk.write(desk.verdict())
    receipt = desk.persistently(verdict)
    desk.held["receipt"] = receipt.id
    assert desk.persistently(desk.write(desk.cheque())) == ""
    aborted = desk.assign_again()
    desk.persistently(desk.write(d.Abort(aborted, "")))
    failed = desk.assign_again()
    desk.compute(None)
    (failure,) = [x for x in desk.documents(records.Ended, "by") if isinstance(x.body, d.Failure)]
    assert (failure.body.assignment, commitment.body.assignment) == (failed, paid)
    assert code(desk.send(desk.write(desk.probe(), STRANGER), STRANGER)) is not None
    assert desk.persistently(verdict) == receipt, "asked again it gives the same receipt"
    desk.holds = False
    desk.persistently(desk.write(d.Release(desk.held["reservation"])))


def check(desk: Fragile) -> None:
    """What must hold whatever happened."""
    (issued,) = desk.documents(records.Issued, "receipt")
    account = desk.core.ledger.account(REQUESTER.public)
    assert account.earned == account.covered == issued.body.price
    assert desk.core.provider.busy_slots == 0
    chain = desk.documents(records.Reserved, "reservation")
    assert [x.body.n for x in chain] == list(range(len(chain)))
    assert [x.body.previous for x in chain[1:]] == [x.id for x in chain[:-1]]
    assert {x.id for x in desk.given} <= {x.id for x in chain}
    taken = desk.documents(records.Accepted, "assignment")
    ended = {x.body.assignment for x in desk.documents(records.Ended, "by") if not isinstance(x.body, d.Release)}
    ended |= {x.body.assignment for x in desk.documents(records.Committed, "commitment")}
    assert {x.id for x in taken} == ended
    assert len(taken) == TASKS - 1


def test_an_undisturbed_lease_is_as_it_should_be(tmp_path: Path) -> None:
    desk = Fragile(tmp_path)
    play(desk)
    check(desk)
    kinds = [type(records.decode_record(body)).__name__ for _, body in desk.store.replay()]
    assert kinds == [
        "Reserved", "Reserved", "Accepted", "Committed", "Issued", "Covered", "Accepted", "Ended", "Accepted", "Ended",
        "Released",
    ]  # fmt: skip
    assert desk.lives == 1


@pytest.mark.parametrize("moment", ["before", "torn", "after"])
def test_a_power_failure_at_any_append_breaks_no_promise(moment: str, tmp_path: Path) -> None:
    for at in range(11):
        folder = tmp_path / f"at {at}"
        folder.mkdir()
        desk = Fragile(folder, at, moment)
        play(desk)
        assert desk.lives == 2, f"no power failure at append {at}"
        check(desk)


def test_a_provider_that_forgets_what_it_wrote_last_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sweep fails where an append is lost though it was answered: a promise, a task or a receipt is gone."""

    def forgetful(desk: Fragile) -> None:
        rows = [body for _, body in desk.store.replay()]
        desk.folder = desk.folder / "again"
        desk.folder.mkdir()
        desk.store.close()
        desk.store = Journal.create(desk.folder / "journal.db")
        desk.store.append(rows[:-1])
        restart(desk)

    restart = Fragile.restart
    monkeypatch.setattr(Fragile, "restart", forgetful)
    found = 0
    for at in range(2, 11):
        folder = tmp_path / f"at {at}"
        folder.mkdir()
        desk = Fragile(folder, at, "before")
        try:
            play(desk)
            check(desk)
        except Exception:
            found += 1
    assert found >= 5
