"""Power fails at every journal append: nothing is lost, nothing is paid twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from p2pcompute.protocol import records
from p2pcompute.protocol.machine import JobStatus
from p2pcompute.wire import documents as d
from tests.protocol.stage import NETWORK, Actor, Stage, at_rest, ending, lying, verify_once

JOB_ID = b"j" * 16


def play(crash: Callable[[Actor, list[Actor]], None], *, liar: bool) -> tuple[Stage, Actor, list[Actor]]:
    """One job among four providers; `crash` arms somebody before it starts."""
    stage = Stage()
    row = stage.providers(4)
    r = stage.actor("requester")
    if liar:
        row[0].compute = lying(b"own way")
    crash(r, row)
    stage.submit(r)
    stage.run(lambda: r.core.requester.jobs.get(JOB_ID) is not None, for_ms=1)
    if r.core.requester.jobs.get(JOB_ID) is None:
        stage.submit(r)  # the crash came before the submission was durable: its user submits again
    stage.run(lambda: at_rest(r), for_ms=900_000)
    stage.run(for_ms=10_000)
    return stage, r, row


def body(raw: bytes) -> Any:
    return d.open_document(NETWORK, raw, verify_once).body


def check(r: Actor, row: list[Actor], *, liar: bool) -> None:
    """The job is done, every receipt held is paid once, by one growing sum for each payee."""
    job = r.core.requester.jobs.get(JOB_ID)
    assert job is not None
    assert (job.state, job.error) == ("done", "")
    cheques = [body(x.cheque) for x in r.records(records.Settled)]  # type: ignore[union-attr]
    assert len({c.receipt for c in cheques}) == len(cheques)
    for i, p in enumerate(row):
        issued = [body(x.receipt) for x in p.records(records.Issued)]  # type: ignore[union-attr]
        assert len({x.assignment for x in issued}) == len(issued)
        sums = [c.cumulative for c in cheques if c.payee == p.peer]
        assert sums == sorted(set(sums))
        assert sum(x.price for x in issued) == max(sums, default=0) == p.core.ledger.account(r.peer).covered
        assert not (liar and i == 0 and issued)
    assert sum(1 for p in row if p.records(records.Issued)) >= 2


def appends(who: int, *, liar: bool) -> int:
    """How often the requester (0) or a provider (1…) writes in an undisturbed run."""
    _, r, row = play(lambda r, row: None, liar=liar)
    check(r, row, liar=liar)
    return len([r, *row][who].journal)


@pytest.mark.parametrize("keeps", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("liar", [False, True], ids=["honest", "liar"])
@pytest.mark.parametrize("who", [0, 1, 2], ids=["requester", "first provider", "second provider"])
def test_a_crash_at_any_append_loses_nothing_and_pays_once(who: int, liar: bool, keeps: bool) -> None:
    for at in range(appends(who, liar=liar)):

        def arm(r: Actor, row: list[Actor], at: int = at) -> None:
            victim = [r, *row][who]
            victim.crash_at, victim.crash_keeps = at, keeps

        _, r, row = play(arm, liar=liar)
        assert [r, *row][who].life == 2, f"no crash at append {at}"
        check(r, row, liar=liar)


JOURNALED_FIRST = {
    d.Kind.RESERVATION, d.Kind.ASSIGNMENT, d.Kind.COMMITMENT, d.Kind.FAILURE, d.Kind.VERDICT, d.Kind.RECEIPT,
    d.Kind.CHEQUE,
}  # fmt: skip
"""The rows of the table in docs/spec/documents.md that are durable before they leave."""


def test_every_promise_is_in_its_signers_journal_before_it_leaves() -> None:
    stage = Stage()
    row = stage.providers(4)
    r = stage.actor("requester")
    row[0].compute = lying(b"own way")
    row[1].compute = ending(JobStatus.CRASHED)
    left: set[d.Kind] = set()
    request, reply = stage.request, stage.reply

    def look(signer: Actor, frame: bytes | None) -> None:
        kind = d.open_document(NETWORK, frame, verify_once).kind if frame and frame[:1] == b"\x99" else 0
        if kind in JOURNALED_FIRST:
            left.add(d.Kind(kind))
            assert frame is not None
            assert any(frame in record for record in signer.journal), d.Kind(kind).name

    stage.request = lambda source, effect: (look(source, effect.frame), request(source, effect))[1]  # type: ignore
    stage.reply = lambda target, effect: (look(target, effect.frame), reply(target, effect))[1]  # type: ignore
    stage.play(r)
    assert left == JOURNALED_FIRST


def test_a_finished_requester_comes_back_finished_and_says_nothing() -> None:
    stage, r, _ = play(lambda r, row: None, liar=True)
    journal, sums = list(r.journal), [(k, a.promised) for k, a in r.core.ledger.accounts()]
    r.crash()
    stage.run(for_ms=60_000)
    assert r.journal == journal
    assert sorted((k, a.promised) for k, a in r.core.ledger.accounts()) == sorted(sums)
    job = r.core.requester.jobs.get(JOB_ID)
    assert job is not None
    assert (job.state, sorted(x.state for x in job.team)) == ("done", ["paid", "paid", "rejected"])


def test_a_provider_crashed_while_running_commits_once_after_its_restart() -> None:
    stage = Stage()
    row = stage.providers(2)
    r = stage.actor("requester")
    stage.submit(r)
    stage.run(lambda: bool(row[0].runs), for_ms=5_000)
    row[0].crash()
    stage.run(lambda: at_rest(r), for_ms=60_000)
    check(r, row, liar=False)
    assert len(row[0].records(records.Committed)) == 1
