"""Bilateral IOUs: what I promised others, what others promised me, and how far I go unpaid. Integers of micro-credits.

As payer, one cumulative sum per payee; a cheque states it. As payee, receipts make a debt and cheques cover it. Without
consensus nobody can stop a payer from promising more than it ever settles; what one payee can lose is bounded by the
credit it gives: rules K1 to K11 of docs/spec/market.md.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from typing import Final

REFERENCES_MAX: Final = 65_536
"""Transfers that are remembered by their references; the oldest are forgotten first."""
STRANGERS_WINDOW_MS: Final = 24 * 3_600 * 1_000
"""What was left unpaid beyond what was paid counts against the cap of all for so long; a day's loss is the cap."""


@dataclasses.dataclass(frozen=True, slots=True)
class Credit:
    """Micro-credits that are risked. `first`: on one that never paid, and on top of what one paid. `paying`: on one at
    the most. `strangers`: on all together beyond what they paid, in a day."""

    first: int = 100_000_000
    paying: int = 1_000_000_000
    strangers: int = 1_000_000_000


CREDIT: Final = Credit()
"""A hundred device-seconds at the price that nodes ask unless told otherwise, and a thousand."""


@dataclasses.dataclass(slots=True)
class Account:
    """Between me and one peer. `earned` by receipts I issued, `covered` by its cheques, `received` in value for these;
    `promised` by my cheques of this epoch, `settled` in value for those. `claims`: what it will owe for work that is
    done and not judged yet, by assignment."""

    earned: int = 0
    covered: int = 0
    received: int = 0
    promised: int = 0
    settled: int = 0
    claims: dict[bytes, int] = dataclasses.field(default_factory=dict)

    @property
    def owed_to_me(self) -> int:
        """Receipts that no cheque reaches."""
        return max(0, self.earned - self.covered)

    @property
    def to_come(self) -> int:
        """Promised by its cheques, and no value came for it."""
        return max(0, self.covered - self.received)

    @property
    def outstanding(self) -> int:
        """Promised by my cheques, and no value left for it."""
        return self.promised - self.settled

    @property
    def claimed(self) -> int:
        """Of work that is done and not judged yet."""
        return sum(self.claims.values())

    @property
    def unpaid(self) -> int:
        """All work that was done and not paid."""
        return self.owed_to_me + self.claimed


