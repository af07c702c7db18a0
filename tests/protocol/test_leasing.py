"""Leases: P5 to P9 of docs/spec/provider.md. The requester's letters are written by hand, see test_provider.py."""

from __future__ import annotations

from typing import Any

import pytest

from p2pcompute.identity.keys import KeyPair
from p2pcompute.protocol import leasing, records
from p2pcompute.protocol.lease import LEASE, Caps
from p2pcompute.protocol.reservation import NONE
from p2pcompute.wire import documents as d
from tests.protocol.desk import REQUESTER, STRANGER, Desk, code, desk_at
from tests.protocol.stage import NETWORK, delegation, key_of, terms, verify_once


def reserved(desk: Desk, key: KeyPair = REQUESTER, *, lease_ms: int = 15_000, assignments: int = 1) -> Any:
    """What a requester gets that probes and reserves: a Reservation or a Decline."""
    probe = d.Probe(delegation(key_of("buyer"), key.public), "cpu", 1, 1_000, 1_000)
    quote = desk.ask(probe, key)
    return desk.ask(d.ReservationRequest(quote.id, lease_ms, assignments), key) if is_quote(quote) else quote


def is_quote(answer: Any) -> bool:
    return isinstance(answer.body, d.Quote)


def renew(desk: Desk, lease_ms: int = 15_000) -> Any:
    """Renew the newest reservation that is held, which the answer then is."""
    raw = desk.write(d.Renew(desk.held["reservation"], lease_ms))
    answer = desk.send(raw)
    assert isinstance(answer, d.Document)
    if isinstance(answer.body, d.Reservation):
        desk.held["reservation"], desk.held["renew"] = answer.id, raw
    return answer


def reboot(desk: Desk) -> None:
    """Power off and on."""
    desk.actor.boot()
    desk.actor.publish(terms(delegation=desk.actor.delegation, slots=desk.actor.offer.slots))  # type: ignore[union-attr]


def work(desk: Desk) -> None:
    """One task on the newest reservation, up to its commitment."""
    desk.assign()
    desk.fetched()
    desk.fetched()
    desk.ran()


def chain(desk: Desk) -> list[d.AnyDocument]:
    """Every reservation that the journal holds, in order."""
    rows = [d.open_document(NETWORK, r.reservation, verify_once) for r in desk.actor.records(records.Reserved)]  # type: ignore[union-attr]
    for n, x in enumerate(rows):
        assert (x.body.n, x.body.previous) == (n, rows[n - 1].id if n else NONE)
    return rows


def test_every_transition_of_the_lease_leads_somewhere_known() -> None:
    states = {state for state, _ in LEASE}
    assert states == {"held", "working"}
    assert set(LEASE.values()) == states | {"closed"}


# -- renewing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("restarts", [False, True])
def test_a_renewed_lease_lasts_longer_and_its_old_reservation_is_good_for_nothing(restarts: bool) -> None:
    desk = Desk(slots=1)
    desk.reserve(10_000)
    old = desk.held["reservation"]
    desk.stage.mono_ms += 9_000
    fresh = renew(desk, 10_000)
    desk.stage.mono_ms += 9_000
    if restarts:
        reboot(desk)
    assert code(reserved(desk, STRANGER)) is d.DeclineCode.BUSY
    assert code(desk.ask(desk.assignment(reservation=old))) is d.DeclineCode.UNKNOWN_RESERVATION
    assert desk.ask(desk.assignment(reservation=fresh.id)) == ""


def test_a_renewal_is_the_next_link_of_the_slots_chain_and_closes_the_one_before() -> None:
    desk = Desk(slots=1)
    desk.reserve()
    renew(desk)
    reboot(desk)
    renew(desk)
    first, second, third = chain(desk)
    assert [second.body.closes, third.body.request] == [second.body.request, third.body.closes]
    assert third.body.request == d.open_document(NETWORK, desk.held["renew"], verify_once).id
    assert first.body.closes == NONE


