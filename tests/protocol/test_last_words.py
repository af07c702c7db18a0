"""What became of a commitment reaches its provider, however letters get lost: R3a of docs/spec/requester.md, P14 of
docs/spec/provider.md."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from p2pcompute.protocol.commands import StopJob
from p2pcompute.protocol.machine import Effect, Request
from p2pcompute.protocol.provider import ASK_MS_MIN
from p2pcompute.wire import documents as d
from tests.protocol.stage import Actor, Stage, lying

JOB = b"j" * 16


def losing(r: Actor, *kinds: type[object]) -> Callable[[Effect], Effect | None]:
    """Letters of these kinds do not arrive."""

    def lose(effect: Effect) -> Effect | None:
        if isinstance(effect, Request) and isinstance(r.core.post.open(effect.frame).body, kinds):
            return None
        return effect

    return lose


def claimed(p: Actor, r: Actor) -> int:
    return p.core.ledger.account(r.peer).claimed


def outvoted(*, lost: bool) -> tuple[Stage, Actor, Actor]:
    """A liar among three; with `lost` the verdict against it does not arrive."""
    stage = Stage()
    r = stage.actor("r")
    liar = stage.providers(3)[0]
    liar.compute = lying(b"lie")

    def lose(effect: Effect) -> Effect | None:
        if isinstance(effect, Request) and effect.peer == liar.peer:
            body = r.core.post.open(effect.frame).body
            return None if isinstance(body, d.Verdict) else effect
        return effect

    r.mangle = lose if lost else r.mangle
    stage.play(r, job=JOB, replicas=3)
    return stage, r, liar


def test_a_verdict_that_was_lost_is_given_when_it_is_asked_for() -> None:
    stage, r, liar = outvoted(lost=True)
    assert claimed(liar, r) > 0
    stage.run(for_ms=ASK_MS_MIN)
    assert claimed(liar, r) == 0
    assert [e.fields["judgement"] for e in liar.event("provider.outvoted")] == ["OUTVOTED"]


@pytest.mark.parametrize("restarts", [False, True])
def test_it_is_the_same_verdict_after_a_restart(*, restarts: bool) -> None:
    stage, r, liar = outvoted(lost=True)
    job = r.core.requester.jobs.get(JOB)
    assert job is not None
    (verdict,) = [x.verdict.raw for x in job.team if x.state == "rejected" and x.verdict is not None]
    if restarts:
        r.crash()
    given: list[bytes | None] = []
    stage.run(lambda: not claimed(liar, r), for_ms=ASK_MS_MIN)
    before = len(r.journal)
    commitment = next(x.commitment.raw for x in job.team if x.state == "rejected" and x.commitment is not None)
    r.mangle = lambda effect: given.append(getattr(effect, "frame", None))
    r.do(r.core.on_request(stage.now, liar.peer, 10**6, commitment))
    assert given == [verdict]
    assert len(r.journal) == before


def test_a_verdict_that_a_crash_made_its_provider_forget_is_given_again() -> None:
    stage, r, liar = outvoted(lost=False)
    assert claimed(liar, r) == 0
    stage.run(for_ms=3_600_000)
    liar.crash()
    assert claimed(liar, r) > 0
    stage.run(for_ms=3_000)
    assert claimed(liar, r) == 0


def test_who_worked_for_a_job_that_was_stopped_is_told_though_the_letters_got_lost() -> None:
    stage = Stage()
    r = stage.actor("r")
    first, second = stage.providers(2)
    second.compute = lambda manifest: pytest.fail("is never reached")
    second.mangle = lambda effect: None if type(effect).__name__ == "RunJob" else effect
    stage.submit(r, job=JOB)
    stage.run(lambda: claimed(first, r) > 0, for_ms=10_000)
    r.mangle = losing(r, d.Verdict, d.Abort)
    r.do(r.core.on_command(stage.now, StopJob(JOB)))
    stage.run(for_ms=1_000)
    assert claimed(first, r) > 0
    stage.run(for_ms=ASK_MS_MIN)
    assert claimed(first, r) == 0


def test_a_commitment_that_comes_when_its_replica_was_lost_is_answered_by_an_abort() -> None:
    stage = Stage()
    r = stage.actor("r")
    late = stage.providers(3)[0]
    waits = [True]
    late.mangle = lambda effect: None if waits and type(effect).__name__ == "RunJob" else effect
    stage.submit(r, job=JOB)
    stage.run(lambda: bool(late.event("provider.running")), for_ms=10_000)
    r.mangle = losing(r, d.Abort)
    stage.run(lambda: bool(r.event("job.done")), for_ms=300_000)
    waits.clear()
    late.crash()  # runs it again, in vain
    stage.run(for_ms=1_000)
    assert late.event("provider.committed")
    assert claimed(late, r) == 0
