"""What a lone claim of device time is held against."""

from __future__ import annotations

import msgspec
import pytest

from p2pcompute.protocol import claims, records
from p2pcompute.protocol.claims import Claims, Work, work_of
from p2pcompute.protocol.machine import JobOutcome, JobStatus
from p2pcompute.wire import documents as d
from p2pcompute.wire.manifest import Argument, encode_manifest
from p2pcompute.wire.policy import Policy, Scheme
from tests.protocol.stage import MANIFEST, Actor, Stage, replaced, right

WORK = Work(b"l", "cpu m")


def test_a_lone_claim_counts_up_to_the_longest_time_that_was_paid_where_several_agreed() -> None:
    c = Claims()
    assert c.bound(WORK, 10**9) == 10**9
    c.see(WORK, 50)
    c.see(WORK, 80)
    c.see(WORK, 60)
    assert [c.bound(WORK, us) for us in (10, 80, 81)] == [10, 80, 80]
    assert c.bound(Work(b"l", "gpu"), 81) == 81


def test_the_work_not_seen_for_the_longest_time_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "ROWS_MAX", 2)
    c = Claims()
    for name in (b"a", b"b", b"a", b"c"):
        c.see(Work(name, ""), 5)
    assert [c.bound(Work(name, ""), 9) for name in (b"a", b"b", b"c")] == [5, 9, 5]


def test_work_is_the_same_where_kernels_grids_blocks_arguments_and_device_are() -> None:
    launch = MANIFEST.launches[0]
    other_inputs = replaced(
        MANIFEST, name="another", buffers=(replaced(MANIFEST.buffers[0], root=b"z" * 32), MANIFEST.buffers[1])
    )
    assert work_of(MANIFEST, "cpu") == work_of(other_inputs, "cpu")
    for change in (
        {"launches": (replaced(launch, grid=(2, 1, 1)),)},
        {"launches": (replaced(launch, block=(64, 1, 1)),)},
        {"launches": (replaced(launch, arguments=(Argument("x"),)),)},
        {"launches": (launch, launch)},
        {"ptx_root": b"q" * 32},
    ):
        assert work_of(MANIFEST, "cpu") != work_of(replaced(MANIFEST, **change), "cpu")
    assert work_of(MANIFEST, "cpu") != work_of(MANIFEST, "gpu")


def prices(actor: Actor) -> list[int]:
    """Of all verdicts of an actor's jobs, in order."""
    verdicts = [actor.core.post.open(raw) for r in actor.records(records.Judged) for _, raw in r.verdicts]  # type: ignore[union-attr]
    return [v.body.price for v in verdicts if v.body.judgement is d.Judgement.AGREED]


@pytest.mark.parametrize("restarts", [False, True])
def test_who_is_alone_with_a_task_is_paid_for_no_more_time_than_several_were(*, restarts: bool) -> None:
    stage = Stage()
    r = stage.actor("r")
    for p in stage.providers(2):
        p.compute = lambda manifest: JobOutcome(JobStatus.OK, right(manifest), device_us=times.pop(0))
    sample = Policy(Scheme.SAMPLE, 2, 2, 1)
    stored = ((1,),)
    times = [700_000]
    stage.play(r, job=b"0" * 16, policy=sample, stored=stored)
    assert prices(r) == [700_000]  # nothing to hold it against
    times = [100_000, 200_000]
    stage.play(r, job=b"1" * 16, policy=Policy())
    assert sorted(prices(r)[1:]) == [100_000, 125_125]
    if restarts:
        r.crash()
    times = [700_000]
    stage.play(r, job=b"2" * 16, policy=sample, stored=stored)
    assert prices(r)[3:] == [125_000]
    times = [110_000]
    stage.play(r, job=b"3" * 16, policy=sample, stored=stored)
    assert prices(r)[4:] == [110_000]
    times = [700_000]
    longer = msgspec.structs.replace(MANIFEST, launches=(replaced(MANIFEST.launches[0], repeats=7),))
    assert encode_manifest(longer) != encode_manifest(MANIFEST)
    stage.play(r, job=b"4" * 16, policy=sample, stored=stored, manifest=longer)
    assert prices(r)[5:] == [700_000]