def test_the_chain_goes_on_after_a_renewed_lease_was_released_ran_out_or_was_worked_on() -> None:
    desk = Desk(slots=1)
    desk.reserve()
    renew(desk)
    release = desk.write(d.Release(desk.held["reservation"]))
    desk.send(release)
    desk.reserve(1_000)
    renew(desk, 1_000)
    desk.stage.mono_ms += 1_000
    reboot(desk)
    desk.reserve()
    renew(desk)
    work(desk)
    reboot(desk)
    desk.reserve()
    closes = [x.body.closes for x in chain(desk)]
    assert closes[2] == d.open_document(NETWORK, release, verify_once).id
    assert closes[4] == NONE, "nobody journals that a lease ran out"
    assert closes[6] == desk.held["commitment"]


def test_a_lease_that_ran_out_cannot_be_renewed() -> None:
    desk = Desk(slots=1)
    desk.reserve(1_000)
    desk.stage.mono_ms += 1_000
    assert code(renew(desk)) is d.DeclineCode.UNKNOWN_RESERVATION


def test_a_renewal_is_no_longer_than_a_lease_may_be() -> None:
    desk = desk_at("held")
    fresh = renew(desk, 600_000)
    assert fresh.expires_at - fresh.issued_at == leasing.LEASE_MS_MAX


@pytest.mark.parametrize("restarts", [False, True])
def test_without_work_a_lease_is_renewed_only_so_often(restarts: bool) -> None:
    desk = desk_at("held")
    for _ in range(Caps().renewals):
        assert isinstance(renew(desk).body, d.Reservation)
    if restarts:
        reboot(desk)
    assert code(renew(desk)) is d.DeclineCode.RENEWED_TOO_OFTEN


def test_work_lets_a_lease_be_renewed_as_often_again() -> None:
    desk = Desk(caps=Caps(renewals=1))
    desk.reserve(assignments=3)
    renew(desk)
    work(desk)
    assert isinstance(renew(desk).body, d.Reservation)
    assert code(renew(desk)) is d.DeclineCode.RENEWED_TOO_OFTEN


def test_a_provider_may_let_nothing_be_renewed() -> None:
    desk = Desk(caps=Caps(renewals=0))
    desk.reserve()
    assert code(renew(desk)) is d.DeclineCode.RENEWED_TOO_OFTEN


def test_a_draining_provider_renews_nothing() -> None:
    desk = desk_at("held")
    desk.core.provider.drain()
    assert code(renew(desk)) is d.DeclineCode.DRAINING


# -- caps --------------------------------------------------------------------------------------------------------------


def test_one_requester_holds_only_so_many_slots_without_work() -> None:
    desk = Desk(slots=20)
    for _ in range(Caps().per_requester):
        desk.reserve()
    assert code(reserved(desk)) is d.DeclineCode.IDLE_LEASES
    assert isinstance(reserved(desk, STRANGER).body, d.Reservation)
    desk.assign()
    assert isinstance(reserved(desk).body, d.Reservation)
    assert code(reserved(desk)) is d.DeclineCode.IDLE_LEASES


def test_strangers_together_hold_only_so_many_slots_without_work() -> None:
    desk = Desk(slots=20, caps=Caps(strangers=2))
    strangers = [key_of(f"stranger {i}") for i in range(4)]
    held = [reserved(desk, key).id for key in strangers[:2]]
    assert code(reserved(desk, strangers[2])) is d.DeclineCode.STRANGERS_LEASES
    assert desk.ask(d.Release(held[0]), strangers[0]) == ""
    assert isinstance(reserved(desk, strangers[2]).body, d.Reservation)
    assert code(reserved(desk, strangers[3])) is d.DeclineCode.STRANGERS_LEASES


@pytest.mark.parametrize("restarts", [False, True])
def test_who_has_paid_is_no_stranger(restarts: bool) -> None:
    desk = Desk(slots=20, caps=Caps(strangers=1))
    for step in (Desk.reserve, work, lambda desk: desk.ask(desk.reveal_request()), Desk.agree):
        step(desk)
    assert isinstance(reserved(desk, STRANGER).body, d.Reservation)
    assert code(reserved(desk)) in (d.DeclineCode.STRANGERS_LEASES, d.DeclineCode.NO_CREDIT)
    desk.ask(desk.cheque())
    if restarts:
        reboot(desk)
    for _ in range(3):
        assert isinstance(reserved(desk).body, d.Reservation)


