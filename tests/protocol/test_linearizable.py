"""A provider's slots are linearizable: whatever several requesters ask of it at once, and wherever its power fails,
there is one order of all that was answered in which every slot had one holder at a time.

A history is made of letters written by hand, of a core that handles each at once, and of effects that happen later, in
order: an answer leaves when the records before it are durable. A kill drops the effects that did not happen yet; what
was under way then may have counted or not. The search for an order is that of Wing and Gong ("Testing and verifying
concurrent objects", 1993), with the states that were seen remembered (Lowe, 2017).
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec
import pytest

from p2pcompute.identity.keys import KeyPair
from p2pcompute.protocol import records
from p2pcompute.protocol.lease import Caps
from p2pcompute.protocol.leasing import Leasing
from p2pcompute.protocol.machine import (
    Effect,
    Fetch,
    IllegalTransitionError,
    JobOutcome,
    JobStatus,
    Persist,
    Reply,
    RunJob,
)
from p2pcompute.protocol.provider import Provider
from p2pcompute.protocol.reservation import Slots
from p2pcompute.protocol.verification import nonce_commitment
from p2pcompute.wire import documents as d
from p2pcompute.wire import merkle
from p2pcompute.wire.manifest import encode_manifest, manifest_id
from p2pcompute.wire.policy import Policy
from tests.protocol.stage import MANIFEST, NETWORK, Stage, delegation, key_of, right, terms, verify_once

DATA: Final = encode_manifest(MANIFEST)
SLOTS: Final = 2
REQUESTERS: Final = tuple(key_of(f"requester {i}") for i in range(3))
NEVER: Final = 2**60
HISTORIES: Final = 200
STEPS: Final = 60


# -- the specification -------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Held:
    """A slot: its next number, the reservation that holds it, whose it is, when it runs out, how many assignments it is
    good for, and the one at work."""

    n: int = 0
    reservation: bytes = b""
    requester: bytes = b""
    until: int = 0
    left: int = 0
    work: bytes = b""

    def free(self, at: int) -> bool:
        return not self.reservation or (not self.work and self.until <= at)


@dataclasses.dataclass(frozen=True)
class State:
    slots: tuple[Held, ...] = (Held(),) * SLOTS
    known: frozenset[tuple[bytes, bytes]] = frozenset()
    """Requests that counted, and their answers: repeating one changes nothing."""


@dataclasses.dataclass(eq=False)
class Op:
    """Something that was asked, or that ended by itself. `says` is the answer; `returned` is when it left, NEVER when
    the power failed before. Times are steps of the history, `at` is the clock."""

    kind: str
    invoked: int
    at: int
    request: bytes
    requester: bytes = b""
    reservation: bytes = b""
    assignments: int = 0
    assignment: bytes = b""
    says: d.AnyDocument | None = None
    returned: int = NEVER


def apply(state: State, op: Op) -> State | None:
    """The state after `op`; None when its answer cannot be given in this state."""
    fact = op.request, op.says.id if op.says is not None else b""
    if fact in state.known or (op.says is not None and isinstance(op.says.body, d.Decline)):
        return state
    slot, held = _slot_of(state, op)
    after = _after(held, op)
    if after is None:
        return None
    slots = (*state.slots[:slot], after, *state.slots[slot + 1 :])
    return State(slots, state.known | ({fact} if op.kind in ("reserve", "renew", "assign") else set()))


def _slot_of(state: State, op: Op) -> tuple[int, Held]:
    """The slot an operation is about; 0 when it is about none (any more)."""
    if op.kind == "reserve":
        assert op.says is not None
        return op.says.body.slot, state.slots[op.says.body.slot]
    for number, held in enumerate(state.slots):
        if (op.assignment and held.work == op.assignment) or (op.reservation and held.reservation == op.reservation):
            return number, held
    return 0, state.slots[0]


def _after(held: Held, op: Op) -> Held | None:
    mine = held.reservation == op.reservation and held.requester == op.requester and not held.free(op.at)
    idle = mine and not held.work
    says = op.says
    match op.kind:
        case "reserve":
            assert says is not None
            if not held.free(op.at) or says.body.n != held.n:
                return None
            return Held(held.n + 1, says.id, op.requester, says.expires_at, op.assignments)
        case "renew":
            assert says is not None
            if not mine or says.body.n != held.n:
                return None
            return dataclasses.replace(held, n=held.n + 1, reservation=says.id, until=says.expires_at)
        case "assign":
            return dataclasses.replace(held, work=op.assignment, left=held.left - 1) if idle else None
        case "release":
            return Held(held.n) if idle else held
        case _:
            if held.work != op.assignment:
                return held
            return dataclasses.replace(held, work=b"") if held.left else Held(held.n)


def is_linearizable(history: list[Op]) -> bool:
    """Whether some order of the operations that returned, and of any of the others, obeys the specification and puts
    nothing before what had returned when it was asked."""
    seen: set[tuple[frozenset[int], State]] = set()

    def search(done: frozenset[int], state: State) -> bool:
        if (done, state) in seen:
            return False
        seen.add((done, state))
        left = [i for i in range(len(history)) if i not in done]
        if all(history[i].returned == NEVER for i in left):
            return True
        horizon = min(history[i].returned for i in left)
        for i in left:
            if history[i].invoked > horizon:
                break
            after = apply(state, history[i])
            if after is not None and search(done | {i}, after):
                return True
        return False

    return search(frozenset(), State())


# -- histories ---------------------------------------------------------------------------------------------------------


class Room:
    """One provider, and requesters that do not wait for each other."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.stage = Stage()
        self.actor = self.stage.actor("provider", caps=Caps(per_requester=SLOTS, strangers=SLOTS, renewals=64))
        self.boot()
        self.history: list[Op] = []
        self.delivered: list[d.AnyDocument] = []
        self.quotes: list[tuple[KeyPair, d.AnyDocument]] = []
        self.sent: list[tuple[Op, KeyPair, bytes]] = []
        self.assigned: list[tuple[KeyPair, bytes]] = []
        self.waiting: dict[int, Op] = {}
        self.askers: dict[int, bytes] = {}
        self.step, self.count, self.letters = 0, 0, 0

    def boot(self) -> None:
        """Power on, with what the journal holds."""
        self.fetches: list[Fetch] = []
        self.runs: list[RunJob] = []
        self.actor.boot()
        self.actor.publish(terms(delegation=self.actor.delegation, slots=SLOTS))

    # -- what may happen next

    def turn(self) -> None:
        """One step of the history."""
        self.step += 1
        moves: list[tuple[int, Callable[[], object]]] = [
            (4, self.probe), (5, self.reserve), (3, self.renew), (2, self.release), (5, self.assign), (2, self.abort),
            (2, self.again), (6, self.progress), (2, self.wait), (7, self.flush), (2, self.kill),
        ]  # fmt: skip
        (move,) = self.chance.choices([m for _, m in moves], [w for w, _ in moves])
        move()

    def write(self, key: KeyPair, body: msgspec.Struct) -> d.AnyDocument:
        author = d.Author(NETWORK, key.public, bytes(8), key.sign)
        self.letters += 1
        author.seen(2**60 + self.letters)
        return author.write(self.stage.now.wall_ms, body, lifetime_ms=10**8)

    def ask(self, key: KeyPair, document: d.AnyDocument, kind: str = "", **about: Any) -> None:
        """The core handles a letter; the answer leaves when its turn comes."""
        self.count += 1
        op = Op(kind, self.step, self.stage.now.wall_ms, document.id, key.public, **about)
        self.askers[self.count] = key.public
        if kind:
            self.sent.append((op, key, document.raw))
            self.waiting[self.count] = op
        self.take(self.actor.core.on_request(self.stage.now, key.public, self.count, document.raw), op)

    def take(self, effects: list[Effect], op: Op | None = None) -> None:
        """Put effects in the row of those to happen. A task that ends is an operation of its own."""
        for effect in effects:
            if isinstance(effect, Persist):
                self.ended(records.decode_record(effect.record))
            elif isinstance(effect, Reply) and op is not None:
                assert effect.frame is not None, "no letter here is malformed"
                op.says = d.open_document(NETWORK, effect.frame, verify_once) if effect.frame else None
        if op is not None and op.kind:
            self.history.append(op)
        self.actor.queue.extend(effects)

    def ended(self, record: records.AnyRecord) -> None:
        if isinstance(record, records.Committed | records.Ended):
            end = Op("end", self.step, self.stage.now.wall_ms, b"", assignment=record.assignment)
            self.history.append(end)
            self.actor.queue.append(_Mark(end))  # type: ignore[arg-type]

    def probe(self) -> None:
        key = self.chance.choice(REQUESTERS)
        self.ask(key, self.write(key, d.Probe(delegation(key_of("b"), key.public), "cpu", 1, 1_000, 1_000)))

    def reserve(self) -> None:
        if self.quotes:
            key, quote = self.quotes.pop(self.chance.randrange(len(self.quotes)))
            count = self.chance.randint(1, 3)
            body = d.ReservationRequest(quote.id, self.chance.choice((500, 3_000, 30_000)), count)
            self.ask(key, self.write(key, body), "reserve", assignments=count)

    def promise(self) -> tuple[KeyPair, d.AnyDocument] | None:
        """A reservation that somebody was given, the last ones mostly."""
        if not self.delivered:
            return None
        reservation = self.delivered[-min(len(self.delivered), 1 + int(self.chance.expovariate(0.7)))]
        owner = next(op.requester for op in self.history if op.says is not None and op.says.id == reservation.id)
        return next(key for key in REQUESTERS if key.public == owner), reservation

    def renew(self) -> None:
        if held := self.promise():
            key, reservation = held
            body = d.Renew(reservation.id, self.chance.choice((500, 3_000, 30_000)))
            self.ask(key, self.write(key, body), "renew", reservation=reservation.id)

    def release(self) -> None:
        if held := self.promise():
            key, reservation = held
            self.ask(key, self.write(key, d.Release(reservation.id)), "release", reservation=reservation.id)

    def assign(self) -> None:
        if held := self.promise():
            key, reservation = held
            body = d.Assignment(
                reservation.id, manifest_id(DATA), merkle.blob_root(DATA), len(DATA), 1_000_000, 0, 100, 1_000_000,
                self.stage.now.wall_ms + 61_000, Policy(), nonce_commitment(bytes(32)),
            )  # fmt: skip
            letter = self.write(key, body)
            self.assigned.append((key, letter.id))
            self.ask(key, letter, "assign", reservation=reservation.id, assignment=letter.id)

    def abort(self) -> None:
        """The end it brings is seen in the journal, as every other."""
        if self.assigned:
            key, assignment = self.chance.choice(self.assigned)
            self.ask(key, self.write(key, d.Abort(assignment, "")))

    def again(self) -> None:
        """The same bytes once more."""
        if self.sent:
            op, key, raw = self.chance.choice(self.sent[-6:])
            about = {"reservation": op.reservation, "assignments": op.assignments, "assignment": op.assignment}
            self.ask(key, d.open_document(NETWORK, raw, verify_once), op.kind, **about)

    def progress(self) -> None:
        """A fetch or a run ends, well or badly."""
        well = self.chance.random() < 0.8
        if self.runs and (not self.fetches or self.chance.random() < 0.5):
            run = self.runs.pop(self.chance.randrange(len(self.runs)))
            outcome = JobOutcome(JobStatus.OK, right(DATA), 50_000) if well else JobOutcome(JobStatus.CRASHED)
            self.take(self.actor.core.on_job(self.stage.now, run.token, outcome))
        elif self.fetches:
            fetch = self.fetches.pop(self.chance.randrange(len(self.fetches)))
            blobs = (DATA,) if fetch.token.startswith("manifest") else ()
            self.take(self.actor.core.on_fetch(self.stage.now, fetch.token, blobs if well else None))

    def wait(self) -> None:
        self.stage.mono_ms += self.chance.choice((1, 600, 4_000))

    # -- what has happened

    def flush(self, most: int = 0) -> None:
        """Let some effects happen, in their order."""
        for _ in range(most or self.chance.randint(1, 12)):
            if self.actor.queue:
                self.happen(self.actor.queue.popleft())

    def happen(self, effect: Effect) -> None:
        self.step += 1
        match effect:
            case Persist():
                self.actor.journal.append(effect.record)
            case _Mark():
                effect.op.returned = self.step
            case Reply():
                self.deliver(effect)
            case Fetch():
                self.fetches.append(effect)
            case RunJob():
                self.runs.append(effect)
            case _:
                pass

    def deliver(self, reply: Reply) -> None:
        op = self.waiting.pop(reply.request_id, None)
        if op is not None:
            op.returned = self.step
        if reply.frame:
            document = d.open_document(NETWORK, reply.frame, verify_once)
            if isinstance(document.body, d.Reservation):
                self.delivered.append(document)
            elif isinstance(document.body, d.Quote):
                asker = self.askers[reply.request_id]
                self.quotes.append((next(key for key in REQUESTERS if key.public == asker), document))

    def kill(self) -> None:
        """Power fails between any two effects; the journal keeps what was appended."""
        for _ in range(self.chance.randint(0, len(self.actor.queue))):
            self.happen(self.actor.queue.popleft())
        self.actor.queue.clear()
        self.waiting.clear()
        self.boot()

    # -- and in the end

    def play(self) -> None:
        for _ in range(STEPS):
            self.turn()
        while self.actor.queue:
            self.flush()

    def capacity(self) -> int:
        """How many slots can be had once nobody wants them any more."""
        for key, assignment in self.assigned:
            self.ask(key, self.write(key, d.Abort(assignment, "")))
        self.stage.mono_ms += 60_000
        had = 0
        for _ in range(SLOTS + 1):
            while self.actor.queue:
                self.flush()
            self.quotes.clear()
            self.probe()
            while self.actor.queue:
                self.flush()
            before = len(self.delivered)
            self.reserve()
            while self.actor.queue:
                self.flush()
            had += len(self.delivered) - before
        return had

    def reservations(self) -> list[d.AnyDocument]:
        """Every one that left or is in the journal."""
        journal = [records.decode_record(data) for data in self.actor.journal]
        raws = [r.reservation for r in journal if isinstance(r, records.Reserved)]
        return [*self.delivered, *(d.open_document(NETWORK, raw, verify_once) for raw in raws)]


