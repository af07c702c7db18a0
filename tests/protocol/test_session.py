"""Sessions: R15 of docs/spec/requester.md."""

from __future__ import annotations

from typing import Any

import pytest

from p2pcompute.protocol import records, session
from p2pcompute.protocol.commands import CloseSession
from p2pcompute.protocol.machine import JobStatus
from p2pcompute.wire import documents as d
from p2pcompute.wire import merkle
from p2pcompute.wire.manifest import Manifest, encode_manifest
from p2pcompute.wire.policy import replicate
from tests.protocol.stage import MANIFEST, NETWORK, Actor, Stage, at_rest, ending, lying, replaced, verify_once

NAME = b"s" * 16
JOBS = [bytes([i]) * 16 for i in range(1, 9)]


def manifest(number: int) -> Manifest:
    return replaced(MANIFEST, name=f"task {number}")


def scene(providers: int = 4, **changes: Any) -> tuple[Stage, Actor, list[Actor]]:
    stage = Stage()
    row = stage.providers(providers, slots=1, **changes)
    return stage, stage.actor("requester"), row


def submit(stage: Stage, r: Actor, number: int, *, keep: int = 2, **options: Any) -> bytes:
    """A job of the session, for two replicas that must agree."""
    terms: dict[str, Any] = {"policy": replicate(2, 2), "session": NAME, "session_providers": keep, **options}
    return stage.submit(r, job=JOBS[number], manifest=manifest(number), **terms)


def play(stage: Stage, r: Actor, number: int, **options: Any) -> Any:
    job = submit(stage, r, number, **options)
    stage.run(lambda: at_rest(r, job), for_ms=300_000)
    return r.core.requester.jobs.get(job)


def reservations(row: list[Actor]) -> int:
    """How often anybody reserved a slot, renewals not counted."""
    return sum(not record.renews for p in row for record in p.records(records.Reserved))  # type: ignore[union-attr]


def workers(r: Actor, job: Any) -> set[bytes]:
    return {e.fields["peer"] for e in r.event("job.assigned") if e.fields["job"] == job.id}  # type: ignore[misc]


def test_the_jobs_of_a_session_are_done_on_the_leases_of_the_first() -> None:
    stage, r, row = scene()
    done = [play(stage, r, number) for number in range(4)]
    assert [job.state for job in done] == ["done"] * 4
    assert reservations(row) == 2
    assert len(r.event("job.probing")) == 1
    assert all(workers(r, job) == {p.peer for p in row[:2]} for job in done)
    assert len(r.records(records.Settled)) == 8


def test_without_a_session_every_job_reserves() -> None:
    stage, r, row = scene()
    for number in range(3):
        play(stage, r, number, session=b"", session_providers=0)
    assert reservations(row) == 6


def test_jobs_that_are_submitted_together_wait_for_the_sessions_leases() -> None:
    stage, r, row = scene()
    for number in range(6):
        submit(stage, r, number)
    stage.run(lambda: all(at_rest(r, job) for job in JOBS[:6]), for_ms=300_000)
    assert all(job.state == "done" for job in r.core.requester.jobs)
    assert reservations(row) <= 4, "those that came before there was a lease may have reserved for themselves"
    assert all(len(p.core.provider.leasing._leases) <= 1 for p in row)


def test_a_session_has_as_many_leases_as_it_is_for() -> None:
    stage, r, row = scene(6)
    for number in range(6):
        submit(stage, r, number, keep=3)
    stage.run(lambda: all(at_rest(r, job) for job in JOBS[:6]), for_ms=300_000)
    kept = r.core.requester.sessions._sessions[NAME].kept
    assert 2 <= len(kept) <= 3
    assert sum(p.core.provider.busy_slots for p in row) == len(kept)


