"""Slots: nothing is promised twice, and the chain shows it."""

from __future__ import annotations

import dataclasses

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from p2pcompute.protocol.machine import Now
from p2pcompute.protocol.reservation import NONE, Slots


@dataclasses.dataclass
class Promise:
    id: bytes
    slot: int
    n: int
    previous: bytes
    closes: bytes


class SlotsMachine(RuleBasedStateMachine):
    """Random reservations, assignments, ends and expiries over two slots and three requesters."""

    def __init__(self) -> None:
        super().__init__()
        self.slots, self.wall_ms, self.count = Slots(2), 0, 0
        self.chains: dict[int, list[Promise]] = {0: [], 1: []}
        self.held: dict[bytes, int] = {}
        self.ended: dict[bytes, bytes] = {}

    def new_id(self) -> bytes:
        self.count += 1
        return self.count.to_bytes(32, "big")

    @rule(requester=st.sampled_from((b"a", b"b", b"c")), lease=st.integers(1, 5))
    def reserve(self, requester: bytes, lease: int) -> None:
        number = self.slots.free()
        assert (number is None) == (len(self.held) == 2)
        if number is not None:
            assert number not in self.held.values()
            self.promise(number, requester, self.slots.link(number), lease)

    def promise(self, number: int, requester: bytes, link: tuple[int, bytes, bytes], lease: int) -> None:
        promise = Promise(self.new_id(), number, *link)
        self.slots.hold(number, promise.id, requester, self.wall_ms + lease)
        assert self.slots.holder(number) == promise.id
        self.chains[number].append(promise)
        self.held[promise.id] = number

    @precondition(lambda self: self.held)
    @rule(data=st.data(), lease=st.integers(1, 5))
    def renew(self, data: st.DataObject, lease: int) -> None:
        reservation, by = data.draw(st.sampled_from(sorted(self.held))), self.new_id()
        number = self.held.pop(reservation)
        self.ended[reservation] = by
        n, previous, _ = self.slots.link(number)
        self.promise(number, b"a", (n, previous, by), lease)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), lease=st.integers(1, 5))
    def idle(self, data: st.DataObject, lease: int) -> None:
        self.slots.idle(data.draw(st.sampled_from(sorted(self.held))), self.wall_ms + lease)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def assign(self, data: st.DataObject) -> None:
        self.slots.assign(data.draw(st.sampled_from(sorted(self.held))))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        reservation, by = data.draw(st.sampled_from(sorted(self.held))), self.new_id()
        self.slots.close(reservation, by)
        del self.held[reservation]
        self.ended[reservation] = by

    @rule(later=st.integers(0, 4))
    def expire(self, later: int) -> None:
        self.wall_ms += later
        for reservation in self.slots.expired(Now(0, self.wall_ms)):
            self.slots.close(reservation, NONE)
            del self.held[reservation]
            self.ended[reservation] = NONE

    @invariant()
    def as_many_are_busy_as_are_held(self) -> None:
        assert self.slots.busy == len(self.held)

    @invariant()
    def each_promise_names_the_one_before_and_what_ended_it(self) -> None:
        for chain in self.chains.values():
            previous = NONE
            for n, promise in enumerate(chain):
                assert (promise.n, promise.previous) == (n, previous)
                assert promise.closes == self.ended.get(previous, NONE)
                previous = promise.id


TestSlots = SlotsMachine.TestCase
TestSlots.settings = settings(max_examples=40, stateful_step_count=30)


def test_a_reservation_at_work_does_not_run_out_before_it_is_idle_again() -> None:
    slots = Slots(1)
    slots.hold(0, b"r", b"a", 10)
    assert slots.unassigned() == [b"a"]
    slots.assign(b"r")
    assert (slots.expired(Now(0, 99)), slots.unassigned(), slots.free()) == ([], [], None)
    slots.idle(b"r", 10)
    assert slots.expired(Now(0, 9)) == []
    assert (slots.expired(Now(0, 10)), slots.unassigned()) == ([b"r"], [b"a"])


def test_a_slot_beyond_those_there_are_is_made() -> None:
    slots = Slots(0)
    assert slots.holder(1) == b""
    slots.hold(1, b"r", b"a", 10)
    assert len(slots) == 2
    assert slots.link(1)[:2] == (1, b"r")


def test_ending_what_is_not_held_changes_nothing() -> None:
    slots = Slots(1)
    slots.hold(0, b"r", b"a", 10)
    slots.close(b"other", b"by")
    assert slots.busy == 1
