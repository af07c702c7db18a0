"""A referee between replicas: V24 to V30 of docs/spec/verification.md."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from p2pcompute.errors import UsageError
from p2pcompute.protocol import desk, records, verification
from p2pcompute.protocol.disputes import divergence
from p2pcompute.protocol.job import Job
from p2pcompute.protocol.machine import (
    Finding,
    Grant,
    Inspect,
    InspectOutcome,
    JobOutcome,
    JobStatus,
    Locate,
    Point,
    RunJob,
)
from p2pcompute.wire import documents as d
from p2pcompute.wire import merkle
from p2pcompute.wire.manifest import Buffer, Comparison, Manifest, Role
from p2pcompute.wire.policy import Policy, Scheme, policy_fault, replicate, sample
from tests.protocol.stage import MANIFEST, Actor, Stage, ending, lying, right

DOCS = Path(__file__).parents[2] / "docs"
replace: Any = msgspec.structs.replace
JOB_ID = b"j" * 16
STORED = ((1,),)
LEAVES = 2_685
"""Of its states, that a provider shows for disputes."""
NEAR = Buffer("y", "f32", (8,), Role.OUT, b"", Comparison.TOLERANCE, 4)
TOLERANT = replace(MANIFEST, buffers=(MANIFEST.buffers[0], NEAR))
THREE_STEPS = replace(MANIFEST, launches=(replace(MANIFEST.launches[0], repeats=3),))

# -- where results part ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("results", "found"),
    [
        (["ab cd", "ab cd"], None),
        (["ab cd"], None),
        (["ab cd", "ab cx"], (1, 1, 1)),
        (["ab cd", "xb cd"], (0, 0, 1)),
        (["ab cd", "ab cd", "ax cd"], (0, 1, 2)),
        (["ab cd", "ab xd", "ax cd"], (0, 1, 2)),
        (["ab cd", "ax cd", "xb cd"], (0, 0, 2)),
    ],
)
def test_the_first_step_after_which_not_all_are_alike(results: list[str], found: tuple[int, int, int] | None) -> None:
    assert divergence([[[c.encode() for c in state] for state in row.split()] for row in results]) == found


@given(st.lists(st.lists(st.sampled_from([b"a", b"b"]), min_size=3, max_size=3), min_size=1, max_size=5))
def test_the_state_before_is_common_to_all(rows: list[list[bytes]]) -> None:
    results = [[[root] for root in row] for row in rows]
    found = divergence(results)
    if found is None:
        assert len({tuple(row) for row in rows}) == 1
        return
    step, place, number = found
    assert len({tuple(row[:step]) for row in rows}) == 1
    assert results[0][step][place] != results[number][step][place]


# -- the policy --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "fault"),
    [
        (Policy(referee=True), False),
        (Policy(Scheme.REPLICATE, 1, 1, referee=True), True),
        (Policy(Scheme.ADAPTIVE, 2, 2, referee=True), True),
        (Policy(Scheme.SAMPLE, 2, 2, 44, referee=True), True),
    ],
)
def test_a_referee_decides_between_replicas_only(policy: Policy, fault: bool) -> None:
    assert bool(policy_fault(policy)) is fault


@pytest.mark.parametrize(
    ("manifest", "stored"),
    [
        (MANIFEST, ()),
        (replace(MANIFEST, launches=(replace(MANIFEST.launches[0], repeats=65),)), STORED),
        (
            TOLERANT,
            STORED,
        ),
    ],
    ids=["stored buffers unknown", "too many states", "with a tolerance"],
)  # fmt: skip
def test_a_task_that_no_block_decides_is_not_taken(manifest: Manifest, stored: Any) -> None:
    stage = Stage()
    with pytest.raises(UsageError):
        stage.submit(stage.actor("requester"), manifest=manifest, policy=replicate(referee=True), stored=stored)


def test_a_buffer_without_bytes_has_one_content() -> None:
    empty = replace(MANIFEST, buffers=(*MANIFEST.buffers, Buffer("z", "f32", (0,), Role.TEMP)))
    policy, y = replicate(referee=True), b"y" * 32
    for root, fault in ((merkle.blob_root(b""), ""), (b"z" * 32, "bytes in an empty buffer")):
        opening = d.RootReveal(b"c" * 32, b"s" * 32, "cpu", "exact", d.OutcomeStatus.OK, (y,), 1, "", ((y, root),))
        assert verification.opening_fault(opening, empty, policy) == fault


def test_the_pages_say_how_many_leaves_are_shown() -> None:
    policy = replicate(referee=True)
    assert verification.LOCATING_TRIES_MAX == desk.ATTEMPTS_MAX
    assert verification.leaves_shown(policy) == LEAVES < verification.leaves_shown(sample())
    pages = ("spec/verification.md", "security.md", "adr/0011-a-referee-at-the-requester.md")
    assert all(f"{LEAVES:,}" in (DOCS / page).read_text() for page in pages)
    numbers = f"({verification.LEVELS_MAX}), and 64 for the block: {verification.LEAVES_PER_DISPUTE}."
    assert numbers in (DOCS / pages[0]).read_text()


# -- in the flow -------------------------------------------------------------------------------------------------------


def scene(count: int) -> tuple[Stage, Actor, list[Actor]]:
    stage = Stage()
    row = stage.providers(count)
    return stage, stage.actor("requester"), row


def play(stage: Stage, r: Actor, *, replicas: int = 2, quorum: int = 2, **options: object) -> Job:
    policy = replicate(replicas, quorum, referee=True)
    stage.play(r, **{"policy": policy, "stored": STORED, **options})
    return job_of(r)


def job_of(r: Actor) -> Job:
    job = r.core.requester.jobs.get(JOB_ID)
    assert job is not None
    return job


def outcome_of(job: Job, row: Sequence[Actor]) -> dict[str, str]:
    """What became of whom."""
    names = {actor.operator.public: actor.name for actor in row}
    return {names[r.operator]: r.state for r in job.team}


def judgements(r: Actor) -> list[str]:
    return [str(e.fields["judgement"]) for e in r.event("job.verdict")]


def in_steps(*marks: bytes) -> Callable[[bytes], JobOutcome]:
    """An engine whose states differ from the right ones where a step has a mark; the last holds the output."""

    def compute(manifest: bytes) -> JobOutcome:
        (out,) = right(manifest)
        roots = [blake3(out[0] + bytes([i]) + mark).digest() if mark else step_root(manifest, i)
                 for i, mark in enumerate(marks)]  # fmt: skip
        return JobOutcome(JobStatus.OK, ((roots[-1], out[1]),), 50_000, states=tuple((root,) for root in roots))

    return compute


def step_root(manifest: bytes, step: int) -> bytes:
    """What honest engines leave of the output after a step."""
    (out,) = right(manifest)
    return blake3(out[0] + bytes([step])).digest()


def recomputing(effect: Inspect) -> InspectOutcome:
    """An engine that knows what every step leaves of the state before it, if that is right."""
    (point,) = effect.points
    is_right = effect.states[point.step] == (step_root(effect.manifest, point.step),)
    return InspectOutcome(Finding.CLEAN if is_right else Finding.WRONG, 1, step=point.step)


def test_without_a_difference_nothing_is_recomputed() -> None:
    stage, r, row = scene(2)
    job = play(stage, r)
    assert (job.state, outcome_of(job, row)) == ("done", {"p0": "paid", "p1": "paid"})
    assert not r.located
    assert not r.inspections


def test_providers_keep_states_and_show_leaves_of_them_from_the_opening_to_the_verdict() -> None:
    stage, r, (p, _) = scene(2)
    seen: list[Any] = []
    p.mangle = lambda effect: (seen.append(effect) if isinstance(effect, Grant | RunJob) else None, effect)[1]
    play(stage, r)
    run, *grants = seen
    assert run.snapshots
    assert [g.leaves_max for g in grants] == [LEAVES, 0]
    assert {g.peer for g in grants} == {r.peer}


def test_one_block_convicts_the_liar_of_two() -> None:
    stage, r, row = scene(3)
    row[0].compute = lying(b"alone")
    job = play(stage, r)
    assert (job.state, outcome_of(job, row)) == ("done", {"p0": "rejected", "p1": "paid", "p2": "paid"})
    assert judgements(r) == ["REFUTED", "AGREED", "AGREED"]
    assert {i.peer for i in r.inspections} == {row[0].peer, row[1].peer}
    assert {(i.points, i.blocks) for i in r.inspections} == {((Point(0, 1, 2),), 1)}
    assert {i.leaves_max for i in r.inspections} == {(LEAVES - verification.LEVELS_MAX) // 2}
    (located,) = r.located
    assert {located.left.peer, located.right.peer} == {row[0].peer, row[1].peer}
    assert r.core.reputation.demerits(row[0].operator.public) < 0
    r.crash()
    assert outcome_of(job_of(r), row) == {"p0": "rejected", "p1": "paid", "p2": "paid"}
    assert r.core.reputation.demerits(row[0].operator.public) < 0


def test_two_honest_ones_of_three_need_nobody_else() -> None:
    stage, r, row = scene(4)
    row[1].compute = lying(b"alone")
    job = play(stage, r, replicas=3)
    assert (job.state, outcome_of(job, row)) == ("done", {"p0": "paid", "p1": "rejected", "p2": "paid"})


def test_a_majority_of_colluders_is_refuted_by_one_honest_replica() -> None:
    stage, r, row = scene(4)
    row[0].compute = row[2].compute = lying(b"the gang")
    r.inspect = lambda effect: replace(_inspecting(effect), evidence=(b"e" * 32, 7))
    job = play(stage, r, replicas=3)
    assert (job.state, outcome_of(job, row)) == (
        "done",
        {"p0": "rejected", "p1": "paid", "p2": "rejected", "p3": "paid"},
    )
    assert judgements(r).count("REFUTED") == 2
    assert len(r.located) == 1, "one block shows it of both: they committed to the same bytes"
    assert [x.evidence for x in job.team if x.state == "rejected"] == [(b"e" * 32, 7)] * 2


def _inspecting(effect: Inspect) -> InspectOutcome:
    clean = effect.states[-1] == tuple(root for root, _ in right(effect.manifest))
    return InspectOutcome(Finding.CLEAN if clean else Finding.WRONG, 1)


def test_liars_who_differ_are_told_apart_one_after_the_other() -> None:
    stage, r, row = scene(5)
    for i in range(3):
        row[i].compute = lying(bytes([i]))
    job = play(stage, r, replicas=4)
    assert (job.state, outcome_of(job, row)) == (
        "done",
        {"p0": "rejected", "p1": "rejected", "p2": "rejected", "p3": "paid", "p4": "paid"},
    )


def test_a_difference_is_taken_back_to_the_first_step_after_which_there_is_one() -> None:
    stage, r, row = scene(3)
    row[0].compute = in_steps(b"", b"a lie", b"that stays")
    row[1].compute = row[2].compute = in_steps(b"", b"", b"")
    r.inspect = recomputing
    job = play(stage, r, manifest=THREE_STEPS)
    assert (job.state, outcome_of(job, row)) == ("done", {"p0": "rejected", "p1": "paid", "p2": "paid"})
    assert [i.points for i in r.inspections] == [(Point(1, 1, 2),)] * 2
    (located,) = r.located
    assert {located.left.root, located.right.root} == {
        state[1][0] for state in (x.reveal.body.states for x in job.team[:2] if x.reveal is not None)
    }


def test_right_outputs_of_a_false_state_lose_a_dispute_all_the_same() -> None:
    stage, r, row = scene(4)
    row[0].compute = in_steps(b"", b"a lie", b"")
    row[1].compute = in_steps(b"", b"", b"another")
    row[2].compute = row[3].compute = in_steps(b"", b"", b"")
    r.inspect = recomputing
    job = play(stage, r, manifest=THREE_STEPS)
    assert (job.state, outcome_of(job, row)) == (
        "done",
        {"p0": "rejected", "p1": "rejected", "p2": "paid", "p3": "paid"},
    )


def test_a_kernel_whose_block_fails_on_the_common_state_is_at_fault() -> None:
    stage, r, row = scene(2)
    row[0].compute = in_steps(b"", b"one", b"one")
    row[1].compute = in_steps(b"", b"other", b"other")
    r.inspect = lambda effect: InspectOutcome(Finding.AT_FAULT, 1, step=1, reason="step 1: block 3: a race")
    job = play(stage, r, manifest=THREE_STEPS)
    assert (job.state, job.error) == ("failed", "step 1: block 3: a race")
    assert (judgements(r), outcome_of(job, row)) == (["KERNEL_AT_FAULT"] * 2, {"p0": "paid", "p1": "paid"})
    assert all(r.core.reputation.demerits(p.operator.public) == 0 for p in row)
    r.crash()
    assert (job_of(r).state, job_of(r).answer) == ("failed", (d.OutcomeStatus.TRAP, ()))


def test_whoever_says_that_the_kernel_failed_is_right_then_and_paid_for_what_it_moved() -> None:
    stage, r, row = scene(3)
    row[0].compute = ending(JobStatus.TRAP, "out of bounds")
    row[1].compute, row[2].compute = lying(b"one"), lying(b"other")
    r.inspect = lambda effect: InspectOutcome(Finding.AT_FAULT, 1, reason="block 3: a race")
    job = play(stage, r, replicas=3)
    assert job.state == "failed"
    assert outcome_of(job, row) == {"p0": "paid", "p1": "paid", "p2": "paid"}


@pytest.mark.parametrize("finding", [Finding.UNPROVEN, Finding.CLEAN])
def test_where_no_block_decides_a_majority_does(finding: Finding) -> None:
    stage, r, row = scene(3)
    row[0].compute = lying(b"alone")
    r.inspect = lambda effect: InspectOutcome(finding, reason="an atomic")
    job = play(stage, r)
    assert (job.state, outcome_of(job, row)) == ("done", {"p0": "rejected", "p1": "paid", "p2": "paid"})
    assert judgements(r).count("OUTVOTED") == 1
    assert (len(r.located), len(r.inspections)) == (1, 2)


def test_no_more_leaves_are_spent_than_a_provider_gives() -> None:
    """An honest replica against one liar after the other, each with a block that takes all it may."""
    stage, r, row = scene(12)
    for i in range(10):
        row[i + 1].compute = lying(bytes([i]))
    r.inspect = lambda effect: replace(_inspecting(effect), leaves=effect.leaves_max)
    job = play(stage, r, replicas=10, quorum=2)
    spent = [i.leaves_max for i in r.inspections if i.peer == row[0].peer]
    assert sum(spent) + len(spent) * verification.LEVELS_MAX <= LEAVES
    assert spent == sorted(spent, reverse=True)
    assert spent[-1] >= verification.LEAVES_PER_SAMPLE
    assert 3 <= len(spent) < 9, "then nothing is left, and their number decides"
    assert (job.state, outcome_of(job, row)["p0"]) == ("done", "paid")


def test_of_equal_replicas_the_one_that_has_shown_least_stands_for_all() -> None:
    stage, r, row = scene(4)
    row[1].compute, row[2].compute = lying(b"one"), lying(b"other")
    job = play(stage, r, replicas=4)
    assert (job.state, judgements(r).count("REFUTED")) == ("done", 2)
    assert {(i.peer, i.leaves_max) for i in r.inspections} == {
        (p.peer, (LEAVES - verification.LEVELS_MAX) // 2) for p in row
    }


def test_where_no_difference_can_be_found_a_majority_decides() -> None:
    stage, r, row = scene(3)
    row[0].compute = lying(b"alone")
    r.locate = lambda effect: (None, ())
    job = play(stage, r)
    assert (job.state, outcome_of(job, row)) == ("done", {"p0": "rejected", "p1": "paid", "p2": "paid"})
    assert not r.inspections


def test_one_that_shows_no_leaf_is_lost_after_five_tries() -> None:
    stage, r, row = scene(3)
    row[0].compute = lying(b"alone")
    r.locate = lambda effect: (None, (row[0].peer,))
    job = play(stage, r)
    assert (job.state, outcome_of(job, row)) == ("done", {"p0": "lost", "p1": "paid", "p2": "paid"})
    assert len(r.located) == 5


def test_when_neither_shows_a_leaf_both_are_lost() -> None:
    stage, r, row = scene(4)
    row[0].compute = lying(b"alone")
    r.locate = lambda effect: (None, (row[0].peer, row[1].peer))
    job = play(stage, r)
    assert (job.state, outcome_of(job, row)) == (
        "done",
        {"p0": "lost", "p1": "lost", "p2": "paid", "p3": "paid"},
    )
    assert len(r.located) == 5


def test_one_that_gives_no_pieces_of_the_block_is_lost() -> None:
    stage, r, row = scene(3)
    row[0].compute = lying(b"alone")
    r.inspect = lambda effect: (
        InspectOutcome(Finding.UNAVAILABLE) if effect.peer == row[0].peer else InspectOutcome(Finding.CLEAN)
    )
    job = play(stage, r)
    assert (job.state, outcome_of(job, row)) == ("done", {"p0": "lost", "p1": "paid", "p2": "paid"})
    assert [i.points for i in r.inspections if i.peer == row[0].peer] == [(Point(0, 1, 2),)] * 5


def test_when_one_side_is_caught_otherwise_the_other_goes_on() -> None:
    """It commits a second time while the byte is looked for."""
    stage, r, row = scene(3)
    row[0].compute = lying(b"alone")

    def locate(effect: Locate) -> tuple[int | None, tuple[bytes, ...]]:
        job = job_of(r)
        (replica,) = (x for x in job.team if x.peer == row[0].peer)
        assert replica.assignment is not None
        post = row[0].core.post
        body = d.Commitment(replica.assignment.id, b"r" * 32)
        r.do(r.core.on_request(stage.now, row[0].peer, 99, post.write(stage.now, body, lifetime_ms=60_000).raw))
        return (2, ())

    r.locate = locate
    job = play(stage, r)
    assert (job.state, outcome_of(job, row)) == ("done", {"p0": "lost", "p1": "paid", "p2": "paid"})
    assert not r.inspections


def test_a_failed_job_ends_a_dispute() -> None:
    stage, r, row = scene(2)
    row[0].compute = lying(b"alone")
    r.locate = lambda effect: (None, (row[0].peer, row[1].peer))
    job = play(stage, r, timeout_ms=3_000)
    assert job.state == "failed"
    assert all(p.core.provider.running == 0 for p in row)


@pytest.mark.parametrize("at", range(50))
@pytest.mark.parametrize("who", ["requester", "p0", "p1"])
def test_a_crash_at_any_record_changes_nothing_of_the_end(who: str, at: int) -> None:
    stage, r, row = _colluders()
    actor = next(a for a in (r, *row) if a.name == who)
    if at >= len(_records(who)):
        return
    actor.crash_at = at
    job = play(stage, r, replicas=3)
    if not job.team:  # it was never submitted
        return
    assert job.state == "done"
    assert job.answer is not None
    assert job.answer[1] == tuple(root for root, _ in right(job.manifest_bytes))
    states = outcome_of(job, row)
    assert {states.get("p0"), states.get("p2")} <= {"rejected", "lost", None}
    assert len([x for x in r.records(records.Judged) if isinstance(x, records.Judged)]) == 1


def _colluders() -> tuple[Stage, Actor, list[Actor]]:
    stage, r, row = scene(5)
    row[0].compute = row[2].compute = lying(b"the gang")
    return stage, r, row


def _records(who: str) -> list[bytes]:
    stage, r, row = _colluders()
    play(stage, r, replicas=3)
    return next(a for a in (r, *row) if a.name == who).journal