@dataclasses.dataclass(frozen=True)
class _Mark:
    """Stands in the row of effects where an end is durable."""

    op: Op


def faults(seed: int) -> Iterator[str]:
    """What is wrong with one history."""
    room = Room(seed)
    room.play()
    if not is_linearizable(room.history):
        yield "there is no order in which every slot had one holder"
    if room.capacity() != SLOTS:
        yield "a slot did not come back"
    places: dict[tuple[bytes, int, int], bytes] = {}
    for x in room.reservations():
        if places.setdefault((x.epoch, x.body.slot, x.body.n), x.id) != x.id:
            yield "one place in a chain was given twice"
    for x in room.reservations():
        before = places.get((x.epoch, x.body.slot, x.body.n - 1), bytes(32))
        if x.body.previous != before:
            yield "a reservation does not follow the one before"


@pytest.mark.parametrize("block", range(4))
def test_every_history_has_an_order_in_which_each_slot_has_one_holder(block: int) -> None:
    for seed in range(block * HISTORIES, (block + 1) * HISTORIES):
        assert list(faults(seed)) == [], seed


def test_histories_come_to_everything() -> None:
    """Of each kind of answer some, among them what was under way when the power failed."""
    seen: set[tuple[str, str, bool]] = set()
    for seed in range(HISTORIES):
        room = Room(seed)
        room.play()
        for op in room.history:
            seen.add((op.kind, type(op.says.body).__name__ if op.says else "", op.returned == NEVER))
    for kind, says in (
        ("reserve", "Reservation"),
        ("renew", "Reservation"),
        ("assign", ""),
        ("release", ""),
        ("end", ""),
    ):
        assert {(kind, says, False), (kind, says, True)} <= seen
    assert {(kind, "Decline", False) for kind in ("reserve", "renew", "assign")} <= seen


