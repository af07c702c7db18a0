"""The requester's side: docs/spec/requester.md. Results, commitments, time and ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from p2pcompute.protocol import durations, hiring, jobs, records
from p2pcompute.protocol.commands import StopJob
from p2pcompute.protocol.job import JOB, REPLICA
from p2pcompute.protocol.machine import Effect, Grant, JobStatus, Reply, RunJob
from p2pcompute.wire import documents as d
from p2pcompute.wire import limits
from tests.protocol.requesting import (
    JOB_ID,
    RIGHT,
    answering,
    engaged,
    going_deaf,
    job_of,
    kinds_sent,
    opened,
    paid,
    replace,
    resigned,
    scene,
    swallowing,
)
from tests.protocol.stage import (
    MANIFEST,
    NETWORK,
    Actor,
    at_rest,
    ending,
    honest,
    lying,
    terms,
)

# -- results -------------------------------------------------------------------------------------------------------


def test_agreeing_replicas_give_the_result_and_are_paid() -> None:
    stage, r, (p, q, spare) = scene(3)
    stage.play(r)
    job = job_of(r)
    assert (job.state, job.answer) == ("done", (d.OutcomeStatus.OK, RIGHT))
    assert set(RIGHT) <= set(r.blobs)
    assert [paid(r, x) for x in (p, q, spare)] == [50_000, 50_050, 0]
    assert {x.state for x in job.team} == {"paid"}


def test_the_cheapest_are_engaged() -> None:
    stage, r, row = scene(5)
    stage.play(r, replicas=3)
    assert engaged(r) == [p.peer for p in row[:3]]


def test_a_liar_is_outvoted_unpaid_and_gets_no_more_work() -> None:
    stage, r, (liar, q, third) = scene(3)
    liar.compute = lying(b"own way")
    stage.play(r)
    job = job_of(r)
    assert (job.state, job.answer) == ("done", (d.OutcomeStatus.OK, RIGHT))
    assert [x.state for x in job.team] == ["rejected", "paid", "paid"]
    assert paid(r, liar) == 0
    assert list(r.core.reputation.banned()) == [liar.operator.public]
    stage.play(r, job=b"k" * 16)
    assert engaged(r)[3:] == [q.peer, third.peer]


def test_a_ban_outlives_a_restart() -> None:
    stage, r, (liar, *_) = scene(3)
    liar.compute = lying(b"own way")
    stage.play(r)
    r.crash()
    assert list(r.core.reputation.banned()) == [liar.operator.public]


def test_a_tie_of_two_quorums_is_settled_by_another_replica_and_no_honest_one_is_banned() -> None:
    stage, r, row = scene(5)
    for colluder in row[:2]:
        colluder.compute = lying(b"same")
    stage.play(r, replicas=4, quorum=2)
    job = job_of(r)
    assert (job.state, job.answer) == ("done", (d.OutcomeStatus.OK, RIGHT))
    assert set(r.core.reputation.banned()) == {x.operator.public for x in row[:2]}


def test_replicas_that_never_agree_fail_the_job_undecided_and_nobody_is_banned() -> None:
    stage, r, row = scene(3)
    for i, liar in enumerate(row):
        liar.compute = lying(bytes([i]))
    stage.play(r)
    job = job_of(r)
    assert (job.state, job.code) == ("failed", 5)
    assert job.error.startswith("3 replicas disagree")
    assert r.core.reputation.banned() == {}
    assert [next(iter(p.core.provider._engagements.values())).state for p in row] == ["closed"] * 3


@pytest.mark.parametrize("status", [JobStatus.TRAP, JobStatus.TIMEOUT])
def test_a_kernel_at_fault_fails_the_job_and_everyone_is_paid(status: JobStatus) -> None:
    stage, r, row = scene(2)
    for p in row:
        p.compute = ending(status, "launch 0, block 3, thread 7: out of bounds")
    stage.play(r)
    job = job_of(r)
    assert (job.state, job.code, job.error) == ("failed", 1, "launch 0, block 3, thread 7: out of bounds")
    assert [x.state for x in job.team] == ["paid", "paid"]
    assert [paid(r, p) for p in row] == [50_000, 50_050]


def test_a_task_that_a_quorum_refuses_fails_with_their_reason() -> None:
    stage, r, row = scene(4)
    for p in row:
        p.compute = ending(JobStatus.REFUSED, "the kernel uses textures")
    stage.play(r)
    assert job_of(r).error == "providers refused the task: the kernel uses textures"
    assert job_of(r).code == 1


def test_a_crashed_engine_is_replaced() -> None:
    stage, r, (p, q, third) = scene(3)
    p.compute = ending(JobStatus.CRASHED, "power")
    stage.play(r)
    assert job_of(r).state == "done"
    assert engaged(r) == [p.peer, q.peer, third.peer]


# -- commitments and openings ------------------------------------------------------------------------------------------


def test_no_opening_is_asked_before_every_replica_has_committed() -> None:
    stage, r, (p, q) = scene(2)
    seen = kinds_sent(r)
    q.compute = lambda manifest: (seen.append(d.Kind.COMMITMENT), ending(JobStatus.TRAP)(manifest))[1]
    stage.play(r, for_ms=10_000)
    assert d.Kind.REVEAL_REQUEST not in seen[: seen.index(d.Kind.COMMITMENT)]
    assert d.Kind.REVEAL_REQUEST in seen
    assert p.peer in engaged(r)


def test_a_replica_that_does_not_commit_in_time_is_replaced_and_its_late_commitment_answered_by_an_abort() -> None:
    stage, r, (slow, q) = scene(2)
    late: list[Effect] = []
    slow.mangle = lambda effect: late.append(effect) if isinstance(effect, RunJob) else effect  # type: ignore[func-returns-value]
    stage.submit(r)
    stage.run(lambda: bool(r.event("job.lost")))
    assert [x.error for x in job_of(r).team] == ["did not commit in time", ""]
    assert stage.mono_ms == MANIFEST.device_ms_max + hiring.COMMIT_GRACE_MS
    third = stage.actor("third")
    third.publish(terms(delegation=third.delegation))
    stage.introduce()
    stage.run(lambda: at_rest(r))
    assert job_of(r).state == "done"
    before = len(r.journal)
    slow.mangle = lambda effect: effect
    slow.do(late)
    stage.run(for_ms=5_000)
    assert len(r.journal) == before
    assert next(iter(slow.core.provider._engagements.values())).state == "closed"
    assert slow.core.ledger.unpaid(r.peer) == 0
    assert {q.peer, third.peer} <= set(engaged(r))


def test_whoever_takes_twice_as_long_as_the_others_gets_company_and_is_told_to_stop() -> None:
    stage, r, (slow, q, third) = scene(3)
    swallowing(slow, RunJob)
    stage.play(r, for_ms=20_000)
    assert job_of(r).state == "done"
    assert [(x.peer, x.state, x.error) for x in job_of(r).team] == [
        (slow.peer, "lost", "others were quicker"),
        (q.peer, "paid", ""),
        (third.peer, "paid", ""),
    ]
    assert next(iter(slow.core.provider._engagements.values())).state == "closed"
    assert [e.fields["peer"] for e in r.event("job.late")] == [slow.peer]


def test_whoever_was_only_late_is_compared_and_paid_like_the_others() -> None:
    stage, r, (slow, q, third) = scene(3)
    kept: list[Effect] = []
    slow.mangle = lambda effect: kept.append(effect) if isinstance(effect, RunJob) else effect  # type: ignore[func-returns-value]
    swallowing(third, RunJob)
    stage.submit(r)
    stage.run(lambda: third.peer in engaged(r), for_ms=20_000)
    slow.mangle = lambda effect: effect
    slow.do(kept)
    stage.run(lambda: at_rest(r))
    assert [(x.peer, x.state) for x in job_of(r).team][:2] == [(slow.peer, "paid"), (q.peer, "paid")]


def test_a_backup_that_the_budget_does_not_allow_is_not_hired() -> None:
    stage, r, (slow, _, third) = scene(3)
    swallowing(slow, RunJob)
    ceiling = 1_001_000 + 1_000_000
    stage.submit(r, budget=ceiling + 100_000)
    stage.run(lambda: job_of(r).over, for_ms=40_000)
    assert not job_of(r).over
    assert third.peer not in engaged(r)


def test_work_that_was_seen_before_is_late_after_what_19_of_20_took() -> None:
    kept = durations.Durations()
    for took_ms in range(1, durations.SEEN_MIN):
        kept.saw(b"work", took_ms)
    assert kept.late_ms(b"work") is None
    for took_ms in range(durations.SEEN_MIN, 101):
        kept.saw(b"work", took_ms)
    last = range(101 - durations.SEEN_MAX, 101)
    assert kept.late_ms(b"work") == last[int(0.95 * len(last))] + durations.SLACK_MS
    assert kept.late_ms(b"other work") is None
    assert durations.kind_of_work(MANIFEST) == durations.kind_of_work(replace(MANIFEST, name="other"))
    assert durations.kind_of_work(MANIFEST) != durations.kind_of_work(replace(MANIFEST, ptx_root=b"q" * 32))


def test_an_early_replicas_deadline_holds_though_others_were_assigned_later() -> None:
    stage, r, (slow, crasher, third) = scene(3)
    swallowing(slow, RunJob)
    crasher.compute = ending(JobStatus.CRASHED)
    swallowing(third, RunJob)
    stage.submit(r)
    stage.run(lambda: third.peer in engaged(r), for_ms=10_000)
    assert stage.mono_ms > 0
    stage.run(lambda: any(e.fields["peer"] == slow.peer for e in r.event("job.lost")))
    assert stage.mono_ms == MANIFEST.device_ms_max + hiring.COMMIT_GRACE_MS


def test_a_second_commitment_after_the_opening_ends_in_a_ban_too() -> None:
    stage, r, (twice, q, _) = scene(3)
    answering(q, d.RootReveal, lambda document: None)
    stage.submit(r)
    stage.run(lambda: bool(r.event("job.revealed")), for_ms=10_000)
    first = next(x for x in map(opened_commitment, r.records(records.CommitmentHeld)) if x.signer == twice.peer)
    r.do(r.core.on_request(stage.now, twice.peer, 10**6, resigned(twice, first, root=b"?" * 32)))
    stage.settle()
    assert list(r.core.reputation.banned()) == [twice.operator.public]
    stage.run(lambda: job_of(r).over, for_ms=120_000)
    assert job_of(r).state == "failed"  # one honest replica is left, and the one that opens nothing


def opened_commitment(record: Any) -> d.AnyDocument:
    return opened(record.commitment)


def committed_once() -> tuple[Any, Actor, Actor, Actor, d.AnyDocument]:
    """A stage on which one replica has committed, and the other never will; and that commitment."""
    stage, r, (twice, q, third) = scene(3)
    swallowing(q, RunJob)
    stage.submit(r)
    stage.run(lambda: bool(r.event("job.committed")), for_ms=10_000)
    (held,) = r.records(records.CommitmentHeld)
    return stage, r, twice, third, opened(held.commitment)  # type: ignore[union-attr]


def test_two_commitments_for_one_assignment_end_in_a_ban() -> None:
    stage, r, twice, third, first = committed_once()
    second = resigned(twice, first, root=b"?" * 32)
    r.do(r.core.on_request(stage.now, twice.peer, 10**6, first.raw))
    assert not r.event("job.lost")
    r.do(r.core.on_request(stage.now, twice.peer, 10**6 + 1, second))
    stage.settle()
    assert r.event("job.lost")[0].fields["reason"] == "made two commitments for one assignment"
    assert list(r.core.reputation.banned()) == [twice.operator.public]
    assert third.peer in engaged(r)


def test_the_operator_of_one_who_commits_twice_is_banned_also_when_its_offer_is_gone() -> None:
    stage, r, twice, _, first = committed_once()
    r.core.book._remove(twice.peer)
    r.do(r.core.on_request(stage.now, twice.peer, 10**6, resigned(twice, first, root=b"?" * 32)))
    assert list(r.core.reputation.banned()) == [twice.operator.public]


def test_a_second_commitment_from_a_restored_home_is_no_lie() -> None:
    """Its backup was made while it was at work: it computes again, in another epoch."""
    stage, r, twice, third, first = committed_once()
    second = resigned(twice, first, epoch=b"restored", root=b"?" * 32)
    r.do(r.core.on_request(stage.now, twice.peer, 10**6, second))
    stage.settle()
    assert r.event("job.lost")[0].fields["reason"] == "was restored from a backup, and commits again"
    assert not r.core.reputation.banned()
    assert third.peer in engaged(r)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"output_roots": (b"?" * 32,)}, "its opening does not match its commitment"),
        ({"salt": b"?" * 32}, "its opening does not match its commitment"),
        ({"device_us": 1}, "its opening does not match its commitment"),
        ({"commitment": b"?" * 32}, "its opening does not match its commitment"),
        ({"output_roots": ()}, "0 output roots, not 1"),
    ],
)
def test_an_opening_that_is_not_the_committed_one_ends_in_a_ban(changes: dict[str, Any], reason: str) -> None:
    stage, r, (forger, *_) = scene(3)
    answering(forger, d.RootReveal, lambda document: resigned(forger, document, **changes))
    stage.play(r)
    assert job_of(r).state == "done"
    assert r.core.reputation.banned() == {forger.operator.public: reason}
    assert paid(r, forger) == 0


@pytest.mark.parametrize("answer", [None, b"", b"junk"])
def test_a_commitment_that_is_never_opened_is_replaced(answer: bytes | None) -> None:
    stage, r, (mute, *_) = scene(3)
    answering(mute, d.RootReveal, lambda document: answer)
    stage.play(r)
    assert job_of(r).state == "done"
    assert job_of(r).team[0].error == "did not open its commitment"
    assert r.core.reputation.banned() == {}


def test_commitments_of_strangers_are_acknowledged_and_dropped() -> None:
    stage, r, (p, q) = scene(2)
    stage.submit(r)
    stage.run(lambda: bool(r.event("job.assigned")), for_ms=5_000)
    assignment = job_of(r).team[0].assignment
    assert assignment is not None
    author = d.Author(NETWORK, q.peer, q.epoch, q.key.sign)
    forged = author.write(stage.now.wall_ms, d.Commitment(assignment.id, b"?" * 32), lifetime_ms=10_000)
    for body in (d.Commitment(b"?" * 32, b"?" * 32), d.Failure(assignment.id, d.FailureCode.CRASHED, "")):
        raw = author.write(stage.now.wall_ms, body, lifetime_ms=10_000).raw
        assert r.core.on_request(stage.now, q.peer, 7, raw) == [Reply(7, b"")]
    assert r.core.on_request(stage.now, q.peer, 7, forged.raw) == [Reply(7, b"")]
    assert p.peer == job_of(r).team[0].peer


# -- time and ends -------------------------------------------------------------------------------------------------


def test_a_stopped_job_aborts_its_runs_and_owes_nothing() -> None:
    stage, r, row = scene(2)
    stage.submit(r)
    stage.run(lambda: len(r.event("job.running")) == 2, for_ms=5_000)
    r.do(r.core.on_command(stage.now, StopJob(JOB_ID)))
    stage.run(for_ms=5_000)
    assert (job_of(r).state, job_of(r).error) == ("failed", "cancelled")
    assert all(not p.runs and not p.records(records.Committed) for p in row)
    assert [paid(r, p) for p in row] == [0, 0]


def test_a_job_whose_time_is_up_sends_no_assignment_any_more() -> None:
    stage, r, row = scene(2)
    seen = kinds_sent(r)
    for p in row:
        answering(p, d.Reservation, going_deaf(p))
    stage.submit(r, timeout_ms=8_000)
    stage.run(lambda: job_of(r).over, for_ms=20_000)
    sent = seen.count(d.Kind.ASSIGNMENT)
    for p in row:
        p.deaf, p.mangle = False, lambda effect: effect
    stage.run(for_ms=60_000)
    assert job_of(r).state == "failed"
    assert seen.count(d.Kind.ASSIGNMENT) == sent
    assert all(not p.records(records.Accepted) for p in row)


def test_what_was_judged_before_the_deadline_is_fetched_and_paid_after_it() -> None:
    stage, r, row = scene(2)
    for p in row:
        answering(p, d.RootReveal, going_deaf(p))
    stage.submit(r, timeout_ms=4_000)
    stage.run(lambda: bool(r.event("job.verdict")), for_ms=3_000)
    stage.run(for_ms=5_500)
    assert job_of(r).state == "settling"
    for p in row:
        p.deaf, p.mangle = False, lambda effect: effect
    stage.run(lambda: at_rest(r), for_ms=60_000)
    assert job_of(r).state == "done"
    assert [paid(r, p) for p in row] == [50_000, 50_050]


def test_outputs_withheld_by_one_replica_are_fetched_from_another() -> None:
    stage, r, (withholding, *_) = scene(2)
    swallowing(withholding, Grant)
    stage.play(r)
    assert job_of(r).state == "done"
    assert {e.fields["peer"] for e in r.event("job.fetching")} == {x.peer for x in job_of(r).team}


def test_outputs_are_fetched_although_nobody_gives_them_for_a_while() -> None:
    stage, r, row = scene(2)
    held: list[tuple[Actor, Effect]] = []

    def holding(actor: Actor) -> Callable[[Effect], Effect | None]:
        return lambda effect: held.append((actor, effect)) if isinstance(effect, Grant) else effect

    for p in row:
        p.mangle = holding(p)
    stage.submit(r)
    stage.run(lambda: len(r.event("job.fetching")) == 12, for_ms=60_000)
    for p, grant in held:
        p.mangle = lambda effect: effect
        p.do([grant])
    stage.run(lambda: at_rest(r), for_ms=60_000)
    assert job_of(r).state == "done"


def test_outputs_withheld_by_all_end_the_job_without_a_cheque() -> None:
    stage, r, row = scene(2)
    for p in row:
        swallowing(p, Grant)
    stage.play(r, for_ms=300_000)
    assert job_of(r).state == "failed"
    assert "2 offers none serves this" in job_of(r).error
    assert r.records(records.Settled) == []


@pytest.mark.parametrize("crashes", [False, True])
def test_whoever_withholds_what_it_gave_a_receipt_for_is_replaced(crashes: bool) -> None:
    stage, r, row = scene(4)
    for p in row[:2]:
        swallowing(p, Grant)
    stage.submit(r)
    stage.run(lambda: bool(r.event("job.reopened")), for_ms=300_000)
    if crashes:
        r.crash()
        assert job_of(r).state == "working"
    stage.run(lambda: at_rest(r), for_ms=300_000)
    assert job_of(r).state == "done"
    assert [x.state for x in job_of(r).team] == ["lost", "lost", "paid", "paid"]
    assert {x.peer for x in job_of(r).team if x.state == "paid"} == {row[2].peer, row[3].peer}


def test_failed_fetches_count_against_the_replica_at_work_not_a_lost_one_of_the_same_peer() -> None:
    stage, r, row = scene(2)
    outcomes = [ending(JobStatus.CRASHED), honest]
    row[0].compute = lambda manifest: (outcomes.pop(0) if outcomes else honest)(manifest)
    for p in row:
        swallowing(p, Grant)
    stage.play(r, for_ms=300_000)
    assert engaged(r).count(row[0].peer) == 2
    assert job_of(r).state == "failed"


@pytest.mark.parametrize(
    "changes",
    [{"price": 1}, {"verdict": b"?" * 32}, {"output_roots": ()}, {"requester": b"?" * 32}, {"device_us": 7}],
)
def test_a_receipt_that_says_something_else_is_not_paid(changes: dict[str, Any]) -> None:
    stage, r, (forger, q) = scene(2)
    answering(forger, d.Receipt, lambda document: resigned(forger, document, **changes))
    stage.play(r)
    assert job_of(r).state == "done"
    assert [x.state for x in job_of(r).team] == ["lost", "paid"]
    assert forger.core.ledger.account(r.peer).covered == 0
    assert paid(r, q) > 0


def test_a_payee_that_is_away_gets_its_cheque_when_it_is_back() -> None:
    stage, r, (away, _) = scene(2)
    answering(away, d.Receipt, going_deaf(away))
    stage.submit(r)
    stage.run(for_ms=60_000)
    assert job_of(r).state == "done"
    assert away.core.ledger.account(r.peer).owed_to_me > 0
    away.deaf = False
    stage.run(lambda: at_rest(r), for_ms=3_600_000)
    assert paid(r, away) > 0


def test_a_restored_home_begins_its_sums_anew() -> None:
    stage, r, row = scene(2)
    stage.play(r)
    r.epoch = b"restored"
    r.crash()
    stage.play(r, job=b"k" * 16)
    for p in row:
        account = p.core.ledger.account(r.peer)
        assert account.covered == account.earned > 0


def test_finished_jobs_are_forgotten_but_none_with_a_cheque_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "JOBS_MAX", 1)
    stage, r, (away, *_) = scene(4)
    answering(away, d.Receipt, going_deaf(away))
    stage.submit(r)
    stage.run(for_ms=30_000)
    stage.play(r, job=b"k" * 16, for_ms=30_000)
    assert [j.id for j in r.core.requester.jobs] == [JOB_ID, b"k" * 16]
    away.deaf = False
    stage.run(lambda: at_rest(r), for_ms=3_600_000)
    assert paid(r, away) > 0
    r.crash()
    stage.play(r, job=b"l" * 16)
    assert [j.id for j in r.core.requester.jobs] == [b"l" * 16]


@pytest.mark.parametrize("table", [REPLICA, JOB], ids=["replica", "job"])
def test_every_transition_leads_to_a_state_of_the_table_or_an_end(table: dict[tuple[str, str], str]) -> None:
    ends = set(table.values()) - {state for state, _ in table}
    assert ends in ({"lost", "rejected", "paid"}, {"failed", "done"})


def test_the_most_replicas_a_job_engages_is_bounded() -> None:
    stage, r, row = scene(limits.REPLICAS_MAX + 4)
    for i, p in enumerate(row):
        p.compute = lying(bytes([i]))
    stage.play(r)
    assert job_of(r).state == "failed"
    assert len(engaged(r)) <= limits.REPLICAS_MAX


def test_a_node_that_also_provides_never_recruits_itself() -> None:
    stage, r, row = scene(2)
    r.publish(terms(delegation=r.delegation, price_per_device_s=1))
    stage.play(r)
    assert job_of(r).state == "done"
    assert set(engaged(r)) == {p.peer for p in row}


def test_a_quorum_that_cannot_be_had_ends_the_job_long_before_its_deadline() -> None:
    stage, r, _ = scene(1)
    stage.play(r, timeout_ms=600_000)
    assert (job_of(r).state, job_of(r).code) == ("failed", 3)
    assert job_of(r).error.startswith("2 providers are needed, 1 took the task")
    assert stage.mono_ms < 60_000
