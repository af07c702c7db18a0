"""Two peers trade in both directions over a line that loses, repeats and reorders, and both crash and move: what one
promised is what the other was promised, whatever happens between. And what was promised leaves once, whatever the
transport does."""

from __future__ import annotations

import dataclasses
import random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from p2pcompute.protocol import records
from p2pcompute.protocol.ledger import Ledger
from p2pcompute.protocol.machine import Effect, Environment, Now, Persist, Redeem
from p2pcompute.protocol.post import Post
from p2pcompute.protocol.settlement import Redeemer
from p2pcompute.wire import documents as d
from tests.protocol.stage import NETWORK, WALL_MS, key_of, verify_once

NAMES = ("a", "b")
PAYEES = (b"a" * 32, b"b" * 32)
KEY = key_of("payer")
SUMS = st.integers(1, 1_000)


@dataclasses.dataclass(frozen=True)
class Cheque:
    """As wire.documents.Cheque says it: `part` of a receipt, with earlier parts, or all of it (0)."""

    payer: str
    epoch: bytes
    cumulative: int
    receipt: int
    part: int


@dataclasses.dataclass
class Receipt:
    """What its issuer is owed. `parts`: how much of it the payer wrote cheques for; `written`: whether for all."""

    payer: str
    payee: str
    number: int
    price: int
    parts: int = 0
    epoch: bytes = b""
    """Of the last part."""
    written: bool = False


class Home:
    """One peer: its ledger, and the journal that gives it back. A cheque that is journaled is booked once."""

    def __init__(self, name: str) -> None:
        self.name, self.epochs, self.epoch = name, 0, b"0"
        self.journal: list[tuple[str, object]] = []
        self.ledger = Ledger()
        self.paid: dict[int, int] = {}
        self.done: set[int] = set()

    def write(self, what: str, fact: object) -> None:
        self.journal.append((what, fact))
        self.book(what, fact)

    def book(self, what: str, fact: object) -> None:
        if isinstance(fact, Receipt):
            self.ledger.earn(fact.payer.encode(), b"", fact.price, 0)
        elif isinstance(fact, Cheque) and what == "promised":
            if fact.epoch == self.epoch:
                self.ledger.restore_promise(other(self.name).encode(), fact.cumulative)
        elif isinstance(fact, Cheque):
            assert self.cover(fact, PRICES[fact.receipt])

    def cover(self, cheque: Cheque, price: int) -> bool:
        due = (cheque.part or price) - self.paid.get(cheque.receipt, 0)
        if not self.ledger.take_cheque(cheque.payer.encode(), cheque.epoch, cheque.cumulative, due):
            return False
        if cheque.part:
            self.paid[cheque.receipt] = cheque.part
        else:
            self.done.add(cheque.receipt)
        return True

    def restart(self, *, moves: bool) -> None:
        """From the journal; with a new epoch after a move."""
        if moves:
            self.epochs += 1
            self.epoch = b"%d" % self.epochs
        self.ledger, self.paid, self.done = Ledger(), {}, set()
        for what, fact in self.journal:
            self.book(what, fact)


PRICES: dict[int, int] = {}


def other(name: str) -> str:
    return NAMES[1 - NAMES.index(name)]


