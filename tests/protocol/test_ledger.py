"""Sums of IOUs: value is conserved, cheques only grow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pcompute.protocol.ledger import Ledger

PAYER, PAYEE, EPOCH = b"payer", b"payee", b"epoch"
prices = st.lists(st.integers(0, 10**9), min_size=1, max_size=8)


@given(prices, st.data())
def test_what_was_promised_is_what_is_covered_in_whatever_order_cheques_come(
    row: list[int], data: st.DataObject
) -> None:
    mine, theirs = Ledger(), Ledger()
    cheques = [(price, mine.promise(PAYEE, price)) for price in row]
    for price in row:
        theirs.earn(PAYER, price)
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


@pytest.mark.parametrize(
    ("earned", "covered", "ceiling", "trusted"),
    [(0, 0, 10**9, True), (10, 10, 10**9, True), (10, 0, 90, True), (10, 0, 91, False), (101, 0, 0, False)],
)
def test_a_debtor_is_trusted_up_to_the_credit(earned: int, covered: int, ceiling: int, trusted: bool) -> None:
    ledger = Ledger(credit=100)
    ledger.earn(PAYER, earned)
    ledger.take_cheque(PAYER, EPOCH, covered, 0)
    assert ledger.trusts(PAYER, ceiling) is trusted


def test_asking_about_strangers_leaves_no_account() -> None:
    ledger = Ledger()
    assert ledger.trusts(b"stranger", 1)
    assert ledger.accounts() == []
