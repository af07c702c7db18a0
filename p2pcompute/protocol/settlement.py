"""Value outside of the network, for the cheques that peers wrote: rules K10 and K11 of docs/spec/market.md.

A cheque is a promise; settling it redeems the promise, by a command of this node's operator. What is to leave is
journaled before the command is told, with an amount that nothing changes any more, and is told again under one key
until it has left: whatever crashes, value leaves once.
"""

from __future__ import annotations

import dataclasses
from typing import Final

from p2pcompute.errors import UsageError
from p2pcompute.protocol import records
from p2pcompute.protocol.commands import ValueArrived
from p2pcompute.protocol.ledger import Ledger
from p2pcompute.protocol.machine import Effect, Emit, Now, Redeem, SetTimer
from p2pcompute.protocol.post import Post
from p2pcompute.protocol.records import persist
from p2pcompute.wire import limits
from p2pcompute.wire.documents import AnyDocument

RETRY_MS_MIN: Final = 10_000
"""After a command that failed; doubled with every further time."""
RETRY_MS_MAX: Final = 3_600_000


@dataclasses.dataclass(slots=True)
class Intent:
    """So much is to leave for this cheque, and those before it."""

    cheque: AnyDocument
    amount: int
    attempts: int = 0


class Redeemer:
    """What this peer owes by its own cheques, and has leave when that is more than its threshold; and what came for
    those of others."""

    def __init__(self, post: Post, ledger: Ledger, settle_at: int, *, redeems: bool) -> None:
        """`settle_at`: micro-credits that may be owed to one peer; 0: nothing ever leaves. `redeems`: whether there is
        a command to tell."""
        self._post, self._ledger = post, ledger
        self._settle_at = settle_at if redeems else 0
        self._newest: dict[bytes, AnyDocument] = {}
        """Payee -> the last cheque to it. Of this epoch: a restored home cannot know what left for the ones before."""
        self._open: dict[bytes, Intent] = {}
        """Payee -> what is on its way: one thing at a time."""

    @property
    def open(self) -> bool:
        """Whether anything is on its way."""
        return bool(self._open)

    def take(self, cheque: AnyDocument) -> None:
        """A cheque of this peer's own, in this epoch."""
        self._newest[cheque.body.payee] = cheque

    def consider(self, payee: bytes) -> list[Effect]:
        """Have value leave, if more is owed than may be."""
        owed = self._ledger.account(payee).outstanding
        if not self._settle_at or owed <= self._settle_at or payee in self._open:
            return []
        intent = self._open[payee] = Intent(self._newest[payee], owed)
        record = persist(records.Redeeming(intent.cheque.raw, owed))
        return [record, Emit("settlement.begun", {"peer": payee, "amount": owed}), _told(intent)]

    # -- the command -------------------------------------------------------------------------------------------------

    def on_redeemed(self, now: Now, key: bytes, fault: str) -> list[Effect]:
        """The command was told: value left, or `fault` says why nobody knows that it did."""
        found = [(payee, intent) for payee, intent in self._open.items() if intent.cheque.id == key]
        if not found:
            return []
        ((payee, intent),) = found
        facts = {"peer": payee, "amount": intent.amount}
        if fault:
            pause_ms = min(RETRY_MS_MIN << min(intent.attempts, 16), RETRY_MS_MAX)
            intent.attempts += 1
            again = SetTimer(f"settlement.{payee.hex()}", now.mono_ms + pause_ms)
            return [Emit("settlement.failed", {**facts, "attempts": intent.attempts, "reason": fault}), again]
        self._book(payee, key)
        record = persist(records.Redeemed(key))
        return [record, Emit("settlement.done", facts), *self.consider(payee)]

    def on_timer(self, payee: bytes) -> list[Effect]:
        """The pause after a command that failed is over."""
        intent = self._open.get(payee)
        return [_told(intent)] if intent is not None else []

    def _book(self, payee: bytes, key: bytes) -> None:
        intent = self._open.pop(payee)
        assert intent.cheque.id == key, "the journal ends what it did not begin"
        if intent.cheque.epoch == self._post.author.epoch:
            self._ledger.settle(payee, intent.amount)

    # -- the other side ----------------------------------------------------------------------------------------------

    def receive(self, command: ValueArrived) -> list[Effect]:
        """Book what came. Raises UsageError for value that nobody promised, or that was booked before."""
        peer, amount, reference = command.peer, command.amount, command.reference
        if not self._ledger.has_paid(peer):
            raise UsageError("no cheque of this peer is held here")
        if not 0 < amount <= limits.PRICE_MAX or len(reference.encode()) > limits.LABEL_BYTES_MAX:
            raise UsageError(f"a sum above 0, and a reference of {limits.LABEL_BYTES_MAX} bytes at most")
        if self._ledger.is_booked(peer, reference):
            raise UsageError(f"a transfer {reference!r} of this peer was booked before")
        self._ledger.receive(peer, amount, reference)
        record = persist(records.ValueCame(peer, amount, reference))
        return [record, Emit("settlement.came", {"peer": peer, "amount": amount})]

    # -- the journal -------------------------------------------------------------------------------------------------

    def replay(self, record: records.AnyRecord) -> None:
        """Rebuild from one journal record."""
        match record:
            case records.Redeeming():
                cheque = self._post.open(record.cheque)
                self._open[cheque.body.payee] = Intent(cheque, record.amount)
            case records.Redeemed():
                payee = next(payee for payee, intent in self._open.items() if intent.cheque.id == record.cheque)
                self._book(payee, record.cheque)
            case records.ValueCame():
                self._ledger.receive(record.peer, record.amount, record.reference)
            case _:
                pass

    def resume(self) -> list[Effect]:
        """After replay: what was on its way is told again, under the same key; the threshold may be another one."""
        if not self._settle_at:
            return []
        told: list[Effect] = [_told(intent) for intent in self._open.values()]
        return told + [effect for payee in list(self._newest) for effect in self.consider(payee)]


def _told(intent: Intent) -> Redeem:
    cheque = intent.cheque
    return Redeem(cheque.id, cheque.body.payee, intent.amount, cheque.body.cumulative, cheque.raw)
