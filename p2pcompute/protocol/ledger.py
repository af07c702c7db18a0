"""Bilateral IOUs: what I promised others, what others promised me. Integers of micro-credits only.

As payer, one cumulative sum per payee; a cheque states it. As payee, receipts make a debt and cheques cover it. Without
consensus nobody can stop a payer from promising more than it ever settles; what one payee can lose is bounded by the
credit it gives.
"""

from __future__ import annotations

import dataclasses
from typing import Final

CREDIT_STRANGER: Final = 5_000_000
"""Micro-credits of unpaid receipts a provider carries for one requester: five credits. Its operator can change it."""


@dataclasses.dataclass(slots=True)
class Account:
    """Between me and one peer. `earned` by receipts I issued, `covered` by its cheques, `promised` by mine."""

    earned: int = 0
    covered: int = 0
    promised: int = 0

    @property
    def owed_to_me(self) -> int:
        return max(0, self.earned - self.covered)


class Ledger:
    """All accounts of one peer. Every change comes with a journaled document, so replay gives the same sums."""

    def __init__(self, credit: int = CREDIT_STRANGER) -> None:
        self.credit = credit
        self._accounts: dict[bytes, Account] = {}
        self._cheques: dict[tuple[bytes, bytes], int] = {}
        self._countersigned: dict[tuple[bytes, bytes], int] = {}

    def account(self, peer: bytes) -> Account:
        return self._accounts.setdefault(peer, Account())

    def accounts(self) -> list[tuple[bytes, Account]]:
        """(peer, account), in the order of first business."""
        return list(self._accounts.items())

    def earn(self, payer: bytes, price: int) -> None:
        """I issued a receipt to `payer`."""
        self.account(payer).earned += price

    def promise(self, payee: bytes, price: int) -> int:
        """I owe `payee` that much more; the new cumulative sum, for the cheque."""
        account = self.account(payee)
        account.promised += price
        return account.promised

    def restore_promise(self, payee: bytes, cumulative: int) -> None:
        """A cheque of mine came back out of the journal."""
        account = self.account(payee)
        account.promised = max(account.promised, cumulative)

    def take_cheque(self, payer: bytes, epoch: bytes, cumulative: int, price: int) -> bool:
        """Book a cheque that countersigns a receipt of `price`. False, and nothing booked, when the greatest sum of
        this epoch does not reach all receipts it countersigns. Cheques may come in any order."""
        key = payer, epoch
        before = self._cheques.get(key, 0)
        countersigned = self._countersigned.get(key, 0) + price
        if countersigned > max(before, cumulative):
            return False
        self._countersigned[key] = countersigned
        self._cheques[key] = max(before, cumulative)
        self.account(payer).covered += max(0, cumulative - before)
        return True

    def has_paid(self, payer: bytes) -> bool:
        """Whether a cheque of this payer was ever good for something here."""
        account = self._accounts.get(payer)
        return account is not None and account.covered > 0

    def trusts(self, payer: bytes, price_ceiling: int) -> bool:
        """Whether a further job of at most this price stays inside the payer's credit. A first job always may."""
        account = self._accounts.get(payer)
        owed = account.owed_to_me if account is not None else 0
        return owed == 0 or owed + price_ceiling <= self.credit
