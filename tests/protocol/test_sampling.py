"""The policy `sample`: V15 to V19 of docs/spec/verification.md."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest

from p2pcompute.errors import UsageError
from p2pcompute.protocol import records, verification
from p2pcompute.protocol.job import Job
from p2pcompute.protocol.machine import Finding, Grant, InspectOutcome, JobOutcome, JobStatus
from p2pcompute.protocol.sampling import POINTS_PER_BLOCK, points, stored_fault
from p2pcompute.protocol.verification import LEAVES_PER_SAMPLE
from p2pcompute.wire import documents as d
from p2pcompute.wire.manifest import Argument, Buffer, Launch, Manifest, Role
from p2pcompute.wire.policy import Policy, sample
from tests.protocol.stage import MANIFEST, Actor, Stage, ending, lying, right

replace: Any = msgspec.structs.replace
JOB_ID = b"j" * 16
STORED = ((1,),)
POLICY = sample(5)


def scene(count: int = 2) -> tuple[Stage, Actor, list[Actor]]:
    stage = Stage()
    row = stage.providers(count)
    return stage, stage.actor("requester"), row


def job_of(r: Actor) -> Job:
    job = r.core.requester.jobs.get(JOB_ID)
    assert job is not None
    return job


def play(stage: Stage, r: Actor, **options: object) -> Job:
    stage.play(r, policy=POLICY, stored=STORED, **options)
    return job_of(r)


# -- drawing -----------------------------------------------------------------------------------------------------------


def manifest_of(launches: tuple[int, ...], sizes: tuple[int, ...]) -> Manifest:
    """Launches with so many repeats each; buffers of so many bytes."""
    buffers = tuple(Buffer(f"b{i}", "u8", (size,), Role.OUT) for i, size in enumerate(sizes))
    arguments = tuple(Argument(b.name) for b in buffers)
    rows = tuple(Launch("k", (8, 1, 1), (32, 1, 1), arguments, repeats=n) for n in launches)
    return replace(MANIFEST, buffers=buffers, launches=rows)


def draw(manifest: Manifest, stored: tuple[tuple[int, ...], ...], blocks: int = 1_000, nonce: bytes = b"n") -> Any:
    return points(manifest, stored, nonce * 32, b"c" * 32, blocks)


def test_a_draw_follows_from_nonce_and_commitment_alone() -> None:
    manifest = manifest_of((1,), (1_000,))
    assert draw(manifest, ((0,),)) == draw(manifest, ((0,),))
    assert draw(manifest, ((0,),)) != draw(manifest, ((0,),), nonce=b"m")
    assert points(manifest, ((0,),), b"n" * 32, b"c" * 32, 9) != points(manifest, ((0,),), b"n" * 32, b"d" * 32, 9)
    assert len(draw(manifest, ((0,),), blocks=7)) == 7 * POINTS_PER_BLOCK


def test_one_step_is_spread_evenly_over_what_it_stores_to() -> None:
    drawn = draw(manifest_of((1,), (1_000, 10, 0, 500)), ((0, 2, 3),))
    assert Counter(p.buffer for p in drawn) == {0: 4_000, 3: 4_000}
    assert {p.step for p in drawn} == {0}
    assert all(0 <= p.byte < (1_000, 10, 0, 500)[p.buffer] for p in drawn)
    assert len({p.byte for p in drawn if p.buffer == 3}) == 500


def test_of_several_steps_each_is_as_likely() -> None:
    drawn = draw(manifest_of((2, 1), (1_000, 50)), ((0,), (0, 1)))
    counts = Counter((p.step, p.buffer) for p in drawn)
    assert set(counts) == {(0, 0), (1, 0), (2, 0), (2, 1)}
    assert all(1_800 < n < 2_200 for n in counts.values())


@pytest.mark.parametrize(
    ("stored", "fault"),
    [
        (STORED, False),
        ((), True),
        (((1,), (1,)), True),
        (((),), True),
        (((0,),), True),
        (((2,),), True),
        (((-1,),), True),
    ],
)
def test_what_is_stored_to_must_be_possible(stored: tuple[tuple[int, ...], ...], fault: bool) -> None:
    assert bool(stored_fault(MANIFEST, stored)) is fault
    stage, r, _ = scene(1)
    if fault:
        with pytest.raises(UsageError):
            stage.submit(r, policy=POLICY, stored=stored)
        assert r.core.requester.jobs.get(JOB_ID) is None


# -- the opening -------------------------------------------------------------------------------------------------------

ROOT = b"y" * 32
OPENING = d.RootReveal(b"c" * 32, b"s" * 32, "cpu", "exact", d.OutcomeStatus.OK, (ROOT,), 1_000, "", ((ROOT,),))


@pytest.mark.parametrize(
    ("changes", "policy", "fault"),
    [
        ({}, POLICY, False),
        ({}, Policy(), True),
        ({"states": ()}, POLICY, True),
        ({"states": ()}, Policy(), False),
        ({"states": ((ROOT,), (ROOT,))}, POLICY, True),
        ({"states": ((ROOT, ROOT),)}, POLICY, True),
        ({"states": ((b"z" * 32,),)}, POLICY, True),
        ({"status": d.OutcomeStatus.TRAP, "output_roots": (), "states": ()}, POLICY, False),
        ({"status": d.OutcomeStatus.TRAP, "output_roots": ()}, POLICY, True),
    ],
)
def test_an_opening_has_the_state_after_every_step(changes: dict[str, Any], policy: Policy, fault: bool) -> None:
    assert bool(verification.opening_fault(replace(OPENING, **changes), MANIFEST, policy)) is fault


# -- in the flow -------------------------------------------------------------------------------------------------------


def test_one_provider_is_believed_after_its_blocks_were_recomputed() -> None:
    stage, r, (cheap, _) = scene()
    job = play(stage, r)
    assert job.state == "done"
    assert [(x.operator, x.state) for x in job.team] == [(cheap.operator.public, "paid")]
    (inspection,) = r.inspections
    (replica,) = job.team
    assert replica.commitment is not None
    assert replica.reveal is not None
    assert (inspection.peer, inspection.blocks) == (cheap.peer, 5)
    assert inspection.states == replica.reveal.body.states == (tuple(root for root, _ in right(inspection.manifest)),)
    assert {p.buffer for p in inspection.points} == {1}
    nonce = verification.nonce_of(r.core.post.env.secret, replica.terms.reservation, job.id)
    assert inspection.points == points(MANIFEST, STORED, nonce, replica.commitment.id, 5)


def test_pieces_are_given_from_the_opening_on_and_all_of_it_after_the_verdict() -> None:
    stage, r, (p, _) = scene()
    grants: list[Grant] = []
    mangled = p.mangle
    p.mangle = lambda effect: (grants.append(effect) if isinstance(effect, Grant) else None, mangled(effect))[1]
    play(stage, r)
    assert [g.leaves_max for g in grants] == [5 * LEAVES_PER_SAMPLE, 0]
    assert {g.peer for g in grants} == {r.peer}
    assert {g.token for g in grants} == {grants[0].token}


def test_whoever_is_refuted_is_out_and_another_takes_its_place() -> None:
    stage, r, (liar, honest) = scene()
    liar.compute = lying(b"alone")
    job = play(stage, r)
    assert job.state == "done"
    assert [(x.operator, x.state) for x in job.team] == [
        (liar.operator.public, "rejected"),
        (honest.operator.public, "paid"),
    ]
    assert r.core.reputation.demerits(liar.operator.public) < 0
    assert liar.core.provider.running == 0
    r.crash()
    assert r.core.reputation.demerits(liar.operator.public) < 0
    assert [x.state for x in job_of(r).team] == ["rejected", "paid"]


def test_a_kernel_that_races_is_nobodys_fault_but_its_own() -> None:
    stage, r, (p, _) = scene()
    r.inspect = lambda effect: InspectOutcome(Finding.AT_FAULT, 1, reason="launch 0, block 3: a race")
    job = play(stage, r)
    assert (job.state, job.error) == ("failed", "launch 0, block 3: a race")
    assert [x.state for x in job.team] == ["paid"]
    assert r.core.reputation.demerits(p.operator.public) == 0
    r.crash()
    assert (job_of(r).state, job_of(r).answer) == ("failed", (d.OutcomeStatus.TRAP, ()))


def test_a_fault_on_a_state_of_the_providers_own_is_compared_with_others() -> None:
    """Garbage in the state before would make any block trap."""
    stage, r, (liar, *_) = scene(3)
    liar.compute = lying(b"alone")
    r.inspect = lambda effect: InspectOutcome(Finding.AT_FAULT, 1, step=1, reason="step 1: out of bounds")
    job = play(stage, r)
    assert (job.state, job.checked) == ("done", True)
    assert [x.state for x in job.team] == ["rejected", "paid", "paid"]
    assert len(r.inspections) == 1


def test_a_provider_that_proves_nothing_is_lost_after_five_tries() -> None:
    stage, r, (p, other) = scene()
    r.inspect = lambda effect: InspectOutcome(Finding.UNAVAILABLE if effect.peer == p.peer else Finding.CLEAN)
    job = play(stage, r)
    assert job.state == "done"
    assert [(x.operator, x.state) for x in job.team] == [(p.operator.public, "lost"), (other.operator.public, "paid")]
    assert sum(i.peer == p.peer for i in r.inspections) == 5


def test_a_task_whose_blocks_prove_nothing_is_replicated() -> None:
    stage, r, _ = scene()
    r.inspect = lambda effect: InspectOutcome(Finding.UNPROVEN, reason="a global atomic")
    job = play(stage, r)
    assert (job.state, job.checked) == ("done", True)
    assert [x.state for x in job.team] == ["paid", "paid"]
    assert [e.fields["reason"] for e in r.event("job.inspected")] == ["a global atomic"]


def test_that_a_kernel_failed_is_replicated() -> None:
    stage, r, (first, second) = scene()
    first.compute = second.compute = ending(JobStatus.TRAP, "out of bounds")
    job = play(stage, r)
    assert (job.state, job.error) == ("failed", "out of bounds")
    assert [x.state for x in job.team] == ["paid", "paid"]
    assert not r.inspections


def test_a_restart_does_not_inspect_who_has_no_states() -> None:
    """One says that the kernel failed, another was asked beside it, and the requester forgets why."""
    stage, r, (failing, *_) = scene(3)
    failing.compute = ending(JobStatus.TRAP, "out of bounds")
    stage.submit(r, policy=POLICY, stored=STORED)
    stage.run(lambda: len(r.records(records.CommitmentHeld)) == 2)
    assert not r.records(records.Judged)
    r.crash()
    stage.run(lambda: job_of(r).at_rest)
    assert failing.peer not in {i.peer for i in r.inspections}
    assert (job_of(r).state, job_of(r).checked) == ("done", True)
    assert [x.state for x in job_of(r).team] == ["rejected", "paid", "paid"]


def test_an_opening_without_its_states_ends_the_operators_business() -> None:
    stage, r, (p, _) = scene()
    p.compute = lambda manifest: JobOutcome(JobStatus.OK, right(manifest), 1_000, states=((b"z" * 32,),))
    job = play(stage, r)
    assert job.state == "done"
    assert r.core.reputation.demerits(p.operator.public) < 0


@pytest.mark.parametrize("at", range(40))
@pytest.mark.parametrize("who", ["requester", "p0"])
def test_a_crash_at_any_record_changes_neither_the_draw_nor_the_end(who: str, at: int) -> None:
    stage, r, (liar, honest) = scene()
    liar.compute = lying(b"alone")
    actor = r if who == "requester" else liar
    if at >= len(_records(who)):
        return
    actor.crash_at = at
    job = play(stage, r)
    if not job.team:  # it was never submitted
        return
    assert job.state == "done"
    assert [x.state for x in job.team if x.operator == honest.operator.public][-1] == "paid"
    assert len({i.points for i in r.inspections if i.peer == honest.peer}) == 1
    verdicts = [x for x in r.records(records.Judged) if isinstance(x, records.Judged)]
    assert len(verdicts) == 1


def _records(who: str) -> list[bytes]:
    stage, r, (liar, _) = scene()
    liar.compute = lying(b"alone")
    play(stage, r)
    return (r if who == "requester" else liar).journal
