"""Sums of IOUs: value is conserved, cheques only grow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pcompute.protocol.ledger import CREDIT, STRANGERS_WINDOW_MS, Credit, Ledger

PAYER, PAYEE, EPOCH = b"payer", b"payee", b"epoch"
prices = st.lists(st.integers(0, 10**9), min_size=1, max_size=8)


@given(prices, st.data())
def test_what_was_promised_is_what_is_covered_in_whatever_order_cheques_come(
    row: list[int], data: st.DataObject
) -> None:
    mine, theirs = Ledger(), Ledger()
    cheques = [(price, mine.promise(PAYEE, price)) for price in row]
    for price in row:
        theirs.earn(PAYER, b"", price, 0)
    for price, cumulative in data.draw(st.permutations(cheques)):
        assert theirs.take_cheque(PAYER, EPOCH, cumulative, price)
    assert theirs.account(PAYER).covered == theirs.account(PAYER).earned == mine.account(PAYEE).promised == sum(row)
    assert theirs.account(PAYER).owed_to_me == 0


@given(prices)
def test_the_sums_of_cheques_grow(row: list[int]) -> None:
    ledger = Ledger()
    sums = [ledger.promise(PAYEE, price) for price in row]
    assert sums == sorted(sums)
    assert sums[-1] == sum(row)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20)), max_size=10))
def test_no_run_of_cheques_countersigns_more_than_it_covers(cheques: list[tuple[int, int]]) -> None:
    ledger = Ledger()
    taken = [price for cumulative, price in cheques if ledger.take_cheque(PAYER, EPOCH, cumulative, price)]
    assert sum(taken) <= ledger.account(PAYER).covered <= max((c for c, _ in cheques), default=0)


def test_one_sum_does_not_pay_twice() -> None:
    ledger = Ledger()
    assert ledger.take_cheque(PAYER, EPOCH, 10, 10)
    assert not ledger.take_cheque(PAYER, EPOCH, 10, 10)
    assert ledger.take_cheque(PAYER, EPOCH, 20, 10)


def test_sums_count_within_an_epoch() -> None:
    ledger = Ledger()
    assert ledger.take_cheque(PAYER, b"one", 10, 10)
    assert ledger.take_cheque(PAYER, b"two", 10, 10)
    assert ledger.account(PAYER).covered == 20


def test_a_restored_promise_never_lowers_the_sum() -> None:
    ledger = Ledger()
    ledger.restore_promise(PAYEE, 30)
    ledger.restore_promise(PAYEE, 20)
    assert ledger.promise(PAYEE, 5) == 35


SMALL = Credit(first=100, paying=1_000, strangers=250)


def paying(ledger: Ledger, payer: bytes, sum_: int) -> None:
    """So much was earned from this payer and covered by its cheque."""
    ledger.earn(payer, b"", sum_, 0)
    assert ledger.take_cheque(payer, EPOCH, sum_, sum_)


def may(ledger: Ledger, payer: bytes, ceiling: int, *, at_work: int = 0, others: int = 0, wall_ms: int = 0) -> bool:
    return not ledger.refusal(payer, ceiling, at_work, others, wall_ms)


@pytest.mark.parametrize(("paid", "credit"), [(0, 100), (1, 101), (400, 500), (900, 1_000), (5_000, 1_000)])
def test_credit_grows_with_what_was_paid_to_a_bound(paid: int, credit: int) -> None:
    ledger = Ledger(SMALL)
    if paid:
        paying(ledger, PAYER, paid)
    assert ledger.credit_of(PAYER) == credit


def test_work_done_and_unpaid_counts_before_and_after_it_is_judged() -> None:
    ledger = Ledger(SMALL)
    ledger.claim(PAYER, b"one", 60, 0)
    assert may(ledger, PAYER, 1)
    ledger.claim(PAYER, b"two", 40, 0)
    assert not may(ledger, PAYER, 0)
    ledger.claim(PAYER, b"two", 0, 0)  # outvoted
    assert may(ledger, PAYER, 1)
    ledger.earn(PAYER, b"one", 50, 0)
    assert (ledger.account(PAYER).owed_to_me, ledger.unpaid(PAYER)) == (50, 50)
    ledger.claim(PAYER, b"three", 50, 0)
    assert not may(ledger, PAYER, 0)
    assert ledger.take_cheque(PAYER, EPOCH, 50, 50)
    assert may(ledger, PAYER, 1)


@pytest.mark.parametrize(("paid", "room"), [(0, 100), (1, 101), (400, 500), (900, 1_000), (5_000, 1_000)])
def test_a_task_alone_is_taken_at_any_price_and_several_within_what_was_paid_and_the_first_credit(
    paid: int, room: int
) -> None:
    ledger = Ledger(SMALL)
    if paid:
        paying(ledger, PAYER, paid)
    assert may(ledger, PAYER, 10**9)
    assert [may(ledger, PAYER, ceiling, at_work=60) for ceiling in (room - 60, room - 59)] == [True, False]


def test_strangers_share_a_cap_that_those_who_paid_for_more_do_not_feel() -> None:
    ledger = Ledger(SMALL)
    for i in range(2):
        ledger.earn(bytes([i]), b"", 90, 0)
    assert ledger.strangers_risk(0) == 180
    assert [may(ledger, b"new", ceiling) for ceiling in (70, 71, 10**9)] == [True, False, False]
    assert [may(ledger, b"new", ceiling, others=30) for ceiling in (40, 41)] == [True, False]
    paying(ledger, b"good", 500)
    assert may(ledger, b"good", 500)
    assert not may(ledger, b"good", 10**9)
    assert ledger.take_cheque(bytes([0]), EPOCH, 90, 90)
    assert ledger.strangers_risk(0) == 90
    assert may(ledger, b"new", 10**9)


@pytest.mark.parametrize(
    ("paid", "at_work", "unpaid", "both"),
    [(0, 100, 100, 100), (1, 99, 99, 100), (60, 40, 40, 100), (100, 0, 0, 100), (150, 0, 0, 50), (1_000, 0, 0, 0)],
)
def test_who_paid_a_little_counts_a_little_less(paid: int, at_work: int, unpaid: int, both: int) -> None:
    ledger = Ledger(SMALL)
    if paid:
        paying(ledger, PAYER, paid)
    assert ledger.beyond_at_work(PAYER, 100) == at_work
    ledger.earn(PAYER, b"", 100, 0)
    assert ledger.strangers_risk(0) == unpaid
    assert ledger.beyond_at_work(PAYER, 100) == both


def test_many_keys_that_pay_a_little_each_are_no_way_around_the_cap() -> None:
    ledger, took = Ledger(SMALL), 0
    for i in range(100):
        payer = i.to_bytes(2, "big")
        paying(ledger, payer, 1)
        if may(ledger, payer, 100):
            ledger.earn(payer, b"", 100, 0)
            took += 100
    assert took <= SMALL.strangers + 100


def test_a_stranger_counts_for_no_more_than_its_first_credit() -> None:
    ledger = Ledger(SMALL)
    ledger.claim(PAYER, b"dear", 10**9, 0)
    assert ledger.strangers_risk(0) == 100


def test_what_strangers_left_unpaid_weighs_on_other_strangers_for_a_day_and_on_themselves_for_ever() -> None:
    ledger = Ledger(SMALL)
    for i in range(3):
        ledger.earn(bytes([i]), b"", 100, i)
    assert not may(ledger, b"new", 1, wall_ms=STRANGERS_WINDOW_MS - 1)
    assert ledger.strangers_risk(STRANGERS_WINDOW_MS + 1) == 100
    assert may(ledger, b"new", 1, wall_ms=STRANGERS_WINDOW_MS + 1)
    assert not may(ledger, bytes([0]), 1, wall_ms=100 * STRANGERS_WINDOW_MS)


@given(
    st.lists(
        st.tuples(st.sampled_from(("claim", "earn", "pay", "time")), st.integers(0, 4), st.integers(0, 150)),
        max_size=40,
    )
)
def test_the_sum_of_what_strangers_risk_is_always_that_of_their_accounts(steps: list[tuple[str, int, int]]) -> None:
    ledger, wall_ms, last = Ledger(SMALL), 0, dict[bytes, int]()
    for what, who, sum_ in steps:
        payer = bytes([who])
        if what == "time":
            wall_ms += sum_ * STRANGERS_WINDOW_MS // 200
        elif what == "claim":
            ledger.claim(payer, b"a", sum_, wall_ms)
        elif what == "earn":
            ledger.earn(payer, b"a", sum_, wall_ms)
        else:
            ledger.take_cheque(payer, EPOCH, sum_, 0)
        if what in ("claim", "earn"):
            last[payer] = wall_ms
        fresh = [ledger.account(who) for who, at in last.items() if wall_ms - at < STRANGERS_WINDOW_MS]
        assert ledger.strangers_risk(wall_ms) == sum(min(max(0, a.unpaid - a.covered), 100) for a in fresh)


@pytest.mark.parametrize(("earned", "claimed", "overdue"), [(0, 500, False), (99, 500, False), (100, 0, True)])
def test_overdue_is_who_uses_its_credit_up_by_receipts_alone(earned: int, claimed: int, overdue: bool) -> None:
    ledger = Ledger(SMALL)
    ledger.earn(PAYER, b"a", earned, 0)
    ledger.claim(PAYER, b"b", claimed, 0)
    assert ledger.is_overdue(PAYER) is overdue


def test_asking_about_strangers_leaves_no_account() -> None:
    ledger = Ledger()
    assert may(ledger, b"stranger", 1)
    assert (ledger.credit_of(b"stranger"), ledger.is_overdue(b"stranger")) == (CREDIT.first, False)
    assert ledger.accounts() == []
