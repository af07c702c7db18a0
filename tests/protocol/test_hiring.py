"""Whom a requester engages, and what it may spend: docs/spec/requester.md."""

from __future__ import annotations

from typing import Any

import pytest

from p2pcompute.errors import DecodeError, UsageError
from p2pcompute.protocol import records, recruiting
from p2pcompute.protocol.commands import Ban, Submit
from p2pcompute.protocol.job import Job
from p2pcompute.protocol.machine import Reply
from p2pcompute.protocol.matching import Needs
from p2pcompute.protocol.recruiting import Recruiter
from p2pcompute.wire import documents as d
from p2pcompute.wire import limits
from tests.protocol.requesting import JOB_ID, answering, engaged, job_of, kinds_sent, resigned, scene
from tests.protocol.stage import (
    MANIFEST,
    NETWORK,
    Actor,
    Stage,
    at_rest,
    delegation,
    lying,
    terms,
)


def test_nothing_is_reserved_when_the_replicas_could_cost_more_than_the_budget() -> None:
    stage, r, row = scene(3)
    seen = kinds_sent(r)
    stage.play(r, budget=2_000_999)
    assert (job_of(r).state, job_of(r).code) == ("failed", 4)
    assert "more than is left of the budget of 2000999" in job_of(r).error
    assert set(seen) == {d.Kind.PROBE}
    assert all(not p.journal for p in row)


def test_a_budget_that_just_suffices_is_used() -> None:
    stage, r, _ = scene(3)
    stage.play(r, budget=2_001_000)
    assert job_of(r).state == "done"


def test_escalation_stays_within_the_budget() -> None:
    stage, r, (liar, *_) = scene(3)
    liar.compute = lying(b"own way")
    stage.play(r, budget=2_001_000)
    assert (job_of(r).state, job_of(r).code, len(engaged(r))) == ("failed", 4, 2)


@pytest.mark.parametrize("changes", [{"price_per_device_s": 1_000_001}, {"price_minimum": 10**15}])
def test_a_quote_above_the_offer_counts_as_none(changes: dict[str, Any]) -> None:
    stage, r, (bait, q, third) = scene(3)
    answering(bait, d.Quote, lambda document: resigned(bait, document, **changes))
    stage.play(r)
    assert job_of(r).state == "done"
    assert engaged(r) == [q.peer, third.peer]


def declining(stage: Stage, fickle: Actor) -> list[bytes]:
    """It reserves nothing any more; the requests it was asked for."""
    author = d.Author(NETWORK, fickle.peer, b"declines", fickle.key.sign)
    asked: list[bytes] = []

    def decline(document: d.AnyDocument) -> bytes:
        asked.append(document.body.request)
        no = d.Decline(document.body.request, d.DeclineCode.BUSY, "no")
        return author.write(stage.now.wall_ms, no, lifetime_ms=9_000).raw

    answering(fickle, d.Reservation, decline)
    return asked


def test_a_provider_that_quotes_and_always_declines_does_not_hold_the_job_up() -> None:
    stage, r, (fickle, q, third) = scene(3, slots=20)
    asked = declining(stage, fickle)
    stage.play(r, for_ms=60_000)
    assert job_of(r).state == "done"
    assert engaged(r) == [q.peer, third.peer]
    assert len(asked) == 1, "the next of those who quoted is taken instead"


def test_who_always_declines_is_not_asked_for_ever_when_nobody_else_is_left() -> None:
    stage, r, (fickle, _) = scene(2, slots=20)
    asked = declining(stage, fickle)
    stage.play(r, for_ms=60_000)
    assert len(asked) == recruiting.DECLINES_MAX


def test_many_who_quote_and_then_reserve_nothing_do_not_use_up_a_jobs_replicas() -> None:
    """More of them than a job may have replicas, all cheaper than the two that serve."""
    stage, r, row = scene(limits.REPLICAS_MAX + 6)
    for bait in row[:-2]:
        answering(bait, d.Reservation, lambda document: None)
    stage.play(r, for_ms=120_000)
    assert job_of(r).state == "done"
    assert engaged(r) == [x.peer for x in row[-2:]]
    asked = [e.fields["operator"] for e in r.event("job.lost")]
    assert len(set(asked)) == len(asked) == len(row) - 2


def test_a_provider_that_once_reserved_nothing_is_asked_again_when_nobody_else_is_left() -> None:
    stage, r, (shy, q) = scene(2)
    times: list[bytes] = []

    def once(document: d.AnyDocument) -> bytes | None:
        times.append(document.id)
        return document.raw if len(times) > 1 else None

    answering(shy, d.Reservation, once)
    stage.play(r, for_ms=60_000)
    assert job_of(r).state == "done"
    assert sorted(engaged(r)) == sorted((shy.peer, q.peer))


def test_many_who_answer_nothing_are_asked_once_each_at_most() -> None:
    stage, r, row = scene(3 * limits.PROBES_MAX + 2)
    for bait in row[:-2]:
        bait.deaf = True
    stage.play(r, for_ms=60_000)
    assert job_of(r).state == "done"
    assert engaged(r) == [x.peer for x in row[-2:]]
    rounds = [e.fields["peers"] for e in r.event("job.probing")]
    asked = [peer for peers in rounds for peer in peers]
    assert len(asked) == len(set(asked)) >= 3 * limits.PROBES_MAX
    assert max(r.core.reputation.demerits(x.operator.public) for x in row[:-2]) == 1


def test_a_silent_provider_does_not_let_the_quotes_of_the_others_run_out() -> None:
    stage, r, (silent, q, third) = scene(3)
    silent.deaf = True
    stage.play(r, replicas=3, quorum=2, for_ms=30_000)
    assert job_of(r).state == "done"
    assert engaged(r) == [q.peer, third.peer]


