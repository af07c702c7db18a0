"""The policy `restricted`: V14a of docs/spec/verification.md."""

from __future__ import annotations

import pytest

from p2pcompute.errors import UsageError
from p2pcompute.protocol.commands import Ban
from p2pcompute.protocol.job import Job
from p2pcompute.protocol.machine import JobStatus
from p2pcompute.protocol.matching import Needs
from p2pcompute.protocol.trust import CONFIRMATIONS_MIN, WINDOW
from p2pcompute.wire.policy import restricted
from tests.protocol.stage import Actor, Stage, ending, lying


def scene(count: int = 3) -> tuple[Stage, Actor, list[Actor], Needs]:
    """Two of the providers may see the tasks."""
    stage = Stage()
    row = stage.providers(count)
    return stage, stage.actor("requester"), row, Needs(operators=(row[1].operator.public, row[2].operator.public))


def job_of(r: Actor, number: int) -> Job:
    held = r.core.requester.jobs.get(number.to_bytes(16, "big"))
    assert held is not None
    return held


def play(stage: Stage, r: Actor, needs: Needs, number: int) -> Job:
    stage.play(r, job=number.to_bytes(16, "big"), policy=restricted(), needs=needs)
    return job_of(r, number)


def test_named_operators_alone_compute_and_one_task_of_a_window_is_computed_here() -> None:
    stage, r, row, needs = scene()
    for number in range(CONFIRMATIONS_MIN + WINDOW):
        job = play(stage, r, needs, number)
        assert (job.state, [x.state for x in job.team]) == ("done", ["paid"])
        assert job.team[0].peer == row[1].peer
    examined = [bool(job_of(r, n).team[0].is_examined) for n in range(CONFIRMATIONS_MIN + WINDOW)]
    assert examined[:CONFIRMATIONS_MIN] == [True] * CONFIRMATIONS_MIN
    assert sum(examined[CONFIRMATIONS_MIN:]) == 1
    assert len(r.event("job.examined")) == CONFIRMATIONS_MIN + 1
    assert not row[0].event("provider.assigned")


def test_a_wrong_answer_is_refuted_and_the_other_one_takes_over() -> None:
    stage, r, row, needs = scene()
    row[1].compute = lying(b"alone")
    job = play(stage, r, needs, 0)
    assert (job.state, [x.state for x in job.team]) == ("done", ["rejected", "paid"])
    assert r.core.reputation.demerits(row[1].operator.public) < 0
    r.crash()
    assert [x.state for x in job_of(r, 0).team] == ["rejected", "paid"]


def test_who_turns_bad_is_caught_and_what_was_believed_is_doubted() -> None:
    stage, r, row, needs = scene()
    for number in range(CONFIRMATIONS_MIN):
        play(stage, r, needs, number)
    row[1].compute = lying(b"alone")
    for number in range(100, 100 + 2 * WINDOW):
        play(stage, r, needs, number)
        if r.core.reputation.demerits(row[1].operator.public) < 0:
            break
    assert number < 100 + 2 * WINDOW - 1
    assert all(job_of(r, n).doubt for n in range(100, number))


@pytest.mark.parametrize(
    ("theirs", "ours", "state", "team"),
    [
        (JobStatus.TRAP, JobStatus.TRAP, "failed", ["paid"]),
        (JobStatus.TRAP, JobStatus.OK, "done", ["rejected", "paid"]),
        (JobStatus.TIMEOUT, JobStatus.OK, "done", ["lost", "paid"]),
        (JobStatus.OK, JobStatus.TIMEOUT, "done", ["paid"]),
        (JobStatus.OK, JobStatus.REFUSED, "done", ["paid"]),
        (JobStatus.OK, JobStatus.TRAP, "failed", ["rejected", "rejected"]),
    ],
)
def test_what_a_run_here_says(theirs: JobStatus, ours: JobStatus, state: str, team: list[str]) -> None:
    stage, r, row, needs = scene()
    if theirs is not JobStatus.OK:
        row[1].compute = ending(theirs, "said so")
    if ours is not JobStatus.OK:
        r.compute = ending(ours)
    job = play(stage, r, needs, 0)
    assert (job.state, [x.state for x in job.team]) == (state, team)


def test_where_nothing_can_be_said_here_the_next_task_makes_up_for_it() -> None:
    stage, r, _, needs = scene()
    for number in range(CONFIRMATIONS_MIN):
        play(stage, r, needs, number)
    r.compute = ending(JobStatus.TIMEOUT)
    for number in range(100, 100 + WINDOW):
        if play(stage, r, needs, number).team[0].is_examined:
            break
    assert play(stage, r, needs, 200).team[0].is_examined


def test_what_somebody_computes_who_is_banned_meanwhile_is_computed_here_too() -> None:
    stage, r, row, needs = scene()
    for number in range(CONFIRMATIONS_MIN):
        play(stage, r, needs, number)
    before = len(r.event("job.examined"))
    for number in range(100, 100 + WINDOW):
        stage.submit(r, job=number.to_bytes(16, "big"), policy=restricted(), needs=needs)
        stage.run(lambda n=number: bool(job_of(r, n).within("running")), for_ms=5_000)  # type: ignore[misc]
        if not job_of(r, number).team[0].is_examined:
            break
        stage.run(lambda n=number: job_of(r, n).at_rest)  # type: ignore[misc]
        before = len(r.event("job.examined"))
    r.do(r.core.on_command(stage.now, Ban(row[1].operator.public, "caught elsewhere")))
    stage.run(lambda: job_of(r, number).at_rest)
    assert len(r.event("job.examined")) == before + 1
    assert [x.state for x in job_of(r, number).team] == ["paid"]


def test_without_operators_nothing_is_restricted() -> None:
    stage, r, _, _ = scene()
    with pytest.raises(UsageError, match="names the operators"):
        play(stage, r, Needs(), 0)
