"""Value that leaves: what cheques promised, less what has come."""

from __future__ import annotations

import pytest

from p2pcompute.errors import LocalError
from p2pcompute.protocol.ledger import Ledger
from p2pcompute.protocol.settlement import Settlement, due_from


class Bank:
    """A transport between the peers of a test."""

    def __init__(self, funds: dict[bytes, int]) -> None:
        self.funds, self.moved = funds, dict[tuple[bytes, bytes], int]()

    def of(self, owner: bytes) -> Settlement:
        return Wallet(self, owner)


class Wallet:
    def __init__(self, bank: Bank, owner: bytes) -> None:
        self._bank, self._owner = bank, owner

    def pay(self, payee: bytes, amount: int) -> str:
        if amount > self._bank.funds.get(self._owner, 0):
            raise LocalError("there is not so much")
        self._bank.funds[self._owner] -= amount
        key = self._owner, payee
        self._bank.moved[key] = self._bank.moved.get(key, 0) + amount
        return f"transfer {len(self._bank.moved)}"

    def seen(self, payer: bytes) -> int:
        return self._bank.moved.get((payer, self._owner), 0)


def test_what_cheques_promised_is_due_until_it_has_come() -> None:
    bank, ledger = Bank({b"payer": 100}), Ledger()
    mine, theirs = bank.of(b"payee"), bank.of(b"payer")
    assert due_from(ledger, mine, b"payer") == 0
    ledger.earn(b"payer", b"a", 70, 0)
    assert due_from(ledger, mine, b"payer") == 0  # no cheque yet: that is a debt, K3
    assert ledger.take_cheque(b"payer", b"epoch", 70, 70)
    assert due_from(ledger, mine, b"payer") == 70
    assert theirs.pay(b"payee", 50)
    assert due_from(ledger, mine, b"payer") == 20
    with pytest.raises(LocalError):
        theirs.pay(b"payee", 60)
    theirs.pay(b"payee", 30)
    assert due_from(ledger, mine, b"payer") == 0