def test_without_any_offer_the_job_fails_and_says_what_to_check() -> None:
    stage = Stage()
    r = stage.actor("requester")
    stage.play(r)
    assert (job_of(r).state, job_of(r).code) == ("failed", 3)
    assert job_of(r).error.startswith("no offers have been seen")


def test_without_a_fitting_offer_the_job_fails_and_says_why() -> None:
    stage, r, _ = scene(2)
    stage.play(r, needs=Needs(price_per_device_s_max=5))
    assert (job_of(r).state, job_of(r).code) == ("failed", 3)
    assert "2 × price; the nearest price is 1000000" in job_of(r).error


def test_what_a_job_needs_of_its_providers_outlives_a_crash() -> None:
    stage, r, _ = scene(2)
    needs = Needs(regions=("there",), operators_denied=(b"o" * 32,))
    job = stage.submit(r, needs=needs)
    stage.run(for_ms=3_000)
    r.crash()
    held = r.core.requester.jobs.get(job)
    assert held is not None
    assert (held.needs.regions, held.needs.operators_denied) == (needs.regions, needs.operators_denied)
    assert (held.needs.memory_bytes, held.needs.device_ms) == (MANIFEST.memory_bytes_max, MANIFEST.device_ms_max)
    stage.run(lambda: at_rest(r))
    assert "2 × region" in job_of(r).error


def test_a_need_of_a_short_round_trip_leaves_out_who_answers_late() -> None:
    stage, r, (slow, quick) = scene(2)
    reply = stage.reply

    def late(target: Actor, effect: Reply) -> None:
        stage.at(stage.mono_ms + (40 if target is slow else 0), lambda: reply(target, effect))

    stage.reply = late  # type: ignore[method-assign]
    stage.play(r, job=b"1" * 16, replicas=1, quorum=1, needs=Needs(rtt_ms_max=39))
    assert [p.peer for p in (slow, quick) if p.records(records.Reserved)] == [quick.peer]
    assert len(slow.event("provider.quoted")) == 1
    stage.play(r, job=b"2" * 16, replicas=1, quorum=1, needs=Needs(rtt_ms_max=39))
    assert len(slow.event("provider.quoted")) == 1
    stage.play(r, job=b"3" * 16, replicas=1, quorum=1, needs=Needs(rtt_ms_max=40))
    assert [p.peer for p in (slow, quick) if len(p.records(records.Reserved)) == 1] == [slow.peer]


def test_after_fruitless_rounds_a_job_looks_farther(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SCAN_MAX", 1)
    stage, r, _ = scene(2, region="there")
    near = stage.actor("near")
    near.publish(terms(delegation=near.delegation, region="here", price_per_device_s=2_000_000))
    stage.play(r, replicas=1, quorum=1, needs=Needs(regions=("here",)))
    assert job_of(r).state == "done"
    assert [replica.peer for replica in job_of(r).team] == [near.peer]
    assert len(r.event("job.waiting")) == 2


def test_while_a_job_waits_its_reason_is_looked_up_ever_more_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, r, _ = scene(2)
    rounds: list[int] = []
    explain = Recruiter.explain

    def counted(recruiter: Recruiter, job: Job) -> str:
        rounds.append(job.dry_rounds)
        return explain(recruiter, job)

    monkeypatch.setattr(Recruiter, "explain", counted)
    stage.play(r, needs=Needs(price_per_device_s_max=5))
    assert rounds == [1, 2, 4, 8, 16, 20]
    assert all("2 × price" in str(e.fields["reason"]) for e in r.event("job.waiting"))


def test_too_few_providers_for_a_quorum_are_explained_when_time_is_up() -> None:
    stage, r, _ = scene(1)
    stage.play(r, timeout_ms=30_000)
    assert (job_of(r).state, job_of(r).code) == ("failed", 3)
    assert "1 × busy or silent" in job_of(r).error


def test_one_operator_never_holds_two_replicas() -> None:
    stage, r, (p, q) = scene(2)
    twin = stage.actor("twin")
    twin.operator = p.operator
    twin.delegation = delegation(twin.operator, twin.peer)
    twin.boot()
    twin.publish(terms(delegation=twin.delegation, price_per_device_s=900_000))
    stage.play(r)
    assert set(engaged(r)) == {twin.peer, q.peer}


@pytest.mark.parametrize(("replicas", "quorum"), [(1, 2), (2, 0), (17, 2), (0, 0)])
def test_an_impossible_policy_is_a_usage_error(replicas: int, quorum: int) -> None:
    stage, r, _ = scene(1)
    with pytest.raises(UsageError, match="quorum"):
        stage.submit(r, replicas=replicas, quorum=quorum)
    assert r.journal == []


def test_a_broken_manifest_is_not_taken_on() -> None:
    stage, r, _ = scene(1)
    with pytest.raises(DecodeError):
        r.core.on_command(stage.now, Submit(JOB_ID, b"junk"))
    assert r.core.requester.jobs.get(JOB_ID) is None


def test_a_job_submitted_twice_runs_once() -> None:
    stage, r, _ = scene(2)
    stage.submit(r)
    stage.submit(r)
    stage.run(lambda: at_rest(r))
    assert len(r.records(records.JobSubmitted)) == 1
    assert len(engaged(r)) == 2


def test_a_banned_operator_is_not_engaged_and_a_pardoned_one_is() -> None:
    stage, r, (p, q, third) = scene(3)
    r.do(r.core.on_command(stage.now, Ban(p.operator.public, "slow")))
    stage.play(r)
    assert engaged(r) == [q.peer, third.peer]
    r.do(r.core.on_command(stage.now, Ban(p.operator.public, "")))
    stage.play(r, job=b"k" * 16)
    assert engaged(r)[2] == p.peer