class Trade(RuleBasedStateMachine):
    """Every receipt is paid by cheques of its payer, in parts or whole; letters arrive when they like."""

    def __init__(self) -> None:
        super().__init__()
        PRICES.clear()
        self.homes = {name: Home(name) for name in NAMES}
        self.receipts: list[Receipt] = []
        self.letters: list[Cheque] = []
        self.sums: dict[tuple[str, bytes], int] = {}

    def home(self, name: str) -> Home:
        return self.homes[name]

    @rule(payee=st.sampled_from(NAMES), price=SUMS)
    def issue(self, payee: str, price: int) -> None:
        """A receipt for the other one."""
        number = len(self.receipts)
        PRICES[number] = price
        self.receipts.append(Receipt(other(payee), payee, number, price))
        self.home(payee).write("issued", self.receipts[-1])

    def pay(self, receipt: Receipt, part: int) -> None:
        payer, payee = self.home(receipt.payer), receipt.payee.encode()
        due = (part or receipt.price) - receipt.parts
        cumulative = payer.ledger.promise(payee, due)
        before = self.sums.get((receipt.payer, payer.epoch), 0)
        assert cumulative == before + due
        self.sums[receipt.payer, payer.epoch] = cumulative
        cheque = Cheque(receipt.payer, payer.epoch, cumulative, receipt.number, part)
        payer.write("promised", cheque)
        receipt.parts, receipt.written = (part, False) if part else (receipt.parts, True)
        receipt.epoch = payer.epoch
        self.letters.append(cheque)

    @precondition(lambda self: any(not r.written for r in self.receipts))
    @rule(data=st.data())
    def pay_in_full(self, data: st.DataObject) -> None:
        """The last cheque of a receipt: where a part came before, once that was taken, or in the same epoch (K9)."""
        ready = [
            r for r in self.receipts if not r.written and (self.is_taken(r) or r.epoch == self.home(r.payer).epoch)
        ]
        if ready:
            self.pay(data.draw(st.sampled_from(ready)), 0)

    def is_taken(self, receipt: Receipt) -> bool:
        """Whether the payee has all parts that were written."""
        return self.home(receipt.payee).paid.get(receipt.number, 0) == receipt.parts

    @precondition(lambda self: any(not r.written and r.parts < r.price for r in self.receipts))
    @rule(data=st.data())
    def pay_a_part(self, data: st.DataObject) -> None:
        """The next part, once the payee has those before it: its payer waits for that."""
        ready = [r for r in self.receipts if not r.written and r.parts < r.price and self.is_taken(r)]
        if ready:
            receipt = data.draw(st.sampled_from(ready))
            self.pay(receipt, data.draw(st.integers(receipt.parts + 1, receipt.price)))

    @precondition(lambda self: self.letters)
    @rule(data=st.data(), repeated=st.booleans())
    def deliver(self, data: st.DataObject, *, repeated: bool) -> None:
        """Any letter under way, in any order; it may come again later. The payee books it as provider.py does."""
        cheque = data.draw(st.sampled_from(self.letters))
        if not repeated:
            self.letters.remove(cheque)
        self.take(cheque)

    def take(self, cheque: Cheque) -> None:
        payee = self.home(other(cheque.payer))
        if cheque.receipt in payee.done or 0 < cheque.part <= payee.paid.get(cheque.receipt, 0):
            return
        if payee.cover(cheque, PRICES[cheque.receipt]):
            payee.journal.append(("taken", cheque))

    @precondition(lambda self: self.letters)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        """A letter is lost; its payer sends the same bytes again in the end."""
        self.letters.remove(data.draw(st.sampled_from(self.letters)))

    @rule(name=st.sampled_from(NAMES), moves=st.booleans())
    def crash(self, name: str, *, moves: bool) -> None:
        self.home(name).restart(moves=moves)

    @invariant()
    def nothing_appears_or_is_paid_twice(self) -> None:
        for payee in NAMES:
            payer = other(payee)
            account = self.home(payee).ledger.account(payer.encode())
            earned = sum(r.price for r in self.receipts if r.payee == payee)
            promised = sum(sum_ for (who, _), sum_ in self.sums.items() if who == payer)
            written = sum(r.price if r.written else r.parts for r in self.receipts if r.payee == payee)
            assert account.earned == earned
            assert account.covered <= promised == written <= earned
            assert account.owed_to_me == earned - account.covered

    @invariant()
    def what_counts_as_paid_is_reached_by_the_sums(self) -> None:
        for name in NAMES:
            home = self.home(name)
            whole = sum(PRICES[number] for number in home.done)
            parts = sum(sum_ for number, sum_ in home.paid.items() if number not in home.done)
            assert whole + parts <= home.ledger.account(other(name).encode()).covered

    def teardown(self) -> None:
        """All letters arrive in the end, in any order: then everything that was promised is held."""
        for cheque in [*self.letters, *self.promised(), *self.promised()]:
            self.take(cheque)
        for payee in NAMES:
            home, mine = self.home(payee), [r for r in self.receipts if r.payee == payee]
            assert home.done == {r.number for r in mine if r.written}
            held = home.ledger.account(other(payee).encode()).covered
            assert held == sum(r.price if r.written else r.parts for r in mine)

    def promised(self) -> list[Cheque]:
        return [
            fact
            for home in self.homes.values()
            for what, fact in home.journal
            if what == "promised" and isinstance(fact, Cheque)
        ]


