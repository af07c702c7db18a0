"""What a provider can lose: K3 to K8 of docs/spec/market.md, by the letters of requesters."""

from __future__ import annotations

import msgspec
import pytest

from p2pcompute.identity.delegation import Capability
from p2pcompute.identity.keys import KeyPair
from p2pcompute.protocol.engagement import Engagement
from p2pcompute.protocol.ledger import Credit
from p2pcompute.protocol.machine import Grant, JobOutcome, JobStatus
from p2pcompute.wire import documents as d
from p2pcompute.wire.manifest import Buffer, Comparison, Role, encode_manifest
from tests.protocol.desk import REQUESTER, STEPS, Desk, code, desk_at
from tests.protocol.stage import MANIFEST, delegation, key_of, replaced, right

CEILING = 1_000_000
"""Of the task that a Desk assigns."""


def risking(first: int, paying: int, strangers: int, *, slots: int = 4) -> Desk:
    desk = Desk(slots=slots)
    desk.core.ledger.credit = Credit(first, paying, strangers)
    return desk


def quoted(desk: Desk, key: KeyPair = REQUESTER) -> d.AnyDocument:
    probe = replaced(desk.probe(), delegation=delegation(key_of("buyer"), key.public, Capability.REQUEST))
    answer: d.AnyDocument = desk.ask(probe, key)
    return answer


def reserved(desk: Desk, key: KeyPair) -> d.AnyDocument:
    answer: d.AnyDocument = desk.ask(d.ReservationRequest(quoted(desk, key).id, 15_000, 1), key)
    return answer


def unpaid(desk: Desk) -> int:
    sum_: int = desk.core.ledger.unpaid(REQUESTER.public)
    return sum_


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize(
    ("where", "sum_"),
    [
        *(("held", 0), ("running", 0), ("committed", 50_000), ("awaiting verdict", 50_000), ("unpaid", 50_000)),
        *(("paid", 0), ("failed", 0), ("crashed", 0), ("aborted", 0), ("trapped", 100)),
    ],
)
def test_work_counts_from_the_commitment_until_it_is_paid_or_ends(where: str, sum_: int, *, restarts: bool) -> None:
    desk = desk_at(where)
    if restarts:
        desk.actor.boot()
    assert unpaid(desk) == sum_


def test_work_that_is_outvoted_given_up_or_never_judged_stops_counting() -> None:
    assert unpaid(desk_at("outvoted")) == 0
    desk = desk_at("committed")
    desk.ask(d.Abort(desk.held["assignment"], ""))
    assert unpaid(desk) == 0
    desk = desk_at("awaiting verdict")
    desk.actor.do(desk.effects)
    e: Engagement | None = desk.engagement
    assert e is not None
    assert e.commitment is not None
    desk.stage.mono_ms += e.verdict_by_wall_ms - e.commitment.issued_at
    desk.core.on_timer(desk.stage.now, f"provider.tell:{e.token}")
    assert (desk.state, unpaid(desk)) == ("closed", 0)


def test_a_claim_counts_for_no_more_than_the_ceiling() -> None:
    desk = desk_at("running")
    desk.ran(JobOutcome(JobStatus.OK, right(encode_manifest(MANIFEST)), device_us=10**9))
    assert unpaid(desk) == CEILING


def test_what_is_at_work_together_grows_with_what_was_paid_and_no_faster() -> None:
    desk = risking(2 * CEILING - 50_000, 9 * CEILING, 100 * CEILING)
    desk.reserve()
    assert code(quoted(desk)) is d.DeclineCode.NO_CREDIT
    for name, step in list(STEPS.items())[1:]:
        step(desk)
        assert name != "committed" or isinstance(quoted(desk).body, d.Quote)
    assert desk.core.ledger.account(REQUESTER.public).covered == 50_000
    desk.reserve()
    desk.reserve()
    answer = quoted(desk)
    assert code(answer) is d.DeclineCode.NO_CREDIT
    assert f"may cost {2 * CEILING} micro-credits" in answer.body.reason
    assert f"all of them {2 * CEILING}" in answer.body.reason


def test_a_dearer_assignment_than_was_probed_for_needs_room_of_its_own() -> None:
    desk = risking(2 * CEILING, 2 * CEILING, 100 * CEILING)
    desk.reserve()
    desk.reserve()
    assert code(desk.ask(desk.assignment(price_ceiling=CEILING + 1))) is d.DeclineCode.NO_CREDIT
    assert desk.ask(desk.assignment()) == ""


def test_a_refusal_says_what_is_owed_and_how_to_pay() -> None:
    desk = desk_at("unpaid", credit=50_000)
    answer = quoted(desk)
    assert code(answer) is d.DeclineCode.NO_CREDIT
    assert "50000 micro-credits of work done for you are unpaid, and 50000 may be" in answer.body.reason
    assert "cheque" in answer.body.reason


def test_strangers_together_hold_no_more_than_their_cap_and_who_paid_for_as_much_is_none_of_them() -> None:
    desk = risking(CEILING, 9 * CEILING, 2 * CEILING)
    for step in STEPS.values():
        step(desk)
    desk.core.ledger.account(REQUESTER.public).covered += CEILING  # of earlier tasks
    assert [type(reserved(desk, key_of(name)).body) for name in ("a", "b")] == [d.Reservation] * 2
    assert code(quoted(desk, key_of("c"))) is d.DeclineCode.NO_CREDIT
    assert isinstance(quoted(desk).body, d.Quote)
    desk.stage.mono_ms += 16_000  # their leases run out
    assert isinstance(quoted(desk, key_of("c")).body, d.Quote)


def test_a_result_that_is_compared_by_value_is_not_shown_beyond_the_credit() -> None:
    out = Buffer("y", "f32", (8,), Role.OUT, comparison=Comparison.TOLERANCE, ulp_max=1)
    manifest = msgspec.structs.replace(MANIFEST, buffers=(MANIFEST.buffers[0], out))
    for credit, shown in ((49_999, False), (50_000, True)):
        desk = desk_at("running", credit=credit)
        e = desk.engagement
        assert e is not None
        e.manifest = manifest
        desk.ran()
        answer = desk.ask(desk.reveal_request())
        assert isinstance(answer.body, d.RootReveal if shown else d.Decline)
        assert (desk.effect(Grant) is not None) is shown


def test_who_uses_its_credit_up_is_no_partner_and_its_gossip_counts_less() -> None:
    desk = desk_at("unpaid")
    peer = REQUESTER.public
    before, opinion = desk.core.usefulness([peer])[peer], desk.core.opinion(peer)
    desk.core.ledger.credit = Credit(50_000, 50_000, 50_000)
    assert (before, opinion) == (2.0, 0.0)
    assert desk.core.usefulness([peer])[peer] == 0.0
    assert desk.core.opinion(peer) < 0
    desk.ask(desk.cheque())
    assert desk.core.opinion(peer) == 0.0