# -- the test itself ---------------------------------------------------------------------------------------------------


def _double_booking(patch: pytest.MonkeyPatch) -> None:
    """A slot that is held without work is given to somebody else, as one that is free."""
    patch.setattr(
        Slots,
        "free",
        lambda self: next((i for i, s in enumerate(self._slots) if not s.holder or s.until_wall_ms), None),
    )


def _answers_first(patch: pytest.MonkeyPatch) -> None:
    """Answers leave before their records are durable."""
    real = Provider.on_request

    def hasty(*args: Any) -> list[Effect]:
        return sorted(real(*args), key=lambda effect: not isinstance(effect, Reply))

    patch.setattr(Provider, "on_request", hasty)


def _old_lease_stays(patch: pytest.MonkeyPatch) -> None:
    """What was renewed can still be assigned on."""
    real = Leasing._prolong

    def prolong(self: Leasing, lease: Any, reservation: d.AnyDocument) -> None:
        old = dataclasses.replace(lease)
        real(self, lease, reservation)
        self._leases[old.reservation.id] = old

    patch.setattr(Leasing, "_prolong", prolong)


def _never_runs_out(patch: pytest.MonkeyPatch) -> None:
    """A lease without work holds its slot for ever."""
    patch.setattr(Slots, "expired", lambda self, now: [])


def _keeps_its_slot(patch: pytest.MonkeyPatch) -> None:
    """An aborted task's slot does not come back."""
    patch.setattr(Provider, "_vacate", lambda self, e, by: None)


def _numbers_stand_still(patch: pytest.MonkeyPatch) -> None:
    """A place in the chain is given again when a lease runs out."""
    real = Slots.close

    def close(self: Slots, reservation: bytes, by: bytes) -> None:
        for slot in self._slots:
            if slot.holder == reservation and by == bytes(32):
                slot.n -= 1
        real(self, reservation, by)

    patch.setattr(Slots, "close", close)


@pytest.mark.parametrize(
    "plant", [_double_booking, _answers_first, _old_lease_stays, _never_runs_out, _keeps_its_slot, _numbers_stand_still]
)
def test_a_planted_fault_is_found(plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    assert any(next(_told(seed), "") for seed in range(HISTORIES))


def _told(seed: int) -> Iterator[str]:
    """As `faults`; what makes the core itself give up was found as well."""
    try:
        yield from faults(seed)
    except (KeyError, IllegalTransitionError) as error:
        yield repr(error)
