"""The policy `adaptive`: V10 to V14 of docs/spec/verification.md."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pcompute.protocol import trust
from p2pcompute.protocol.commands import Ban, StopJob
from p2pcompute.protocol.job import Job
from p2pcompute.protocol.machine import JobStatus
from p2pcompute.protocol.trust import CONFIRMATIONS_MIN, FORGET_MS, WINDOW, Kind, Trust, credibility
from p2pcompute.wire import documents as d
from p2pcompute.wire.policy import adaptive
from tests.protocol.stage import Actor, Stage, ending, lying

KIND = Kind(b"o" * 32, "cpu x86-64-v3", b"k" * 32)
OTHERS = (Kind(b"p" * 32, *KIND[1:]), KIND._replace(device="cuda A100"), KIND._replace(kernels=b"l" * 32))


def earned(secret: bytes = b"s" * 32, wall_ms: int = 0) -> Trust:
    """Somebody's word just began to suffice."""
    found = Trust(secret)
    for _ in range(CONFIRMATIONS_MIN):
        found.confirm(KIND, wall_ms)
    return found


def test_credibility_is_sarmentas() -> None:
    """1 - f/(e k) bounds what a faker can hope for: f s (1 - s)^k over all shares s of faked results."""
    for k in (1, 5, CONFIRMATIONS_MIN, 100):
        worst = max(trust.SABOTEURS * s / 1000 * (1 - s / 1000) ** k for s in range(1001))
        assert 1 - worst >= credibility(k)
        assert 1 - worst == pytest.approx(credibility(k), abs=trust.SABOTEURS / (2 * k * k))
    assert credibility(0) == 1 - trust.SABOTEURS
    assert credibility(CONFIRMATIONS_MIN - 1) < trust.CREDIBILITY_MIN <= credibility(CONFIRMATIONS_MIN)


def test_a_newcomer_is_always_checked() -> None:
    new = Trust(b"s" * 32)
    for _ in range(CONFIRMATIONS_MIN):
        assert new.assign(KIND, 0)
        new.confirm(KIND, 0)
    assert sum(new.assign(KIND, 0) for _ in range(WINDOW)) == 1
    for other in OTHERS:
        assert new.assign(other, 0)


@given(st.binary(min_size=32, max_size=32))
def test_every_window_has_one_check_and_it_is_never_far(secret: bytes) -> None:
    one = earned(secret)
    checks = [at for at in range(50 * WINDOW) if one.assign(KIND, 0)]
    assert [at // WINDOW for at in checks] == list(range(50))
    assert all(later - earlier - 1 <= 2 * (WINDOW - 1) for earlier, later in itertools.pairwise(checks))


def test_where_the_checks_are_is_a_secret() -> None:
    def places(secret: bytes) -> list[int]:
        one = earned(secret)
        return [at for at in range(20 * WINDOW) if one.assign(KIND, 0)]

    assert places(b"a" * 32) != places(b"b" * 32)
    assert len({at % WINDOW for at in places(b"a" * 32)}) > 5


def test_a_check_that_came_to_nothing_is_made_up_for() -> None:
    one = earned()
    one.miss(KIND)
    assert one.assign(KIND, 0)
    assert one.assign(KIND, 0)
    one.confirm(KIND, 0)
    assert sum(one.assign(KIND, 0) for _ in range(WINDOW - 2)) <= 1
    one.miss(Kind(b"nobody" * 5 + b"xx", "", b""))


def test_trust_is_forgotten_when_it_is_old_and_when_it_was_abused() -> None:
    assert earned().assign(KIND, FORGET_MS + 1)
    old = earned()
    old.confirm(KIND, FORGET_MS + 1)
    assert [row.confirmed for _, row in old.rows()] == [1]
    caught = earned()
    caught.forget(KIND.operator)
    assert caught.assign(KIND, 0)
    assert not caught.rows()


def test_the_least_recently_confirmed_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "ROWS_MAX", 2)
    few = Trust(b"s" * 32)
    for kind in (KIND, OTHERS[0], KIND, OTHERS[1]):
        few.confirm(kind, 0)
    assert [kind for kind, _ in few.rows()] == [KIND, OTHERS[1]]


# -- in the flow -------------------------------------------------------------------------------------------------------


def scene(count: int = 2) -> tuple[Stage, Actor, list[Actor]]:
    stage = Stage()
    row = stage.providers(count)
    return stage, stage.actor("requester"), row


def job_of(r: Actor, number: int) -> Job:
    held = r.core.requester.jobs.get(number.to_bytes(16, "big"))
    assert held is not None
    return held


def play(stage: Stage, r: Actor, numbers: range) -> list[int]:
    """One job after the other; how many replicas each had."""
    for number in numbers:
        stage.play(r, job=number.to_bytes(16, "big"), policy=adaptive())
    return [len(job_of(r, number).team) for number in numbers]