def test_the_caps_hold_between_a_quote_and_its_reservation() -> None:
    desk = Desk(slots=20, caps=Caps(per_requester=1))
    quotes = [desk.ask(desk.probe()) for _ in range(2)]
    answers = [desk.ask(d.ReservationRequest(quote.id, 15_000, 1)) for quote in quotes]
    assert isinstance(answers[0].body, d.Reservation)
    assert code(answers[1]) is d.DeclineCode.IDLE_LEASES


# -- many assignments on one lease -------------------------------------------------------------------------------------


def test_a_lease_carries_as_many_tasks_as_it_is_for_one_after_the_other() -> None:
    desk = Desk(slots=1)
    desk.reserve(assignments=3)
    for _ in range(3):
        assert desk.core.provider.busy_slots == 1
        work(desk)
    assert desk.core.provider.busy_slots == 0
    assert code(desk.ask(desk.assignment())) is d.DeclineCode.UNKNOWN_RESERVATION
    assert len(desk.core.provider._engagements) == 3
    desk.reserve()
    assert chain(desk)[1].body.closes == desk.held["commitment"]


def test_no_two_tasks_are_at_work_on_one_lease() -> None:
    desk = Desk(slots=2)
    desk.reserve(assignments=3)
    desk.assign()
    assert code(desk.ask(desk.assignment(commit_by=2**50))) is d.DeclineCode.BUSY
    desk.ask(d.Abort(desk.held["assignment"], ""))
    desk.assign()
    desk.fetched(None)
    desk.assign()
    assert desk.core.provider.busy_slots == 1


@pytest.mark.parametrize("restarts", [False, True])
def test_a_lease_that_ran_out_during_a_task_ends_with_it(restarts: bool) -> None:
    desk = Desk(slots=1)
    desk.reserve(1_000, assignments=2)
    desk.assign()
    desk.stage.mono_ms += 2_000
    assert code(reserved(desk, STRANGER)) is d.DeclineCode.BUSY
    desk.take(
        desk.core.on_request(desk.stage.now, REQUESTER.public, 1, desk.write(d.Abort(desk.held["assignment"], "")))
    )
    if restarts:
        reboot(desk)
    assert isinstance(reserved(desk, STRANGER).body, d.Reservation)


@pytest.mark.parametrize("restarts", [False, True])
def test_a_lease_renewed_during_a_task_carries_the_next_one(restarts: bool) -> None:
    desk = Desk(slots=1)
    desk.reserve(2_000, assignments=2)
    desk.assign()
    desk.stage.mono_ms += 1_000
    fetch = desk.effects
    assert isinstance(renew(desk, 5_000).body, d.Reservation)
    desk.effects = fetch
    desk.fetched()
    desk.fetched()
    desk.ran()
    desk.stage.mono_ms += 4_000
    if restarts:
        reboot(desk)
    assert code(reserved(desk, STRANGER)) is d.DeclineCode.BUSY
    desk.assign()


def test_a_lease_at_work_cannot_be_released() -> None:
    desk = Desk(slots=1)
    desk.reserve(assignments=2)
    desk.assign()
    assert desk.ask(d.Release(desk.held["reservation"])) == ""
    assert (desk.journaled, desk.core.provider.busy_slots) == ([], 1)


def test_a_further_task_is_taken_only_while_there_is_credit() -> None:
    desk = Desk(credit=1)
    desk.reserve(assignments=3)
    for step in (work, lambda desk: desk.ask(desk.reveal_request()), Desk.agree):
        step(desk)
    assert code(desk.ask(desk.assignment())) is d.DeclineCode.NO_CREDIT
    desk.ask(desk.cheque())
    assert desk.ask(desk.assignment()) == ""


def test_what_stands_in_the_journal_gives_the_lease_back() -> None:
    desk = Desk(slots=1)
    desk.reserve(30_000, assignments=3)
    work(desk)
    reboot(desk)
    assert desk.core.provider.busy_slots == 1
    desk.assign()
    reboot(desk)
    assert code(desk.ask(desk.assignment(commit_by=2**50))) is d.DeclineCode.BUSY
    lease = desk.lease
    assert lease is not None
    assert (lease.state, lease.assignments) == ("working", 1)
