"""Results that need only be close: V20 to V23 of docs/spec/verification.md."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pcompute.protocol import records
from p2pcompute.protocol.job import Job
from p2pcompute.protocol.machine import Compare, JobOutcome, JobStatus
from p2pcompute.protocol.tolerance import Agreement, agreement
from p2pcompute.wire.manifest import Buffer, Comparison, Role
from tests.protocol.stage import MANIFEST, Actor, Stage, ending

replace: Any = msgspec.structs.replace
JOB_ID = b"j" * 16
X, Y = MANIFEST.buffers
TOLERANT = replace(MANIFEST, buffers=(X, Buffer("y", "f32", (8,), Role.OUT, b"", Comparison.TOLERANCE, 4)))


# -- who agrees with whom ----------------------------------------------------------------------------------------------


def near(text: str, reach: int = 1) -> list[tuple[int, int]]:
    """Results are digits; those within `reach` of each other are close."""
    return [(i, j) for i, j in itertools.combinations(range(len(text)), 2) if abs(int(text[i]) - int(text[j])) <= reach]


@pytest.mark.parametrize(
    ("results", "quorum", "reference", "close"),
    [
        ("11", 2, 0, (0, 1)),
        ("12", 2, 0, (0, 1)),
        ("13", 2, None, ()),
        ("1", 1, 0, (0,)),
        ("129", 2, 0, (0, 1)),
        ("912", 2, 1, (1, 2)),
        ("123", 2, 1, (0, 1, 2)),
        ("1267", 2, None, ()),
        ("12678", 2, 3, (2, 3, 4)),
        ("1234", 3, 1, (0, 1, 2, 3)),
        ("1237", 3, 1, (0, 1, 2)),
        ("", 1, None, ()),
    ],
)
def test_the_result_with_most_operators_around_it_is_taken(
    results: str, quorum: int, reference: int | None, close: tuple[int, ...]
) -> None:
    found = agreement([bytes([i]) for i in range(len(results))], near(results), quorum)
    assert (found.reference, found.close) == (reference, close)


def test_an_operator_counts_once() -> None:
    assert agreement([b"a", b"a", b"b"], near("112"), 3) == Agreement(None, (), 2)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=8), st.integers(1, 5))
def test_all_that_are_close_are_in_and_none_that_are_far(row: list[int], quorum: int) -> None:
    text = "".join(map(str, row))
    found = agreement([bytes([i]) for i in range(len(row))], near(text), quorum)
    if found.reference is None:
        return
    around = {i for i, n in enumerate(row) if abs(n - row[found.reference]) <= 1}
    assert around <= set(found.close)
    assert all(any(abs(row[i] - row[j]) <= 1 for j in around) for i in found.close)
    assert len(around) == found.best >= quorum


# -- in the flow -------------------------------------------------------------------------------------------------------


def stating(value: int) -> Callable[[bytes], JobOutcome]:
    """An engine whose result is a number: its root."""
    return lambda manifest: JobOutcome(JobStatus.OK, ((value.to_bytes(32, "big"), 32),), device_us=50_000)


def comparing(effect: Compare) -> tuple[tuple[int, int], ...]:
    """Numbers within ten of each other are close."""
    values = [int.from_bytes(root, "big") for (root,) in effect.results]
    return tuple((i, j) for i, j in itertools.combinations(range(len(values)), 2) if abs(values[i] - values[j]) <= 10)


def scene(*values: int) -> tuple[Stage, Actor, list[Actor]]:
    stage = Stage()
    row = stage.providers(len(values))
    for provider, value in zip(row, values, strict=True):
        provider.compute = stating(value)
    r = stage.actor("requester")
    r.compare = comparing
    return stage, r, row


def play(stage: Stage, r: Actor, **options: object) -> Job:
    stage.play(r, manifest=TOLERANT, **options)
    job = r.core.requester.jobs.get(JOB_ID)
    assert job is not None
    return job


def states(job: Job) -> list[str]:
    return [replica.state for replica in job.team]


def test_results_that_are_close_agree_and_each_is_paid_for_its_own() -> None:
    stage, r, _ = scene(100, 104)
    job = play(stage, r)
    assert (job.state, states(job)) == ("done", ["paid", "paid"])
    assert job.answer is not None
    assert job.answer[1] in [(n.to_bytes(32, "big"),) for n in (100, 104)]
    assert len(r.comparisons) == 1
    assert all(x.receipt is not None and x.verdict is not None for x in job.team)
    for x in job.team:
        assert x.verdict is not None
        assert x.reveal is not None
        assert x.verdict.body.agreed_roots == x.reveal.body.output_roots


def test_equal_bits_are_not_looked_at() -> None:
    stage, r, _ = scene(100, 100)
    assert states(play(stage, r)) == ["paid", "paid"]
    assert not r.comparisons


def test_an_exact_task_is_not_compared_by_values() -> None:
    stage, r, _ = scene(100, 104)
    stage.play(r, for_ms=60_000)
    assert not r.comparisons


def test_who_is_far_from_all_is_outvoted_once_a_third_is_close() -> None:
    stage, r, (liar, *_) = scene(900, 100, 104)
    job = play(stage, r)
    assert (job.state, states(job)) == ("done", ["rejected", "paid", "paid"])
    assert r.core.reputation.demerits(liar.operator.public) < 0
    assert [len(c.results) for c in r.comparisons] == [2, 3]


def test_a_replica_that_shows_nothing_is_replaced() -> None:
    stage, r, (mute, *_) = scene(100, 102, 104)
    mute.blobs_given = False
    job = play(stage, r)
    assert (job.state, states(job)) == ("done", ["lost", "paid", "paid"])


def test_a_trap_beside_a_result_needs_a_third() -> None:
    stage, r, (first, *_) = scene(100, 102, 104)
    first.compute = ending(JobStatus.TRAP, "out of bounds")
    job = play(stage, r)
    assert (job.state, states(job)) == ("done", ["rejected", "paid", "paid"])


def test_replicas_have_one_numeric_class() -> None:
    stage, r, (_, other, _) = scene(100, 101, 102)
    assert other.offer is not None
    other.publish(replace(other.offer, numeric_class="other"))
    job = play(stage, r)
    assert job.state == "done"
    assert other.peer not in [x.peer for x in job.team]


@pytest.mark.parametrize("at", range(30))
@pytest.mark.parametrize("who", ["requester", "p1"])
def test_a_crash_at_any_record_pays_everybody_once(who: str, at: int) -> None:
    stage, r, row = scene(900, 100, 104)
    actor = r if who == "requester" else row[1]
    actor.crash_at = at
    job = play(stage, r)
    if not job.team:
        return
    assert job.state == "done"
    assert states(job).count("paid") == 2
    verdicts = [x for x in r.records(records.Judged) if isinstance(x, records.Judged)]
    assert len(verdicts) == 1