def test_a_lease_is_renewed_between_jobs_and_runs_out_when_there_is_no_work_for_long() -> None:
    stage, r, row = scene()
    play(stage, r, 0)
    stage.run(for_ms=2 * session.LEASE_MS)
    assert play(stage, r, 1).state == "done"
    assert reservations(row) == 2
    assert any(record.renews for record in row[0].records(records.Reserved))  # type: ignore[union-attr]
    stage.run(for_ms=20 * session.LEASE_MS)
    play(stage, r, 2)
    assert reservations(row) == 4


def test_a_session_that_lost_a_provider_recruits_another() -> None:
    stage, r, row = scene()
    play(stage, r, 0)
    row[0].deaf = True
    second = play(stage, r, 1)
    assert second.state == "done"
    assert workers(r, second) >= {row[1].peer, row[2].peer}
    third = play(stage, r, 2)
    assert workers(r, third) == {row[1].peer, row[2].peer}
    assert reservations(row) <= 4  # one more while the lost one was only late


@pytest.mark.parametrize("who", [0, 1])
def test_a_provider_that_restarts_between_jobs_works_on(who: int) -> None:
    stage, r, row = scene()
    play(stage, r, 0)
    row[who].crash()
    second = play(stage, r, 1)
    assert (second.state, workers(r, second)) == ("done", {row[0].peer, row[1].peer})
    assert reservations(row) == 2


def test_a_liar_is_no_longer_of_the_session() -> None:
    stage, r, row = scene()
    row[0].compute = lying(b"own way")
    first = play(stage, r, 0, keep=3, policy=replicate(3, 2))
    assert first.state == "done"
    second = play(stage, r, 1, keep=3, policy=replicate(3, 2))
    assert (second.state, row[0].peer in workers(r, second)) == ("done", False)


def test_what_fails_on_a_lease_costs_the_session_that_provider_only() -> None:
    stage, r, row = scene()
    play(stage, r, 0)
    row[1].compute = ending(JobStatus.CRASHED)
    second = play(stage, r, 1)
    assert second.state == "done"
    assert {row[0].peer, row[2].peer} <= workers(r, second)


def test_closing_gives_the_leases_back() -> None:
    stage, r, row = scene()
    play(stage, r, 0)
    assert sum(p.core.provider.busy_slots for p in row) == 2
    r.do(r.core.on_command(stage.now, CloseSession(NAME)))
    stage.run(for_ms=1)
    assert sum(p.core.provider.busy_slots for p in row) == 0
    assert sum(len(p.records(records.Released)) for p in row) == 2
    assert play(stage, r, 1, session=b"", session_providers=0).state == "done"


def test_after_a_crash_the_jobs_of_a_session_go_on_without_it() -> None:
    stage, r, row = scene()
    play(stage, r, 0)
    job = submit(stage, r, 1)
    stage.run(for_ms=50)
    r.crash()
    stage.run(lambda: at_rest(r, job), for_ms=300_000)
    held = r.core.requester.jobs.get(job)
    assert held is not None
    assert held.state == "done"
    stage.run(for_ms=2 * session.LEASE_MS)
    for p in row:
        p.core.provider.leasing.expire(stage.now)
        assert p.core.provider.busy_slots == 0


def test_a_lease_above_the_budget_of_a_job_is_not_put_to_work() -> None:
    stage, r, row = scene()
    play(stage, r, 0)
    second = play(stage, r, 1, budget=1_999_999)
    assert (second.state, workers(r, second) == {p.peer for p in row[:2]}) == ("failed", False)
    assert second.code == 4


def test_two_tasks_on_one_lease_have_nonces_of_their_own() -> None:
    stage, r, _ = scene()
    for number in range(3):
        play(stage, r, number)
    rows = [d.open_document(NETWORK, x.assignment, verify_once).body for x in r.records(records.Assigned)]  # type: ignore[union-attr]
    assert len({x.nonce_commitment for x in rows}) == len(rows) == 6
    assert merkle.blob_root(encode_manifest(manifest(1))) in {x.manifest_root for x in rows}