def test_a_proven_operator_works_alone_but_for_the_checks() -> None:
    stage, r, (cheap, _) = scene()
    sizes = play(stage, r, range(CONFIRMATIONS_MIN + 2 * WINDOW))
    assert sizes[:CONFIRMATIONS_MIN] == [2] * CONFIRMATIONS_MIN
    assert sizes[CONFIRMATIONS_MIN:].count(2) == 2
    assert all(job_of(r, n).state == "done" for n in range(len(sizes)))
    alone = [job_of(r, n) for n, size in enumerate(sizes) if size == 1]
    assert {job.team[0].operator for job in alone} == {cheap.operator.public}
    verdicts = [job.team[0].verdict for job in alone]
    assert all(v is not None and v.body.agreeing == 1 for v in verdicts)


def test_the_assignment_does_not_say_whether_it_is_checked() -> None:
    stage, r, _ = scene()
    play(stage, r, range(CONFIRMATIONS_MIN + 3))
    policies = {x.terms.policy for n in range(CONFIRMATIONS_MIN + 3) for x in job_of(r, n).team}
    assert policies == {adaptive()}


def test_whoever_turns_bad_is_caught_within_38_tasks_and_what_it_did_is_doubted() -> None:
    stage, r, (turncoat, *_) = scene(3)
    play(stage, r, range(CONFIRMATIONS_MIN))
    turncoat.compute = lying(b"alone")
    for number in range(100, 100 + 2 * WINDOW):
        play(stage, r, range(number, number + 1))
        if r.core.reputation.demerits(turncoat.operator.public) < 0:
            break
    milked = [job_of(r, n) for n in range(100, number)]
    assert len(milked) <= 2 * (WINDOW - 1)
    assert all(len(job.team) == 1 and job.doubt for job in milked)
    assert job_of(r, number).state == "done"
    assert job_of(r, number).answer == (d.OutcomeStatus.OK, job_of(r, number).team[-1].reveal.body.output_roots)  # type: ignore[union-attr]
    assert not job_of(r, number).doubt
    r.crash()
    assert [n for n in range(100, number) if job_of(r, n).doubt] == list(range(100, number))


def test_a_restart_forgets_no_trust() -> None:
    stage, r, _ = scene()
    play(stage, r, range(CONFIRMATIONS_MIN + 5))
    before = r.core.requester.jobs.trust.rows()
    r.crash()
    assert r.core.requester.jobs.trust.rows() == before
    assert play(stage, r, range(100, 100 + WINDOW - 5)).count(2) <= 1


def test_that_a_kernel_failed_takes_more_than_one_word() -> None:
    stage, r, (first, second) = scene()
    play(stage, r, range(CONFIRMATIONS_MIN + 1))
    first.compute = second.compute = ending(JobStatus.TRAP, "launch 0: out of bounds")
    numbers = range(100, 103)
    assert play(stage, r, numbers) == [2, 2, 2]
    assert {job_of(r, n).error for n in numbers} == {"launch 0: out of bounds"}
    assert {x.state for n in numbers for x in job_of(r, n).team} == {"paid"}


def test_a_check_whose_replica_is_lost_is_made_up_for() -> None:
    stage, r, (cheap, _) = scene()
    play(stage, r, range(CONFIRMATIONS_MIN))
    kind = job_of(r, 0).kind_of(job_of(r, 0).team[0])
    assert kind.operator == cheap.operator.public
    for number in range(100, 100 + WINDOW):
        stage.submit(r, job=number.to_bytes(16, "big"), policy=adaptive())
        stage.run(lambda n=number: bool(job_of(r, n).within("running")), for_ms=5_000)  # type: ignore[misc]
        if job_of(r, number).checked:
            r.do(r.core.on_command(stage.now, StopJob(number.to_bytes(16, "big"))))
            break
        stage.run(lambda n=number: job_of(r, n).at_rest)  # type: ignore[misc]
    assert play(stage, r, range(200, 203)) == [2, 1, 1]


def test_who_is_banned_while_it_works_alone_is_compared_with_another() -> None:
    stage, r, (cheap, _) = scene()
    play(stage, r, range(CONFIRMATIONS_MIN))
    for number in range(100, 100 + WINDOW):
        stage.submit(r, job=number.to_bytes(16, "big"), policy=adaptive())
        stage.run(lambda n=number: bool(job_of(r, n).within("running")), for_ms=5_000)  # type: ignore[misc]
        if not job_of(r, number).checked:
            break
        stage.run(lambda n=number: job_of(r, n).at_rest)  # type: ignore[misc]
    r.do(r.core.on_command(stage.now, Ban(cheap.operator.public, "caught elsewhere")))
    stage.run(lambda: job_of(r, number).at_rest)
    assert [x.state for x in job_of(r, number).team] == ["paid", "paid"]
    assert {x.verdict.body.agreeing for x in job_of(r, number).team if x.verdict is not None} == {2}