class Ledger:
    """All accounts of one peer. Every change comes with a journaled document, so replay gives the same sums."""

    def __init__(self, credit: Credit = CREDIT, settle_at: int = 0) -> None:
        """`settle_at`: what a payer's cheques may promise before value is to come for them; 0: whatever they like."""
        self.credit, self.settle_at = credit, settle_at
        self._accounts: dict[bytes, Account] = {}
        self._cheques: dict[tuple[bytes, bytes], int] = {}
        self._countersigned: dict[tuple[bytes, bytes], int] = {}
        self._risks: OrderedDict[bytes, tuple[int, int]] = OrderedDict()
        """Payer -> what it may leave unpaid beyond what it paid, and when it last did; the oldest first."""
        self._risk = 0
        """Their sum."""
        self._references: OrderedDict[tuple[bytes, str], None] = OrderedDict()
        """(payer, reference) of the transfers that came."""

    def account(self, peer: bytes) -> Account:
        return self._accounts.setdefault(peer, Account())

    def accounts(self) -> list[tuple[bytes, Account]]:
        """(peer, account), in the order of first business."""
        return list(self._accounts.items())

    # -- as payee ----------------------------------------------------------------------------------------------------

    def claim(self, payer: bytes, assignment: bytes, price: int, wall_ms: int) -> None:
        """Work is done that will cost `payer` at most this much, once it is judged; 0: it will not."""
        account = self.account(payer)
        account.claims.pop(assignment, None)
        if price:
            account.claims[assignment] = price
        self._weigh(payer, wall_ms)

    def earn(self, payer: bytes, assignment: bytes, price: int, wall_ms: int) -> None:
        """I issued a receipt to `payer` for what was claimed."""
        self.account(payer).earned += price
        self.claim(payer, assignment, 0, wall_ms)

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
        self._relieve(payer)
        return True

    def is_booked(self, payer: bytes, reference: str) -> bool:
        """Whether a transfer of this reference came before."""
        return bool(reference) and (payer, reference) in self._references

    def receive(self, payer: bytes, amount: int, reference: str) -> None:
        """Value came for a payer's cheques."""
        self.account(payer).received += amount
        if reference:
            self._references[payer, reference] = None
            while len(self._references) > REFERENCES_MAX:
                self._references.popitem(last=False)

    def _relieve(self, payer: bytes) -> None:
        """It paid: less of what it left unpaid is beyond that, since when it always was."""
        if payer in self._risks:
            before, at_ms = self._risks[payer]
            self._risks[payer] = self._beyond(payer), at_ms
            self._risk += self._risks[payer][0] - before

    def _weigh(self, payer: bytes, wall_ms: int) -> None:
        """Keep the sum of what all may leave unpaid beyond what they paid."""
        self._risk -= self._risks.pop(payer, (0, 0))[0]
        self._risks[payer] = self._beyond(payer), wall_ms
        self._risk += self._risks[payer][0]

    def _beyond(self, payer: bytes) -> int:
        account = self.account(payer)
        return min(self.credit.first, max(0, account.unpaid - account.covered))

    # -- as payer ----------------------------------------------------------------------------------------------------

    def promise(self, payee: bytes, price: int) -> int:
        """I owe `payee` that much more; the new cumulative sum, for the cheque."""
        account = self.account(payee)
        account.promised += price
        return account.promised

    def restore_promise(self, payee: bytes, cumulative: int) -> None:
        """A cheque of mine came back out of the journal."""
        account = self.account(payee)
        account.promised = max(account.promised, cumulative)

    def settle(self, payee: bytes, amount: int) -> None:
        """Value left for my cheques to `payee`."""
        self.account(payee).settled += amount

    # -- credit ------------------------------------------------------------------------------------------------------

    def has_paid(self, payer: bytes) -> bool:
        """Whether a cheque of this payer was ever good for something here."""
        account = self._accounts.get(payer)
        return account is not None and account.covered > 0

    def credit_of(self, payer: bytes) -> int:
        """What a payer may leave unpaid, and what its tasks at work may cost together if there are several: as much
        again as it paid, and a little for a beginning."""
        account = self._accounts.get(payer)
        return min(self.credit.paying, self.credit.first + (account.covered if account is not None else 0))

    def late(self, payer: bytes) -> int:
        """What its cheques promise beyond what they may before value comes, and none came for."""
        account = self._accounts.get(payer)
        return max(0, account.to_come - self.settle_at) if account is not None and self.settle_at else 0

    def unpaid(self, payer: bytes) -> int:
        """Receipts without a cheque, claims not judged yet, and cheques that value is late for."""
        account = self._accounts.get(payer)
        return account.unpaid + self.late(payer) if account is not None else 0

    def is_overdue(self, payer: bytes) -> bool:
        """Whether its receipts and cheques alone, without what is not judged yet, use its credit up."""
        account = self._accounts.get(payer)
        return account is not None and 0 < account.owed_to_me + self.late(payer) >= self.credit_of(payer)

    def beyond_at_work(self, payer: bytes, at_work: int) -> int:
        """How much of what its tasks at work may cost is beyond what it paid, and did not leave unpaid before; at most
        the first credit."""
        account = self._accounts.get(payer)
        slack = max(0, account.covered - account.unpaid) if account is not None else 0
        return min(self.credit.first, max(0, at_work - slack))

    def refusal(self, payer: bytes, price_ceiling: int, at_work: int, others_beyond: int, wall_ms: int) -> str:
        """Why no further task of at most this price is taken on from `payer`; empty when one is. `at_work`: what its
        tasks at work may cost; `others_beyond`: what those of others may, beyond what they paid."""
        unpaid, credit = self.unpaid(payer), self.credit_of(payer)
        if 0 < unpaid >= credit:
            late = self.late(payer)
            settle = f"; for {late} of them there are cheques, and value has to come for these" if late else ""
            return (
                f"{unpaid} micro-credits of work done for you are unpaid, and {credit} may be; your node pays by "
                f"cheque as soon as it has judged and fetched what it asked for: keep it running and connected{settle}"
            )
        if at_work and at_work + price_ceiling > credit:
            return (
                f"your tasks at work here may cost {at_work} micro-credits, this one {price_ceiling}, and all of them "
                f"{credit}; wait for one to end, or limit their device time: with every cheque it grows"
            )
        mine = self.beyond_at_work(payer, at_work + price_ceiling)
        risk = self.strangers_risk(wall_ms) + others_beyond + mine
        if mine and risk > max(self.credit.strangers, self.credit.first):
            return "as much as may is under way or unpaid here beyond what was ever paid; try later, or elsewhere"
        return ""

    def strangers_risk(self, wall_ms: int) -> int:
        """What all may leave unpaid, beyond what they paid, of the work done for them within a day."""
        while self._risks:
            payer, (risk, at_ms) = next(iter(self._risks.items()))
            if wall_ms - at_ms < STRANGERS_WINDOW_MS:
                break
            del self._risks[payer]
            self._risk -= risk
        return self._risk
