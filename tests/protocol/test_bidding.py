"""Demands and Proposals: rules B12 to B14 and C8 to C10 of docs/spec/market.md."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pcompute.identity.delegation import Capability, Delegation, Revocation
from p2pcompute.identity.keys import KeyPair
from p2pcompute.protocol import bidding, records
from p2pcompute.protocol.book import Book
from p2pcompute.protocol.commands import Publish, Withdraw
from p2pcompute.protocol.core import offers_topic
from p2pcompute.protocol.machine import Now, Ruling
from p2pcompute.protocol.matching import Needs
from p2pcompute.protocol.shards import shard_of
from p2pcompute.wire import documents as d
from p2pcompute.wire import limits
from tests.protocol.stage import NETWORK, WALL_MS, Actor, Stage, at_rest, key_of, replaced, terms, verify_once
from tests.protocol.test_book import LIFE_MS, NODES, NOW, OPERATORS, book, lend, ruling, write

JOB = b"j" * 16


def demand(tag: int = 0, **changes: Any) -> d.Demand:
    body = d.Demand(bytes([tag]) * 16, b"", ("/stage",), Needs(price_per_device_s_max=5), 2, 1_000, WALL_MS + 10**6)
    return replaced(body, **changes)


def resting(b: Book) -> dict[tuple[bytes, bytes], tuple[bytes, bytes]]:
    return {(x.document.signer, x.document.body.tag): (x.document.id, x.operator) for x in b.demands}


# -- resting -----------------------------------------------------------------------------------------------------------


def test_a_newer_demand_replaces_an_older_one_of_its_tag_only() -> None:
    b = book()
    first, second, other = (write(NODES[0], demand(tag), at=at) for tag, at in ((0, 0), (0, 5), (1, 0)))
    assert [ruling(b, raw) for raw in (first, other, second, first)] == [Ruling.ACCEPT] * 3 + [Ruling.IGNORE]
    assert len(b.demands) == 2
    assert b.index().find(d.open_document(NETWORK, first, verify_once).id[:16]) is None


def test_a_cancel_ends_the_demand_of_its_tag_and_leaves_the_offer() -> None:
    b = book()
    for raw in (write(NODES[0], terms()), write(NODES[0], demand(0)), write(NODES[0], demand(1))):
        assert ruling(b, raw) is Ruling.ACCEPT
    assert ruling(b, write(NODES[0], d.Cancel(bytes(16)), at=1)) is Ruling.ACCEPT
    assert ruling(b, write(NODES[0], demand(0))) is Ruling.IGNORE
    assert [x.document.body.tag[0] for x in b.demands] == [1]
    assert len(b) == 1
    assert ruling(b, write(NODES[0], d.Cancel(), at=2)) is Ruling.ACCEPT
    assert (len(b), len(b.demands)) == (0, 1)


@pytest.mark.parametrize(
    ("body", "options", "expected"),
    [
        (demand(), {"lifetime_ms": LIFE_MS + 1}, Ruling.REJECT),
        (demand(delegation=b"junk"), {}, Ruling.REJECT),
        (demand(delegation=lend(OPERATORS[0], NODES[1], 0)), {}, Ruling.IGNORE),
        (demand(), {"at": -LIFE_MS}, Ruling.IGNORE),
    ],
)
def test_what_is_no_demand_does_not_rest(body: d.Demand, options: dict[str, int], expected: Ruling) -> None:
    b = book()
    assert ruling(b, write(NODES[0], body, **options)) is expected
    assert len(b.demands) == 0


def test_a_revoked_requesters_demands_are_void() -> None:
    b = book()
    b.judge(NOW, write(NODES[0], demand(delegation=lend(OPERATORS[0], NODES[0], 0))))
    b.judge(NOW, write(NODES[1], demand(delegation=lend(OPERATORS[0], NODES[1], 0))))
    b.judge(NOW, write(OPERATORS[0], Revocation(NODES[0].public), at=1))
    assert [x.document.signer for x in b.demands] == [NODES[1].public]


def test_a_demand_ends_with_its_time() -> None:
    b = book()
    raw = write(NODES[0], demand())
    b.judge(NOW, raw)
    b.expire(Now(0, WALL_MS + LIFE_MS - 1))
    assert len(b.demands) == 1
    b.expire(Now(0, WALL_MS + LIFE_MS))
    assert len(b.demands) == 0
    assert raw not in b._raws


def test_of_an_operator_the_least_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DEMANDS_PER_OPERATOR_MAX", 2)
    rows = [write(NODES[0], demand(tag), at=tag) for tag in range(4)]
    for order in (rows, rows[::-1]):
        b = book()
        for raw in order:
            b.judge(NOW, raw)
        assert sorted(x.document.body.tag[0] for x in b.demands) == [2, 3]


def test_in_a_full_book_the_operator_with_most_demands_loses_its_least(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DEMANDS_MAX", 3)
    b = book()
    for raw in (write(NODES[0], demand(0), at=9), *(write(NODES[1], demand(tag), at=tag) for tag in range(3))):
        b.judge(NOW, raw)
    assert {key[0]: 0 for key in resting(b)}.keys() == {NODES[0].public, NODES[1].public}
    assert sorted(x.document.body.tag[0] for x in b.demands if x.document.signer == NODES[1].public) == [1, 2]


@settings(max_examples=60)
@given(st.data())
def test_the_same_documents_in_any_order_and_number_leave_the_same_demands(data: st.DataObject) -> None:
    pool: list[bytes] = []
    for node in NODES[:2]:
        for at in (0, 2, 5):
            for tag in (0, 1):
                delegation = data.draw(st.sampled_from((b"", lend(OPERATORS[0], node, 0))))
                pool.append(
                    write(node, demand(tag, delegation=delegation), at=at, sequence=data.draw(st.integers(1, 2)))
                )
        pool += [write(node, d.Cancel(bytes(16)), at=at) for at in data.draw(st.sets(st.integers(1, 6), max_size=2))]
        pool += [write(node, terms(), at=1), write(node, d.Cancel(), at=3)]
    pool.append(write(OPERATORS[0], Revocation(NODES[0].public), at=3))
    pool = data.draw(st.lists(st.sampled_from(pool), unique=True))
    states = []
    for row in (pool, data.draw(st.permutations(pool)), data.draw(st.permutations(pool + pool[:3]))):
        b = book()
        for raw in row:
            b.judge(Now(0, WALL_MS + 10), raw)
        states.append((resting(b), len(b)))
    assert states[0] == states[1] == states[2]


# -- answering ---------------------------------------------------------------------------------------------------------


def scene(*, floor: int = 400_000, cap: int = 500_000, **options: Any) -> tuple[Stage, Actor, list[Actor]]:
    """Two providers at a million, and a requester that pays half of it."""
    stage = Stage()
    row = stage.providers(2, price_per_device_s=1_000_000)
    for p in row:
        assert p.offer is not None
        p.do(p.core.on_command(stage.now, Publish(p.offer, floor=floor)))
    r = stage.actor("requester")
    needs = Needs(price_per_device_s_max=cap)
    stage.submit(r, **{"needs": needs, "addresses": ("/stage",), "timeout_ms": 300_000, **options})
    return stage, r, row


def spread(stage: Stage, r: Actor) -> list[d.AnyDocument]:
    """Everybody hears the demands of the requester."""
    found = [x.document for x in r.core.book.demands]
    for actor in stage.actors.values():
        for document in found:
            actor.core.judge_gossip(stage.now, offers_topic(NETWORK), document.raw, r.peer)
    return found


def demanded(stage: Stage, r: Actor) -> list[d.AnyDocument]:
    """Run until the requester states its demand, and spread it."""
    stage.run(lambda: len(r.core.book.demands) > 0, for_ms=60_000)
    return spread(stage, r)


def test_who_finds_nobody_states_a_demand_and_is_served_at_its_price() -> None:
    stage, r, row = scene()
    (stated,) = demanded(stage, r)
    assert (stated.body.quantity, stated.body.needs.price_per_device_s_max) == (2, 500_000)
    assert len(r.event("job.waiting")) == bidding.DEMAND_ROUNDS
    stage.run(lambda: at_rest(r, JOB), for_ms=200_000)
    job = r.core.requester.jobs.get(JOB)
    assert job is not None
    assert job.state == "done"
    prices = {e.fields["price_per_device_s"] for e in r.event("job.assigned")}
    assert prices == {500_000}
    assert len(r.core.book.demands) == 0, "it was taken back"
    assert all(len(p.records(records.Issued)) == 1 for p in row)


def test_below_its_floor_nobody_proposes() -> None:
    stage, r, _ = scene(floor=500_001)
    demanded(stage, r)
    stage.run(for_ms=20_000)
    assert r.event("job.proposal") == []


def test_without_a_floor_a_provider_keeps_its_price() -> None:
    stage, r, _ = scene(floor=0)
    demanded(stage, r)
    stage.run(for_ms=20_000)
    assert r.event("job.proposal") == []


def test_capacity_that_is_not_offered_is_proposed() -> None:
    stage = Stage()
    row = stage.providers(2)
    for p in row:
        p.do(p.core.on_command(stage.now, Withdraw()))
    r = stage.actor("requester")
    stage.submit(r, addresses=("/stage",), timeout_ms=300_000)
    demanded(stage, r)
    stage.run(lambda: at_rest(r, JOB), for_ms=200_000)
    job = r.core.requester.jobs.get(JOB)
    assert job is not None
    assert job.state == "done"
    assert {e.fields["peer"] for e in r.event("job.proposal")} == {p.peer for p in row}


def test_who_is_not_met_by_anything_else_than_the_price_is_not_answered() -> None:
    stage, r, _ = scene(needs=Needs(price_per_device_s_max=500_000, regions=("elsewhere",)))
    demanded(stage, r)
    stage.run(for_ms=20_000)
    assert r.event("job.proposal") == []


def test_the_terms_of_a_proposal_are_for_its_demand_alone() -> None:
    stage, r, row = scene()
    (stated,) = demanded(stage, r)
    stage.run(lambda: bool(r.event("job.proposal")), for_ms=30_000)
    proposer = row[0].core.provider.leasing.proposer

    def probe(key: KeyPair, answered: bytes) -> d.AnyDocument:
        author = d.Author(NETWORK, key.public, bytes(8), key.sign)
        return author.write(stage.now.wall_ms, d.Probe(b"", "", 1, 1, 1, (), answered), lifetime_ms=1_000)

    special = proposer.terms_for(stage.now, probe(r.key, stated.id))
    assert special is not None
    assert special.price_per_device_s == 500_000
    assert proposer.terms_for(stage.now, probe(r.key, b"")) is None
    assert proposer.terms_for(stage.now, probe(key_of("stranger"), stated.id)) is None
    assert proposer.terms_for(Now(0, stated.expires_at), probe(r.key, stated.id)) is None


def test_one_proposal_of_an_operator_and_so_many_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PROPOSALS_PER_DEMAND_MAX", 1)
    stage, r, row = scene()
    (stated,) = demanded(stage, r)
    bidder = r.core.requester._desk.bidder
    job = r.core.requester.jobs.get(JOB)
    assert job is not None
    offer = terms(delegation=row[0].delegation, price_per_device_s=1)

    def propose(actor: Actor, offer: d.Offer) -> bool:
        return bidder.take(
            stage.now, job, actor.core.post.write(stage.now, d.Proposal(stated.id, offer), lifetime_ms=1)
        )

    assert not propose(row[0], terms(delegation=row[1].delegation, price_per_device_s=1)), "another's delegation"
    assert not propose(row[0], terms(delegation=b"junk", price_per_device_s=1))
    assert not propose(row[0], terms(delegation=row[0].delegation)), "dearer than the limit"
    assert propose(row[0], offer)
    assert not propose(row[0], offer)
    assert not propose(row[1], terms(delegation=row[1].delegation, price_per_device_s=1)), "one is enough here"


def test_a_provider_answers_so_many_demands_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bidding, "ANSWERED_PER_MINUTE_MAX", 3)
    stage = Stage()
    (p,) = stage.providers(1)
    assert p.offer is not None
    p.do(p.core.on_command(stage.now, Publish(p.offer, floor=1)))
    for i in range(5):
        p.core.book.judge(stage.now, write(key_of(f"buyer {i}"), demand(i)))
    leasing = p.core.provider.leasing
    assert len(leasing.propose(stage.now, p.core.book)) == 3
    assert leasing.propose(Now(59_999, WALL_MS + 59_999), p.core.book) == []
    assert len(leasing.propose(Now(60_000, WALL_MS + 60_000), p.core.book)) == 2
    assert leasing.propose(Now(200_000, WALL_MS + 200_000), p.core.book) == [], "each demand once"


def test_who_drains_or_is_full_answers_nothing() -> None:
    for end in ("drain", "full"):
        stage = Stage()
        (p,) = stage.providers(1, slots=1)
        assert p.offer is not None
        p.do(p.core.on_command(stage.now, Publish(p.offer, floor=1)))
        p.core.book.judge(stage.now, write(key_of("buyer"), demand()))
        if end == "drain":
            p.core.provider.drain()
        else:
            p.core.provider.leasing.slots.hold(0, b"r", b"a", WALL_MS + 10**6)
        assert p.core.provider.leasing.propose(stage.now, p.core.book) == []


def test_a_job_that_fails_takes_its_demand_back_and_says_that_it_rested() -> None:
    stage, r, _ = scene(floor=0)
    demanded(stage, r)
    stage.run(lambda: at_rest(r, JOB), for_ms=400_000)
    job = r.core.requester.jobs.get(JOB)
    assert job is not None
    assert job.state == "failed"
    assert "its demand rests in the books of others, 0 proposals came" in job.error
    assert len(r.core.book.demands) == 0


def test_who_cannot_be_reached_states_no_demand() -> None:
    stage, r, _ = scene(addresses=())
    stage.run(for_ms=10_000)
    assert len(r.core.book.demands) == 0


def test_a_requester_needs_leave_of_its_operator() -> None:
    b = book()
    lent = d.Author(NETWORK, OPERATORS[0].public, bytes(8), OPERATORS[0].sign)
    only = lent.write(WALL_MS, Delegation(NODES[0].public, Capability.PROVIDE), lifetime_ms=10**8).raw
    assert ruling(b, write(NODES[0], demand(delegation=only))) is Ruling.IGNORE


def test_in_a_network_of_shards_a_demand_and_its_end_are_told_where_its_tag_belongs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    r, told = Stage().actor("requester"), list[str]()
    monkeypatch.setattr(r.core._gossip, "publish", lambda now, topic, data: told.append(topic) or [])
    monkeypatch.setattr(r.core, "_heard_depth", lambda: 3)
    for body in (demand(), d.Cancel(bytes(16))):
        told.clear()
        document = r.core.post.write(r.stage.now, body, lifetime_ms=1_000)
        r.core._announce_own(r.stage.now, document)
        assert offers_topic(NETWORK, shard_of(bytes(16), 3)) in told
