"""Value that leaves for cheques, and value that comes: K10 and K11 of docs/spec/market.md."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from p2pcompute.errors import UsageError
from p2pcompute.protocol import records
from p2pcompute.protocol.commands import ValueArrived
from p2pcompute.protocol.ledger import Credit
from p2pcompute.protocol.machine import Redeem
from p2pcompute.protocol.settlement import RETRY_MS_MAX, RETRY_MS_MIN
from p2pcompute.wire import documents as d
from tests.protocol.desk import REQUESTER, STEPS, Desk, code, desk_at
from tests.protocol.stage import Actor, Stage

PRICE = 50_000
"""Of each task."""


def scene(settle_at: int, *, redeems: bool = True) -> tuple[Stage, Actor, Actor]:
    stage = Stage()
    r = stage.actor("r")
    r.settle_at, r.redeems = settle_at, redeems
    r.boot()
    (p,) = stage.providers(1)
    return stage, r, p


def trade(stage: Stage, r: Actor, tasks: int, *, first: int = 0) -> None:
    """One after the other, until all are paid."""
    for number in range(first, first + tasks):
        job = bytes([number]) * 16
        stage.play(r, job=job, replicas=1, quorum=1)
        if r.core.requester.jobs.get(job) is None:  # a crash came before it was durable
            stage.play(r, job=job, replicas=1, quorum=1)


def amounts(r: Actor) -> list[int]:
    return [x.amount for x in r.paid.values()]


@pytest.mark.parametrize(
    ("settle_at", "left"),
    [(0, []), (4 * PRICE, []), (3 * PRICE, [4 * PRICE]), (2 * PRICE - 1, [2 * PRICE] * 2), (1, [PRICE] * 4)],
)
def test_what_is_owed_leaves_as_a_whole_when_it_is_more_than_the_threshold(settle_at: int, left: list[int]) -> None:
    stage, r, p = scene(settle_at)
    trade(stage, r, 4)
    stage.run(for_ms=1_000)
    assert amounts(r) == left
    account = r.core.ledger.account(p.peer)
    assert (account.promised, account.settled, account.outstanding) == (4 * PRICE, sum(left), 4 * PRICE - sum(left))


def test_without_a_command_nothing_leaves_and_nothing_is_journaled() -> None:
    stage, r, _ = scene(1, redeems=False)
    trade(stage, r, 2)
    assert (r.paid, r.records(records.Redeeming)) == ({}, [])


def test_the_command_is_told_the_cheque_that_it_redeems() -> None:
    stage, r, p = scene(1)
    trade(stage, r, 2)
    stage.run(for_ms=1_000)
    for order, cumulative in zip(r.paid.values(), (PRICE, 2 * PRICE), strict=True):
        cheque = p.core.post.open(order.document)
        assert (cheque.id, cheque.signer) == (order.key, r.peer)
        assert cheque.body.cumulative == order.cumulative == cumulative
        assert cheque.body.payee == order.payee == p.peer


def unlucky(r: Actor, times: int, *, sends: bool) -> Callable[[Redeem], str]:
    """A command that fails so often for each key; with `sends`, after the value has left."""
    told: dict[bytes, int] = {}

    def pay(effect: Redeem) -> str:
        told[effect.key] = told.get(effect.key, 0) + 1
        if told[effect.key] > times:
            return r.paying(effect)
        if sends:
            r.paying(effect)
        return "exit code 1"

    return pay


def test_a_command_that_fails_is_told_the_same_ever_more_rarely_while_more_is_promised() -> None:
    stage, r, p = scene(1)
    orders: list[tuple[int, Redeem]] = []
    r.pay = lambda effect: orders.append((stage.mono_ms, effect)) or "exit code 1"  # type: ignore[func-returns-value]
    trade(stage, r, 3)
    stage.run(for_ms=24 * 3_600_000)
    assert {order for _, order in orders} == {orders[0][1]}
    pauses = [after - before for before, after in itertools.pairwise(at for at, _ in orders)]
    assert [pause - 100 for pause in pauses] == [min(RETRY_MS_MIN << i, RETRY_MS_MAX) for i in range(len(pauses))]
    assert len(r.records(records.Redeeming)) == 1
    failed = r.event("settlement.failed")
    assert (failed[0].fields["reason"], failed[-1].fields["attempts"]) == ("exit code 1", len(failed))
    r.pay = r.paying
    stage.run(for_ms=2 * 3_600_000)
    assert amounts(r) == [PRICE, 2 * PRICE]
    assert r.core.ledger.account(p.peer).outstanding == 0


@pytest.mark.parametrize("keeps", [True, False])
@pytest.mark.parametrize("moves", [True, False])
@pytest.mark.parametrize(("fails", "sends"), [(0, False), (1, False), (1, True)])
def test_whatever_record_it_crashes_at_value_leaves_once_for_all_that_was_promised(
    fails: int, *, sends: bool, moves: bool, keeps: bool
) -> None:
    at = 0
    while True:
        stage, r, p = scene(1)
        r.pay = unlucky(r, fails, sends=sends)
        r.crash_at, r.crash_keeps, r.crash_moves = at, keeps, moves
        trade(stage, r, 3)
        stage.run(for_ms=3_600_000)
        if r.crash_at >= 0:
            break
        account = p.core.ledger.account(r.peer)
        assert account.covered == account.earned == 3 * PRICE, at
        assert sum(amounts(r)) <= 3 * PRICE, at
        if not moves:
            assert sum(amounts(r)) == 3 * PRICE, at
        assert r.core.ledger.account(p.peer).outstanding == 0, at
        assert not r.core.redeemer.open, at
        at += 1
    assert at > 20


def test_a_restored_home_settles_what_it_promises_from_then_on_and_what_was_on_its_way() -> None:
    stage, r, p = scene(10 * PRICE)
    trade(stage, r, 3)
    r.settle_at, r.epoch = 1, b"restored"
    r.crash()
    trade(stage, r, 1, first=3)
    stage.run(for_ms=1_000)
    assert amounts(r) == [PRICE]
    r.pay = lambda effect: "exit code 1"
    trade(stage, r, 1, first=4)
    (on_its_way,) = r.core.redeemer._open.values()
    r.epoch = b"again"
    r.crash()
    r.pay = r.paying
    stage.run(for_ms=1_000)
    assert list(r.paid) == [*list(r.paid)[:1], on_its_way.cheque.id]
    assert r.core.ledger.account(p.peer).settled == 0  # of this epoch


def test_a_threshold_that_was_lowered_counts_from_the_next_start() -> None:
    stage, r, _ = scene(10 * PRICE)
    trade(stage, r, 3)
    r.settle_at = PRICE
    r.crash()
    stage.run(for_ms=1_000)
    assert amounts(r) == [3 * PRICE]


# -- the payee's side --------------------------------------------------------------------------------------------------


def paid_desk(settle_at: int, *, credit: int) -> Desk:
    """A provider that holds a cheque of PRICE, and gives this credit."""
    desk = desk_at("paid")
    desk.core.ledger.credit, desk.core.ledger.settle_at = Credit(credit, credit, 10**9), settle_at
    return desk


def arrives(desk: Desk, amount: int, reference: str = "") -> None:
    effects = desk.core.on_command(desk.stage.now, ValueArrived(REQUESTER.public, amount, reference))
    desk.take(effects)


@pytest.mark.parametrize(("settle_at", "late"), [(0, 0), (PRICE, 0), (PRICE - 2, 2), (10_000, 40_000)])
def test_what_cheques_promise_beyond_the_threshold_counts_as_unpaid_until_value_comes(
    settle_at: int, late: int
) -> None:
    desk = paid_desk(settle_at, credit=10**6)
    assert desk.core.ledger.unpaid(REQUESTER.public) == late
    if late:
        arrives(desk, late - 1)
        assert desk.core.ledger.unpaid(REQUESTER.public) == 1
        arrives(desk, 1)
    assert desk.core.ledger.unpaid(REQUESTER.public) == 0


def test_who_settles_nothing_is_declined_and_told_why_until_it_does() -> None:
    desk = paid_desk(10_000, credit=40_000)
    answer = desk.ask(desk.probe())
    assert code(answer) is d.DeclineCode.NO_CREDIT
    assert "for 40000 of them there are cheques" in answer.body.reason
    assert desk.core.ledger.is_overdue(REQUESTER.public)
    arrives(desk, 1)
    assert isinstance(desk.ask(desk.probe()).body, d.Quote)
    assert not desk.core.ledger.is_overdue(REQUESTER.public)


def test_what_came_is_known_after_a_restart_and_one_transfer_is_booked_once() -> None:
    desk = paid_desk(10_000, credit=10**6)
    arrives(desk, 15_000, "transfer 7")
    for restarts in (False, True):
        if restarts:
            desk.actor.boot()
        assert desk.core.ledger.account(REQUESTER.public).to_come == 35_000
        with pytest.raises(UsageError, match="booked before"):
            arrives(desk, 15_000, "transfer 7")
    arrives(desk, 35_000, "transfer 8")
    assert desk.core.ledger.account(REQUESTER.public).to_come == 0


@pytest.mark.parametrize(("amount", "reference"), [(0, ""), (-1, ""), (1, "x" * 65)])
def test_a_sum_or_a_reference_that_is_none_is_refused(amount: int, reference: str) -> None:
    desk = paid_desk(10_000, credit=10**6)
    with pytest.raises(UsageError, match="a sum above 0"):
        arrives(desk, amount, reference)
    assert desk.core.ledger.account(REQUESTER.public).received == 0


def test_value_of_somebody_whose_cheque_is_not_held_is_refused() -> None:
    desk = Desk()
    with pytest.raises(UsageError, match="no cheque"):
        arrives(desk, 1)


def test_value_that_came_early_is_no_credit_of_its_own() -> None:
    desk = paid_desk(10_000, credit=10**6)
    arrives(desk, 10**9)
    assert desk.core.ledger.credit_of(REQUESTER.public) == 10**6
    for step in STEPS.values():
        step(desk)
        if desk.state == "unpaid":
            break
    assert desk.core.ledger.unpaid(REQUESTER.public) == PRICE
