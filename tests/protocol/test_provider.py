"""The provider's side: docs/spec/provider.md."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from p2pcompute.identity.delegation import Capability
from p2pcompute.protocol import engagement, leasing, provider
from p2pcompute.protocol.engagement import TRANSITIONS
from p2pcompute.protocol.machine import (
    Emit,
    Fetch,
    Grant,
    JobOutcome,
    JobStatus,
    Missed,
    Ok,
    Persist,
    Reply,
    Request,
    RunJob,
    SetTimer,
)
from p2pcompute.protocol.reservation import NONE
from p2pcompute.wire import documents as d
from p2pcompute.wire.manifest import Manifest, encode_manifest, manifest_id
from tests.protocol.desk import (
    DATA,
    NONCE,
    REQUESTER,
    REQUESTS,
    STATES,
    STEPS,
    STRANGER,
    Desk,
    code,
    desk_at,
    replace,
)
from tests.protocol.stage import MANIFEST, NETWORK, delegation, key_of, right, terms, verify_once


@pytest.mark.parametrize("where", STEPS)
def test_the_straight_way_goes_through_the_table(where: str) -> None:
    assert desk_at(where).state == {"paid": "closed"}.get(where, where)


@pytest.mark.parametrize("request_", REQUESTS)
@pytest.mark.parametrize("where", STATES)
def test_any_request_in_any_state_is_answered_and_repeating_it_journals_nothing(where: str, request_: str) -> None:
    desk = desk_at(where)
    raw = desk.write(REQUESTS[request_](desk))
    first = desk.send(raw)
    assert first is not None
    assert len(desk.journaled) <= 1
    state = desk.state
    again = desk.send(raw)
    assert desk.journaled == []
    assert desk.state == state
    assert type(first) is type(again)
    if isinstance(first, d.Document) and not isinstance(first.body, d.Decline | d.Quote | d.RootReveal):
        assert first == again


@pytest.mark.parametrize("request_", [r for r in REQUESTS if r != "probe"])
@pytest.mark.parametrize("where", STATES)
def test_a_stranger_moves_nothing_and_learns_nothing(where: str, request_: str) -> None:
    desk = desk_at(where)
    state = desk.state
    answer = desk.ask(REQUESTS[request_](desk), STRANGER)
    assert answer == "" or isinstance(answer.body, d.Decline)
    assert (desk.journaled, desk.state) == ([], state)


@pytest.mark.parametrize("where", STATES)
def test_old_letters_replayed_later_change_nothing(where: str) -> None:
    desk = desk_at(where)
    for name in ("request", "assign", "verdict"):
        if name in desk.held:
            state = desk.state
            desk.send(desk.held[name])
            assert (desk.journaled, desk.state) == ([], state)


@pytest.mark.parametrize("where", STATES)
def test_every_prefix_of_the_journal_gives_a_provider_that_goes_on(where: str) -> None:
    told = desk_at(where)
    journal = list(told.actor.journal)
    for length in range(len(journal) + 1):
        desk = Desk()
        desk.held = dict(told.held)
        desk.actor.journal = journal[:length]
        desk.actor.boot()
        desk.actor.publish(terms(delegation=desk.actor.delegation))
        assert 0 <= desk.core.provider.busy_slots <= 1
        assert desk.core.provider.chain.next_link()[0] == len(desk.core.provider.chain.receipts()) <= 1
        for request in REQUESTS.values():
            desk.ask(request(desk))
        for name in ("request", "assign", "verdict"):
            if name in desk.held:
                desk.send(desk.held[name])
        desk.stage.run(for_ms=1_000)


# -- quoting and reserving -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"engine": "cuda"}, d.DeclineCode.UNSUITABLE),
        ({"memory_bytes_max": 2**30 + 1}, d.DeclineCode.UNSUITABLE),
        ({"device_ms_max": 60_001}, d.DeclineCode.UNSUITABLE),
        ({"delegation": b"junk"}, d.DeclineCode.NOT_AUTHORISED),
        ({"delegation": delegation(key_of("buyer"), STRANGER.public)}, d.DeclineCode.NOT_AUTHORISED),
        ({"delegation": delegation(key_of("b"), REQUESTER.public, Capability.PROVIDE)}, d.DeclineCode.NOT_AUTHORISED),
    ],
)
def test_what_the_offer_does_not_cover_is_declined(changes: dict[str, Any], expected: d.DeclineCode) -> None:
    desk = Desk()
    assert code(desk.ask(replace(desk.probe(), **changes))) is expected


def test_a_quote_states_the_offers_price_and_answers_its_probe() -> None:
    desk = Desk()
    raw = desk.write(desk.probe())
    quote = desk.send(raw)
    assert isinstance(quote, d.Document)
    assert quote.body == d.Quote(d.open_document(NETWORK, raw, verify_once).id, 1_000_000, 0, 100)


def test_nothing_is_quoted_before_there_are_terms_or_while_draining() -> None:
    desk = Desk()
    desk.core.provider.drain()
    assert code(desk.ask(desk.probe())) is d.DeclineCode.DRAINING
    desk.core.provider.leasing.draining, desk.core.provider.leasing.paused = False, True
    assert code(desk.ask(desk.probe())) is d.DeclineCode.DRAINING
    desk.actor.boot()
    assert code(desk.ask(desk.probe())) is d.DeclineCode.DRAINING


def test_a_quote_buys_one_reservation_for_the_one_who_asked() -> None:
    desk = Desk()
    quote = desk.ask(desk.probe())
    assert code(desk.ask(d.ReservationRequest(quote.id, 1, 1), STRANGER)) is d.DeclineCode.UNKNOWN_QUOTE
    assert isinstance(desk.ask(d.ReservationRequest(quote.id, 1, 1)).body, d.Reservation)
    assert code(desk.ask(d.ReservationRequest(quote.id, 1, 1))) is d.DeclineCode.UNKNOWN_QUOTE


def test_a_quote_runs_out() -> None:
    desk = Desk()
    quote = desk.ask(desk.probe())
    desk.stage.mono_ms += 2_000
    assert code(desk.ask(d.ReservationRequest(quote.id, 1, 1))) is d.DeclineCode.UNKNOWN_QUOTE


def test_a_lease_is_no_longer_than_the_provider_allows() -> None:
    desk = Desk()
    quote = desk.ask(desk.probe())
    reservation = desk.ask(d.ReservationRequest(quote.id, 600_000, 1))
    assert reservation.expires_at - reservation.issued_at == leasing.LEASE_MS_MAX


def test_a_full_house_is_busy_until_a_lease_runs_out() -> None:
    desk = Desk(slots=1)
    spare = desk.ask(desk.probe())
    desk.reserve(1_000)
    assert code(desk.ask(desk.probe())) is d.DeclineCode.BUSY
    assert code(desk.ask(d.ReservationRequest(spare.id, 1, 1))) is d.DeclineCode.BUSY
    desk.stage.mono_ms += 1_000
    assert isinstance(desk.ask(desk.probe()).body, d.Quote)
    assert desk.state == "none"
    assert code(desk.ask(desk.assignment())) is d.DeclineCode.UNKNOWN_RESERVATION


def test_a_lease_that_ran_out_before_a_restart_cannot_be_assigned_after_it() -> None:
    desk = Desk(slots=1)
    desk.reserve(1_000)
    stale = dict(desk.held)
    desk.stage.mono_ms += 1_500
    desk.reserve(30_000)
    fresh, desk.held = desk.held, stale
    desk.actor.boot()
    desk.actor.publish(terms(slots=1))
    assert code(desk.ask(desk.assignment())) is d.DeclineCode.UNKNOWN_RESERVATION
    desk.held = fresh
    desk.assign()
    assert desk.core.provider.busy_slots == 1


def test_reservations_of_a_slot_form_a_chain_across_restarts() -> None:
    desk = Desk(slots=1)
    bodies = []
    for i in range(3):
        desk.reserve()
        assert desk.lease is not None
        bodies.append(desk.lease.reservation)
        release = desk.write(d.Release(desk.held["reservation"]))
        desk.send(release)
        desk.held[f"release {i}"] = d.open_document(NETWORK, release, verify_once).id
        desk.actor.boot()
        desk.actor.publish(terms(slots=1))
    assert [x.body.n for x in bodies] == [0, 1, 2]
    assert [x.body.previous for x in bodies] == [NONE, bodies[0].id, bodies[1].id]
    assert [x.body.closes for x in bodies] == [NONE, desk.held["release 0"], desk.held["release 1"]]


def test_a_memory_full_of_open_engagements_takes_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider, "ENGAGEMENTS_MAX", 1)
    desk = Desk(slots=4)
    desk.reserve()
    spare = dict(desk.held)
    desk.reserve()
    desk.assign()
    quote = desk.ask(desk.probe())
    assert code(desk.ask(d.ReservationRequest(quote.id, 1, 1))) is d.DeclineCode.BUSY
    assert code(desk.ask(desk.assignment(reservation=spare["reservation"]))) is d.DeclineCode.BUSY
    desk.ask(d.Abort(desk.held["assignment"], ""))
    assert desk.ask(desk.assignment(reservation=spare["reservation"])) == ""
    assert len(desk.core.provider._engagements) == 1


# -- assigning and running -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"price_per_device_s": 999_999}, d.DeclineCode.UNSUITABLE),
        ({"price_minimum": 99}, d.DeclineCode.UNSUITABLE),
        ({"price_ceiling": 99}, d.DeclineCode.UNSUITABLE),
        ({"commit_by": 1}, d.DeclineCode.TOO_LATE),
        ({"reservation": b"?" * 32}, d.DeclineCode.UNKNOWN_RESERVATION),
    ],
)
def test_an_assignment_off_the_quoted_terms_is_declined(changes: dict[str, Any], expected: d.DeclineCode) -> None:
    desk = desk_at("held")
    assert code(desk.ask(desk.assignment(**changes))) is expected
    assert desk.state == "held"


def test_an_assignment_below_the_quoted_price_of_a_gigabyte_is_declined() -> None:
    desk = desk_at("held", price_per_gb=7)
    assert code(desk.ask(desk.assignment(price_per_gb=6))) is d.DeclineCode.UNSUITABLE
    assert desk.ask(desk.assignment(price_per_gb=7)) == ""


def failure(desk: Desk) -> d.Failure:
    letter = desk.effect(Request)
    document = d.open_document(NETWORK, letter.frame, verify_once)
    assert isinstance(document.body, d.Failure)
    return document.body


def test_inputs_that_cannot_be_had_fail_the_assignment_and_free_the_slot() -> None:
    desk = desk_at("failed", slots=1)
    assert failure(desk).code is d.FailureCode.INPUT_UNAVAILABLE
    assert desk.core.provider.busy_slots == 0


OTHER: Manifest = replace(MANIFEST, name="other")


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        (b"junk", "manifest"),
        (encode_manifest(OTHER), "not the one assigned"),
    ],
)
def test_a_manifest_other_than_the_assigned_one_is_refused(manifest: bytes, reason: str) -> None:
    desk = desk_at("fetching")
    desk.fetched(manifest)
    assert failure(desk).code is d.FailureCode.REFUSED
    assert reason in failure(desk).reason


@pytest.mark.parametrize(
    ("changes", "ceiling", "reason"),
    [
        ({"memory_bytes_max": 2**31}, 10**9, "larger than the offer"),
        ({"device_ms_max": 60_001}, 10**9, "larger than the offer"),
        ({"device_ms_max": 1_001}, 1_000_000, "price ceiling"),
    ],
)
def test_a_manifest_beyond_the_terms_is_refused(changes: dict[str, Any], ceiling: int, reason: str) -> None:
    data = encode_manifest(replace(MANIFEST, **changes))
    desk = desk_at("held")
    desk.ask(desk.assignment(manifest=manifest_id(data), price_ceiling=ceiling))
    desk.fetched(data)
    assert reason in failure(desk).reason


def test_a_provider_restarted_without_an_offer_gives_its_assignments_up() -> None:
    desk = desk_at("fetching")
    desk.actor.offer = None
    desk.actor.queue.clear()
    desk.actor.boot()
    desk.effects = list(desk.actor.queue)
    desk.fetched()
    assert failure(desk).code is d.FailureCode.SHUTTING_DOWN


@pytest.mark.parametrize(
    ("status", "expected"),
    [(JobStatus.REFUSED, d.FailureCode.REFUSED), (JobStatus.CRASHED, d.FailureCode.CRASHED)],
)
def test_a_run_without_an_outcome_is_a_failure(status: JobStatus, expected: d.FailureCode) -> None:
    desk = desk_at("running")
    desk.ran(JobOutcome(status, reason="ü" * 600))
    assert failure(desk).code is expected
    assert len(failure(desk).reason.encode()) <= 512


def test_inputs_are_fetched_by_root_from_the_requester_without_dialling() -> None:
    desk = desk_at("fetching")
    assert desk.effect(Fetch).peer == REQUESTER.public
    desk.fetched()
    fetch = desk.effect(Fetch)
    assert (fetch.peer, fetch.addresses) == (REQUESTER.public, ())
    assert fetch.blobs == ((b"p" * 32, 100), (b"x" * 32, 32))


def test_an_aborted_run_is_cancelled_and_its_outcome_dropped() -> None:
    desk = desk_at("running", slots=1)
    token = desk.effect(RunJob).token
    desk.ask(d.Abort(desk.held["assignment"], ""))
    assert desk.core.provider.busy_slots == 0
    assert desk.core.on_job(desk.stage.now, token, JobOutcome(JobStatus.OK, right(DATA), 1)) == []


# -- telling, opening, being paid ----------------------------------------------------------------------------------


def test_a_commitment_is_told_again_until_it_is_acknowledged_or_old() -> None:
    desk = desk_at("committed")
    told = 1
    for _ in range(1_000):
        request = desk.effect(Request)
        if request is None:
            break
        told += 1
        timer = desk.core.on_response(desk.stage.now, request.request_id, Missed.TIMEOUT)[0]
        desk.stage.mono_ms = timer.at_mono_ms
        desk.take(desk.core.on_timer(desk.stage.now, timer.key))
    assert told == provider.LETTER_MS // provider.RETRY_MS + 1
    assert desk.state == "closed"


def ask_for_verdict(desk: Desk) -> Request | None:
    """Let time pass until the provider asks what became of its commitment; None when it waits no more."""
    timers = [e for e in desk.effects if isinstance(e, SetTimer) and e.at_mono_ms is not None]
    assert timers[-1].at_mono_ms is not None
    desk.stage.mono_ms = timers[-1].at_mono_ms
    desk.take(desk.core.on_timer(desk.stage.now, timers[-1].key))
    asked: Request | None = desk.effect(Request)
    assert asked is None or d.open_document(NETWORK, asked.frame, verify_once).id == desk.held["commitment"]
    return asked


@pytest.mark.parametrize("outcome", [Ok(b""), Missed.TIMEOUT])
def test_a_verdict_that_never_comes_is_asked_for_ever_more_rarely_and_ends_the_wait(outcome: Any) -> None:
    desk, times = desk_at("acknowledged"), list[int]()
    while (request := ask_for_verdict(desk)) is not None:
        times.append(desk.stage.mono_ms)
        desk.take(desk.core.on_response(desk.stage.now, request.request_id, outcome))
    assert times[0] == provider.ASK_MS_MIN
    pauses = [after - before for before, after in itertools.pairwise(times)]
    assert pauses[:-1] == [min(provider.ASK_MS_MIN << i, provider.ASK_MS_MAX) for i in range(1, len(pauses))]
    assert len(times) < 40
    assert desk.stage.mono_ms == engagement.VERDICT_WAIT_MS + provider.LETTER_MS
    assert (desk.state, desk.core.ledger.unpaid(REQUESTER.public)) == ("closed", 0)


WORDS: dict[str, Callable[[Desk], msgspec.Struct]] = {
    "outvoted": lambda desk: desk.verdict(judgement=d.Judgement.OUTVOTED, price=0),
    "undecided": lambda desk: desk.verdict(judgement=d.Judgement.UNDECIDED, agreed_roots=(), price=0),
    "refuted": lambda desk: desk.verdict(judgement=d.Judgement.REFUTED, agreed_roots=(), price=0),
    "abort": lambda desk: d.Abort(desk.held["assignment"], "others were quicker"),
}


@pytest.mark.parametrize("where", ["committed", "awaiting verdict"])
@pytest.mark.parametrize("word", WORDS)
def test_who_is_told_what_became_of_its_commitment_counts_it_no_more(word: str, where: str) -> None:
    desk = desk_at(where)
    request = desk.effect(Request) or ask_for_verdict(desk)
    raw = desk.write(WORDS[word](desk))
    desk.take(desk.core.on_response(desk.stage.now, request.request_id, Ok(raw)))
    assert (desk.state, desk.core.ledger.unpaid(REQUESTER.public)) == ("closed", 0)


@pytest.mark.parametrize("word", WORDS)
def test_a_stranger_and_a_word_about_something_else_end_no_wait(word: str) -> None:
    desk = desk_at("committed")
    raws = [desk.write(WORDS[word](desk), STRANGER)]
    desk.held["commitment"], real = b"?" * 32, desk.held["commitment"]
    desk.held["assignment"] = b"?" * 32
    raws.append(desk.write(WORDS[word](desk)))
    desk.held["commitment"] = real
    request = desk.effect(Request)
    for raw in raws:
        desk.take(desk.core.on_response(desk.stage.now, request.request_id, Ok(raw)))
        assert (desk.state, desk.core.ledger.unpaid(REQUESTER.public)) == ("awaiting verdict", 50_000)
        request = ask_for_verdict(desk)
        assert request is not None


def test_a_provider_that_forgot_in_a_crash_what_it_was_told_asks_at_once_and_for_ten_minutes() -> None:
    desk = desk_at("outvoted")
    desk.stage.mono_ms += 3_600_000
    desk.actor.boot()
    assert desk.state == "committed"
    desk.effects = list(desk.actor.queue)
    first = ask_for_verdict(desk)
    assert first is not None
    assert desk.stage.mono_ms == 3_600_000
    desk.take(desk.core.on_response(desk.stage.now, first.request_id, Missed.CLOSED))
    again = ask_for_verdict(desk)
    assert again is not None
    raw = desk.write(WORDS["outvoted"](desk))
    desk.take(desk.core.on_response(desk.stage.now, again.request_id, Ok(raw)))
    assert (desk.state, desk.core.ledger.unpaid(REQUESTER.public)) == ("closed", 0)


def test_an_opening_needs_the_commitment_among_those_shown() -> None:
    desk = desk_at("committed")
    hidden = d.RevealRequest(desk.held["commitment"], (b"?" * 32,), NONCE)
    assert code(desk.ask(hidden)) is d.DeclineCode.UNSUITABLE
    opening = desk.ask(desk.reveal_request())
    assert opening.body.commitment == desk.held["commitment"]


@pytest.mark.parametrize(
    "changes",
    [
        {"price": 99},
        {"price": 1_000_001},
        {"agreed_roots": (b"?" * 32,)},
        {"judgement": d.Judgement.KERNEL_AT_FAULT},
    ],
)
def test_a_verdict_that_does_not_fit_brings_no_receipt_and_no_data(changes: dict[str, Any]) -> None:
    desk = desk_at("awaiting verdict")
    assert code(desk.ask(desk.verdict(**changes))) is d.DeclineCode.UNSUITABLE
    assert (desk.journaled, desk.effect(Grant), desk.state) == ([], None, "awaiting verdict")


def test_a_receipt_is_journaled_before_the_outputs_are_granted_and_before_it_leaves() -> None:
    desk = desk_at("unpaid")
    order = [type(e) for e in desk.effects if isinstance(e, Persist | Grant | Reply)]
    assert order == [Persist, Grant, Reply]
    assert desk.effect(Grant).roots == tuple(root for root, _ in right(DATA))


def test_outputs_are_granted_again_after_a_restart() -> None:
    desk = desk_at("unpaid")
    before = desk.effect(Grant)
    desk.actor.queue.clear()
    desk.actor.boot()
    assert before in desk.actor.queue


def test_a_trap_is_paid_without_data() -> None:
    desk = desk_at("trapped")
    verdict = desk.verdict(judgement=d.Judgement.KERNEL_AT_FAULT, agreed_roots=(), price=100)
    receipt = desk.ask(verdict)
    assert (receipt.body.price, receipt.body.output_roots) == (100, ())


@pytest.mark.parametrize(
    "changes", [{"cumulative": 49_999}, {"payee": b"?" * 32}, {"receipt": b"?" * 32}], ids=["short", "payee", "receipt"]
)
def test_a_cheque_that_does_not_pay_is_declined_and_a_good_one_still_counts(changes: dict[str, Any]) -> None:
    desk = desk_at("unpaid")
    assert code(desk.ask(desk.cheque(**changes))) is d.DeclineCode.UNSUITABLE
    assert desk.state == "unpaid"
    assert desk.ask(desk.cheque()) == ""
    assert desk.core.ledger.account(REQUESTER.public).owed_to_me == 0


def test_a_debtor_beyond_its_credit_is_declined_until_it_pays() -> None:
    desk = desk_at("unpaid", credit=50_000)
    assert code(desk.ask(desk.probe())) is d.DeclineCode.NO_CREDIT
    desk.ask(desk.cheque())
    assert isinstance(desk.ask(desk.probe()).body, d.Quote)


def test_a_quote_from_before_the_debt_is_no_way_around_it() -> None:
    desk = Desk(credit=50_000)
    quote = desk.ask(desk.probe())
    for name, step in STEPS.items():
        step(desk)
        if name == "unpaid":
            break
    assert code(desk.ask(d.ReservationRequest(quote.id, 1, 1))) is d.DeclineCode.NO_CREDIT
    desk.ask(desk.cheque())
    assert isinstance(desk.ask(d.ReservationRequest(quote.id, 1, 1)).body, d.Reservation)


def test_a_restart_within_the_same_millisecond_reuses_no_sequence() -> None:
    desk = desk_at("held")
    assert desk.lease is not None
    last = desk.lease.reservation.sequence
    desk.actor.boot()
    assert desk.core.post.write(desk.stage.now, desk.probe(), lifetime_ms=1).sequence > last


def test_receipts_form_a_chain_across_restarts() -> None:
    desk = desk_at("paid")
    desk.actor.boot()
    desk.actor.publish(terms())
    for step in list(STEPS.values())[:-1]:
        step(desk)
    first, second = desk.core.provider.chain.receipts()
    assert (first.body.n, first.body.previous) == (0, NONE)
    assert (second.body.n, second.body.previous) == (1, first.id)


def test_every_transition_of_the_table_leads_somewhere_known() -> None:
    states = {state for state, _ in TRANSITIONS}
    assert set(TRANSITIONS.values()) <= states | {"closed"}
    assert "closed" not in states
    assert states == {"fetching", "running", "failed", "committed", "awaiting verdict", "unpaid"}


def test_a_requester_that_comes_back_is_told_what_it_missed() -> None:
    desk = desk_at("committed")
    letters = [e for e in desk.core.provider.on_peer_up(desk.stage.now, REQUESTER.public) if isinstance(e, Request)]
    assert len(letters) == 1
    assert desk.core.provider.on_peer_up(desk.stage.now, STRANGER.public) == []
    assert not any(isinstance(e, Emit) for e in letters)
