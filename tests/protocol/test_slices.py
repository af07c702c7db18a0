"""Outputs that cost more than may be owed: K9 of docs/spec/market.md."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pcompute.protocol import records, slices
from p2pcompute.protocol.ledger import Credit
from p2pcompute.protocol.machine import Effect, Grant, PeerInfo, Reply, Request
from p2pcompute.protocol.receipts import audit
from p2pcompute.protocol.settling import PART_WAIT_MS
from p2pcompute.protocol.slices import CHUNK_BYTES, readable_bytes, value_of, whole_chunks
from p2pcompute.wire import documents as d
from p2pcompute.wire.manifest import Buffer, Role
from tests.protocol.stage import MANIFEST, NETWORK, Actor, Stage, replaced, verify_once

KIB = 1024


# -- how much ----------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 6 * CHUNK_BYTES), min_size=1, max_size=5), st.integers(0, 10**6), st.integers(0, 10**6))
def test_who_pays_for_what_it_holds_gets_on_to_the_end_and_is_never_ahead_by_more_than_credit_and_a_chunk(
    sizes: list[int], price: int, credit: int
) -> None:
    total, held, paid, turns = sum(sizes), -1, 0, 0
    while held < total:
        readable = readable_bytes(sizes, price, paid, credit)
        whole, chunks = whole_chunks(sizes, readable)
        now_held = sum(sizes[:whole]) + chunks * CHUNK_BYTES
        assert now_held > held
        assert now_held <= readable <= total
        held = now_held
        unpaid = value_of(sizes, price, held) - paid
        assert unpaid <= credit + value_of(sizes, price, CHUNK_BYTES) + 1
        paid = max(paid, value_of(sizes, price, held))
        turns += 1
        assert turns <= 2 + sum(-(-size // CHUNK_BYTES) for size in sizes)
    assert paid == (price if total else 0)


@pytest.mark.parametrize(
    ("price", "paid", "credit", "readable"),
    [(100, 0, 100, 10), (100, 60, 40, 10), (100, 0, 99, 9), (100, 50, 20, 7), (100, 0, 0, 1), (100, 50, 0, 6)],
)
def test_within_the_credit_all_is_given_and_beyond_it_the_paid_and_the_credits_worth(
    price: int, paid: int, credit: int, readable: int
) -> None:
    sizes = [10 * CHUNK_BYTES]
    whole, chunks = whole_chunks(sizes, readable_bytes(sizes, price, paid, credit))
    assert 10 * whole + chunks == readable


# -- between two peers -------------------------------------------------------------------------------------------------

OUT = 5 * CHUNK_BYTES
LARGE = replaced(
    MANIFEST,
    buffers=(
        MANIFEST.buffers[0],
        Buffer("y", "u8", (OUT,), Role.OUT),
        Buffer("z", "u8", (CHUNK_BYTES // 2,), Role.OUT),
    ),
    memory_bytes_max=2**24,
)
PRICE = 50_000
JOB = b"j" * 16


def scene(credit: int, count: int = 1) -> tuple[Stage, Actor, list[Actor]]:
    stage = Stage()
    r = stage.actor("r")
    providers = stage.providers(count)
    for p in providers:
        p.credit = credit
        p.crash()
    return stage, r, providers


def play(stage: Stage, r: Actor, *, replicas: int = 1, for_ms: int = 900_000) -> None:
    stage.play(r, job=JOB, manifest=LARGE, replicas=replicas, quorum=replicas, for_ms=for_ms)


def parts(r: Actor) -> list[int]:
    held = [r.core.post.open(x.cheque) for x in r.records(records.PartPaid)]  # type: ignore[union-attr]
    return [x.body.part for x in held]


def state(r: Actor) -> str:
    job = r.core.requester.jobs.get(JOB)
    assert job is not None
    return job.state


def test_what_costs_more_than_the_credit_comes_in_slices_and_is_paid_once() -> None:
    stage, r, (p,) = scene(15_000)
    play(stage, r)
    assert state(r) == "done"
    paid = parts(r)
    assert len(paid) >= 2
    assert paid == sorted(set(paid))
    account = p.core.ledger.account(r.peer)
    assert (account.earned, account.covered, account.unpaid) == (PRICE, PRICE, 0)
    assert r.core.ledger.account(p.peer).promised == PRICE
    assert p.core.provider.chain.countersigned(p.core.provider.chain.receipts()[0].id)
    assert not p.core.provider._unpaid


def test_within_the_credit_nothing_is_paid_in_parts_and_one_grant_gives_all() -> None:
    stage, r, (p,) = scene(PRICE)
    grants: list[Grant] = []
    p.mangle = lambda effect: grants.append(effect) or effect if isinstance(effect, Grant) else effect
    play(stage, r)
    assert (state(r), parts(r)) == ("done", [])
    assert [(len(x.roots), x.part) for x in grants] == [(2, None)]


def test_who_pays_nothing_is_given_one_slice() -> None:
    stage, r, (p,) = scene(15_000)
    r.mangle = lambda e: None if isinstance(e, Request) and is_cheque(r, e) else e
    grants: list[Grant] = []
    p.mangle = lambda effect: grants.append(effect) or effect if isinstance(effect, Grant) else effect
    play(stage, r, for_ms=3_600_000)
    assert state(r) == "settling"
    assert len(grants) == 1
    assert grants[0].part is not None
    assert grants[0].part[1] == 1  # of five and a half chunks for 50,000
    assert p.core.ledger.unpaid(r.peer) == PRICE


def test_a_source_that_falls_silent_once_it_is_to_be_paid_ends_the_task_and_gets_no_more_than_it_gave() -> None:
    stage, r, (p,) = scene(15_000)

    def fall_silent(effect: Effect) -> Effect:
        p.deaf = p.deaf or (isinstance(effect, Request) and is_cheque(r, effect))
        return effect

    r.mangle = fall_silent
    play(stage, r, for_ms=3_600_000)
    assert state(r) == "failed"
    assert parts(r) == [value_of([OUT, CHUNK_BYTES // 2], PRICE, CHUNK_BYTES)]
    assert r.core.ledger.account(p.peer).promised == parts(r)[0]


def is_cheque(r: Actor, request: Request) -> bool:
    return isinstance(r.core.post.open(request.frame).body, d.Cheque)


def test_a_source_that_takes_parts_and_gives_nothing_for_them_is_left_for_another() -> None:
    stage, r, (silent, other) = scene(15_000, 2)
    shown = [0]

    def once(effect: Effect) -> Effect | None:
        if isinstance(effect, Grant) and effect.part is not None:
            shown[0] += 1
            return effect if shown[0] == 1 else None
        return effect

    silent.mangle = once
    play(stage, r, replicas=2, for_ms=3_600_000)
    assert state(r) == "done"
    lost = r.core.ledger.account(silent.peer).promised
    assert lost == PRICE  # both agreed, and are paid in the end
    assert other.core.ledger.account(r.peer).unpaid == 0


@pytest.mark.parametrize(("who", "moves"), [("r", False), ("r", True), ("p0", False)])
@pytest.mark.parametrize("keeps", [True, False])
def test_whoever_crashes_at_whatever_record_all_is_fetched_and_paid_once(who: str, *, moves: bool, keeps: bool) -> None:
    at = 1  # what was submitted and not journaled was never submitted
    while True:
        stage, r, (p,) = scene(15_000)
        actor = {"r": r, "p0": p}[who]
        actor.crash_at, actor.crash_keeps, actor.crash_moves = at, keeps, moves
        play(stage, r)
        if actor.crash_at >= 0:
            break
        assert state(r) == "done", at
        account = p.core.ledger.account(r.peer)
        assert (account.covered, account.unpaid) == (account.earned, 0), at
        assert account.earned == PRICE, at
        assert moves or r.core.ledger.account(p.peer).promised == PRICE, at
        at += 1
    assert at > 4


def falling_silent(stage: Stage, r: Actor, p: Actor) -> None:
    """From the first cheque for a part on, it is off the network."""

    def watch(effect: Effect) -> Effect:
        if isinstance(effect, Request) and effect.peer == p.peer and is_cheque(r, effect):
            p.deaf, r.mangle = True, lambda effect: effect
        return effect

    r.mangle = watch


def half_paid() -> tuple[Stage, Actor, Actor, Actor]:
    """One source falls silent before it has its part; the home of its payer is restored, and all outputs come from the
    other one."""
    stage, r, (silent, other) = scene(15_000, 2)
    other.credit = 10**9
    other.crash()
    falling_silent(stage, r, silent)
    stage.submit(r, job=JOB, manifest=LARGE)
    stage.run(lambda: silent.deaf)
    r.epoch = b"restored"
    r.crash()
    stage.run(lambda: state(r) == "done", for_ms=900_000)
    assert state(r) == "done"
    assert other.core.ledger.account(r.peer).unpaid == 0
    return stage, r, silent, other


def cheques(r: Actor, p: Actor) -> list[d.Cheque]:
    """The last ones that it wrote for receipts of this provider."""
    held = [r.core.post.open(x.cheque).body for x in r.records(records.Settled)]  # type: ignore[union-attr]
    return [body for body in held if body.payee == p.peer]


def test_the_last_cheque_waits_for_a_part_of_an_earlier_epoch() -> None:
    stage, r, silent, _ = half_paid()
    stage.run(for_ms=3_600_000)
    assert cheques(r, silent) == []
    silent.deaf = False
    stage.run(lambda: r.core.requester.jobs.get(JOB).at_rest, for_ms=3_600_000)  # type: ignore[union-attr]
    (last,) = cheques(r, silent)
    assert last.cumulative == PRICE - parts(r)[0]
    account = silent.core.ledger.account(r.peer)
    assert (account.earned, account.covered, account.unpaid) == (PRICE, PRICE, 0)
    assert silent.core.provider.chain.countersigned(last.receipt)
    job = r.core.requester.jobs.get(JOB)
    assert job is not None
    for evidence in (silent.core.provider.evidence(), job.evidence()):
        found = audit(NETWORK, evidence, verify_once)
        assert found.ok
        assert all(line.countersigned for line in found.receipts), "the part of the other epoch counts"
    without = [raw for raw in job.evidence() if raw != r.records(records.PartPaid)[0].cheque]  # type: ignore[union-attr]
    lines = {line.receipt.signer: line for line in audit(NETWORK, without, verify_once).receipts}
    assert not lines[silent.peer].countersigned


def test_a_provider_that_comes_back_is_sent_its_part_at_once() -> None:
    stage, r, silent, _ = half_paid()
    stage.run(for_ms=3_600_000)
    silent.deaf = False
    r.do(r.core.on_peer(stage.now, PeerInfo(silent.peer, True)))
    stage.run(for_ms=10)
    assert silent.core.ledger.account(r.peer).unpaid == 0


@pytest.mark.parametrize("restarts", [False, True])
def test_who_never_takes_its_part_is_not_waited_for_longer_than_a_day(*, restarts: bool) -> None:
    stage, r, silent, _ = half_paid()
    sent: list[int] = []

    def note(effect: Effect) -> Effect:
        if isinstance(effect, Request) and is_cheque(r, effect):
            sent.append(stage.mono_ms)
        return effect

    r.mangle = note
    if restarts:
        stage.run(for_ms=PART_WAIT_MS // 2)
        r.crash()
    stage.run(for_ms=PART_WAIT_MS + 3_600_000)
    job = r.core.requester.jobs.get(JOB)
    assert job is not None
    assert job.at_rest
    assert [x.state for x in job.team if x.peer == silent.peer] == ["lost"]
    assert cheques(r, silent) == []
    assert len(sent) <= 2 * 120
    stage.run(for_ms=PART_WAIT_MS)
    assert sent[-1] < 2 * PART_WAIT_MS


def test_a_part_that_is_declined_is_not_taken_for_paid() -> None:
    stage, r, (p,) = scene(15_000)

    def decline(effect: Effect) -> Effect:
        if isinstance(effect, Reply) and effect.frame == b"" and parts(r):
            no = p.core.post.write(stage.now, d.Decline(bytes(32), d.DeclineCode.UNSUITABLE, ""), lifetime_ms=9_000)
            return Reply(effect.request_id, no.raw)
        return effect

    p.mangle = decline
    play(stage, r, for_ms=3_600_000)
    assert state(r) == "failed"
    assert len(parts(r)) == 1


def test_a_part_that_is_repeated_or_more_than_the_price_changes_nothing() -> None:
    stage, r, (p,) = scene(15_000)
    sent: list[bytes] = []

    def note(effect: Effect) -> Effect:
        if isinstance(effect, Request) and is_cheque(r, effect):
            sent.append(effect.frame)
        return effect

    r.mangle = note
    play(stage, r)
    before = len(p.journal)
    for frame in sent:
        p.do(p.core.on_request(stage.now, r.peer, 10**6, frame))
    stage.settle()
    assert (len(p.journal), p.core.ledger.account(r.peer).covered) == (before, PRICE)


def test_slices_of_two_tasks_share_one_credit() -> None:
    stage, r, (p,) = scene(15_000)
    r.mangle = lambda e: None if isinstance(e, Request) and is_cheque(r, e) else e
    p.core.ledger.credit = Credit(10**9, 10**9, 10**12)
    grants: list[Grant] = []
    p.mangle = lambda effect: grants.append(effect) or effect if isinstance(effect, Grant) else effect
    for job in (b"1" * 16, b"2" * 16):
        stage.submit(r, job=job, manifest=LARGE, replicas=1, quorum=1)
    stage.run(lambda: len(p.event("provider.assigned")) == 2)
    p.core.ledger.credit = Credit(15_000, 10**9, 10**12)
    stage.run(for_ms=60_000)
    assert len(grants) == 2
    read = [value_of([OUT, CHUNK_BYTES // 2], PRICE, slices_read(x)) for x in grants]
    assert sum(read) <= 15_000 + 2 * value_of([OUT, CHUNK_BYTES // 2], PRICE, CHUNK_BYTES)


def slices_read(grant: Grant) -> int:
    assert grant.part is not None
    return grant.part[1] * slices.CHUNK_BYTES