class Settlements(RuleBasedStateMachine):
    """One peer writes cheques to two others and redeems them, through a command that fails before or after value left,
    or never says; and it crashes and moves. The machine is the real one."""

    SETTLE_AT = 1_000

    def __init__(self) -> None:
        super().__init__()
        self.journal: list[bytes] = []
        self.epochs = 0
        self.written = dict.fromkeys(PAYEES, 0)
        self.moved: dict[bytes, Redeem] = {}
        self.orders: list[Redeem] = []
        """Told to the command, and not answered yet."""
        self.ghosts: list[Redeem] = []
        """Told by a life that a crash ended."""
        self.boot()

    def boot(self) -> None:
        env = Environment(KEY.public, KEY.sign, verify_once, random.Random(1), bytes(32))
        self.post = Post(env, NETWORK, self.epochs.to_bytes(8, "big"), b"")
        self.ledger = Ledger()
        self.redeemer = Redeemer(self.post, self.ledger, self.SETTLE_AT, redeems=True)
        self.orders.clear()
        for data in self.journal:
            record = records.decode_record(data)
            if isinstance(record, records.Settled):
                cheque = self.post.open(record.cheque)
                if cheque.epoch == self.post.author.epoch:
                    self.ledger.restore_promise(cheque.body.payee, cheque.body.cumulative)
                    self.redeemer.take(cheque)
            self.redeemer.replay(record)
        self.do(self.redeemer.resume())

    def do(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Persist):
                self.journal.append(effect.record)
            elif isinstance(effect, Redeem):
                self.orders.append(effect)

    @rule(payee=st.sampled_from(PAYEES), price=SUMS)
    def promise(self, payee: bytes, price: int) -> None:
        """A receipt is paid."""
        body = d.Cheque(payee, self.ledger.promise(payee, price), bytes(32))
        cheque = self.post.write(Now(0, WALL_MS), body, lifetime_ms=1_000)
        self.written[payee] += price
        self.journal.append(records.encode_record(records.Settled(bytes(16), cheque.raw)))
        self.redeemer.take(cheque)
        self.do(self.redeemer.consider(payee))

    @precondition(lambda self: self.orders)
    @rule(data=st.data(), sends=st.booleans(), says=st.booleans())
    def command(self, data: st.DataObject, *, sends: bool, says: bool) -> None:
        """It runs, or is killed; the same key moves the same once."""
        order = self.orders.pop(data.draw(st.integers(0, len(self.orders) - 1)))
        if sends:
            assert self.moved.setdefault(order.key, order) == order
        self.do(self.redeemer.on_redeemed(Now(0, WALL_MS), order.key, "" if sends and says else "failed"))
        if not (sends and says):
            self.do(self.redeemer.on_timer(order.payee))

    @rule(moves=st.booleans())
    def crash(self, *, moves: bool) -> None:
        """The command that runs goes on."""
        self.ghosts += self.orders
        self.epochs += moves
        self.boot()

    @precondition(lambda self: self.ghosts)
    @rule(data=st.data())
    def a_command_of_an_earlier_life_ends(self, data: st.DataObject) -> None:
        order = self.ghosts.pop(data.draw(st.integers(0, len(self.ghosts) - 1)))
        assert self.moved.setdefault(order.key, order) == order

    @rule()
    def crash_before_the_last_record_was_durable(self) -> None:
        """An order waits for its record: the two are lost together. (A cheque that left is always in the journal.)"""
        if self.journal and not isinstance(records.decode_record(self.journal[-1]), records.Settled):
            key = getattr(records.decode_record(self.journal[-1]), "cheque", b"")
            if not any(order.document == key for order in self.moved.values()):
                self.journal.pop()
            self.boot()

    @invariant()
    def no_more_leaves_than_was_promised(self) -> None:
        for payee in PAYEES:
            left = sum(order.amount for order in self.moved.values() if order.payee == payee)
            assert left <= self.written[payee]

    def teardown(self) -> None:
        """The command works in the end: no more is owed in this epoch than may be, and the books say what left."""
        while self.orders:
            order = self.orders.pop()
            assert self.moved.setdefault(order.key, order) == order
            self.do(self.redeemer.on_redeemed(Now(0, WALL_MS), order.key, ""))
        self.no_more_leaves_than_was_promised()
        assert not self.redeemer.open
        for payee in PAYEES:
            account = self.ledger.account(payee)
            assert 0 <= account.outstanding <= self.SETTLE_AT
            epoch = self.post.author.epoch
            mine = [o for o in self.moved.values() if o.payee == payee and self.post.open(o.document).epoch == epoch]
            assert account.settled == sum(order.amount for order in mine)


TestSettlements = Settlements.TestCase
TestSettlements.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestTrade = Trade.TestCase
TestTrade.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
