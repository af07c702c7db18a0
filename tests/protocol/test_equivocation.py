"""Statements that contradict each other: who notices, what proves it, and what follows."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from p2pcompute.errors import DecodeError, SignatureError
from p2pcompute.identity.keys import KeyPair
from p2pcompute.protocol import equivocation, records
from p2pcompute.protocol.commands import Accuse, Ban
from p2pcompute.protocol.core import offers_topic
from p2pcompute.protocol.equivocation import Witness, contradict, offender_of, prove
from p2pcompute.protocol.machine import Effect, Environment, Now, Request, Ruling
from p2pcompute.protocol.post import Post
from p2pcompute.protocol.reservation import NONE
from p2pcompute.wire import documents as d
from p2pcompute.wire import limits
from tests.protocol.stage import NETWORK, WALL_MS, Actor, Stage, key_of, replaced, terms
from tests.protocol.test_book import NOW, _NoChance, book, ruling, standing, verify_once, write

LIAR, OTHER, TELLER = key_of("liar"), key_of("other"), key_of("teller")


@dataclasses.dataclass(frozen=True)
class Place:
    """Where in whose chain a reservation says it is."""

    key: KeyPair = LIAR
    epoch: bytes = bytes(8)
    slot: int = 0
    n: int = 3
    previous: bytes = NONE
    request: bytes = bytes(32)


def reservation(place: Place, *, at: int = 0) -> d.AnyDocument:
    author = d.Author(NETWORK, place.key.public, place.epoch, place.key.sign)
    body = d.Reservation(place.request, place.slot, place.n, place.previous, NONE)
    return author.write(WALL_MS + at, body, lifetime_ms=1_000)


FIRST = Place(request=b"a" * 32)
SECOND = Place(request=b"b" * 32)
A, B = sorted((reservation(FIRST), reservation(SECOND)), key=lambda x: x.id)
AFTER = Place(n=4)


def post() -> Post:
    env = Environment(TELLER.public, TELLER.sign, verify_once, _NoChance(), bytes(32))
    return Post(env, NETWORK, bytes(8), b"")


@pytest.mark.parametrize(
    ("one", "other", "guilty"),
    [
        (FIRST, SECOND, True),
        (FIRST, FIRST, False),
        (FIRST, dataclasses.replace(SECOND, slot=1), False),
        (FIRST, dataclasses.replace(SECOND, epoch=b"restored"), False),
        (FIRST, dataclasses.replace(SECOND, key=OTHER), False),
        (FIRST, dataclasses.replace(AFTER, previous=reservation(FIRST).id), False),
        (FIRST, dataclasses.replace(AFTER, previous=reservation(SECOND).id), True),
        (FIRST, dataclasses.replace(AFTER, n=5, previous=reservation(SECOND).id), False),
        (FIRST, dataclasses.replace(AFTER, slot=1, previous=reservation(SECOND).id), False),
    ],
    ids=["twice", "itself", "slot", "epoch", "key", "chain", "fork", "gap", "other chain"],
)
def test_what_no_honest_provider_signs(one: Place, other: Place, guilty: bool) -> None:
    a, b = reservation(one), reservation(other)
    assert contradict(a, b) is contradict(b, a) is guilty
    for first, second in ((a, b), (b, a)):
        witness = Witness()
        assert witness.see(first) is None
        proof = witness.see(second)
        assert proof == (prove(a, b) if guilty else None)
        assert proof is None or offender_of(post(), proof) == LIAR.public


def test_a_witness_forgets_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(equivocation, "SEEN_MAX", 2)
    witness = Witness()
    for n in (3, 13, 23):
        assert witness.see(reservation(dataclasses.replace(FIRST, n=n))) is None
    assert witness.see(reservation(SECOND)) is None
    assert witness.see(reservation(dataclasses.replace(SECOND, n=23))) is not None


def told(proof: d.EquivocationProof, *, at: int = 0, lifetime_ms: int = 10_000, by: KeyPair = TELLER) -> bytes:
    return write(by, proof, at=at, lifetime_ms=lifetime_ms)


GOOD = d.EquivocationProof(A.raw, B.raw)


def forged(raw: bytes) -> bytes:
    return raw[:-1] + bytes([raw[-1] ^ 1])


@pytest.mark.parametrize(
    "proof",
    [
        d.EquivocationProof(B.raw, A.raw),
        d.EquivocationProof(A.raw, A.raw),
        d.EquivocationProof(A.raw, forged(B.raw)),
        d.EquivocationProof(forged(A.raw), B.raw),
        d.EquivocationProof(b"", B.raw),
        d.EquivocationProof(A.raw, write(LIAR, d.Release(bytes(32)))),
        prove(A, reservation(dataclasses.replace(SECOND, key=OTHER))),
        prove(A, reservation(dataclasses.replace(SECOND, epoch=b"restored"))),
        prove(A, reservation(dataclasses.replace(SECOND, slot=1))),
        prove(A, reservation(dataclasses.replace(AFTER, previous=A.id))),
    ],
    ids=["order", "one", "forged", "forged first", "empty", "kind", "keys", "epochs", "slots", "honest chain"],
)
def test_what_proves_nothing_is_rejected_and_convicts_nobody(proof: d.EquivocationProof) -> None:
    with pytest.raises((DecodeError, SignatureError)):
        offender_of(post(), proof)
    b = book()
    b.judge(NOW, write(LIAR, terms()))
    assert ruling(b, told(proof)) is Ruling.REJECT
    assert not b.is_convicted(LIAR.public)
    assert list(standing(b)) == [LIAR.public]


def test_a_proof_that_claims_to_live_too_long_is_rejected() -> None:
    assert ruling(book(), told(GOOD, lifetime_ms=limits.PROOF_LIFETIME_MS)) is Ruling.ACCEPT
    assert ruling(book(), told(GOOD, lifetime_ms=limits.PROOF_LIFETIME_MS + 1)) is Ruling.REJECT


def test_a_proof_out_of_its_time_is_ignored() -> None:
    assert ruling(book(), told(GOOD, at=limits.CLOCK_SKEW_MS_MAX + 1)) is Ruling.IGNORE
    assert ruling(book(), told(GOOD, at=-20_000)) is Ruling.IGNORE


def test_a_book_drops_the_offender_takes_no_more_of_that_key_and_passes_one_proof_on() -> None:
    b = book()
    b.judge(NOW, write(LIAR, terms()))
    b.judge(NOW, write(OTHER, terms()))
    got, _, events = b.judge(NOW, told(GOOD))
    assert got is Ruling.ACCEPT
    assert [(e.name, e.fields["peer"]) for e in events] == [
        ("offer.gone", LIAR.public),
        ("key.convicted", LIAR.public),
    ]
    assert ruling(b, write(LIAR, terms(), at=1)) is Ruling.IGNORE
    assert ruling(b, write(LIAR, d.Cancel(), at=1)) is Ruling.IGNORE
    assert ruling(b, told(GOOD, by=OTHER)) is Ruling.IGNORE
    assert list(standing(b)) == [OTHER.public]


def test_books_end_with_the_same_proof_and_offers_whatever_comes_first() -> None:
    rows = [
        write(LIAR, terms()),
        write(OTHER, terms()),
        told(GOOD),
        told(GOOD, by=OTHER),
        told(GOOD, lifetime_ms=9_000),
    ]
    ends = set()
    for order in itertools.permutations(rows):
        b = book()
        for raw in order:
            b.judge(NOW, raw)
        ends.add((tuple(standing(b)), b._proofs[LIAR.public].id, b.index().fingerprints(0)))
    assert len(ends) == 1


def test_a_shorter_proof_does_not_absolve() -> None:
    b = book()
    b.judge(NOW, told(GOOD, lifetime_ms=10_000))
    assert ruling(b, told(GOOD, lifetime_ms=1_000)) is Ruling.IGNORE
    b.expire(Now(0, WALL_MS + 5_000))
    assert b.is_convicted(LIAR.public)
    b.expire(Now(0, WALL_MS + 10_000))
    assert not b.is_convicted(LIAR.public)
    assert b.documents(b.index().short_ids(0, 0), 10**6) == []


def test_a_full_table_takes_only_proofs_against_listed_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PROOFS_MAX", 1)
    b = book()
    theirs = prove(*(reservation(dataclasses.replace(place, key=OTHER)) for place in (FIRST, SECOND)))
    assert ruling(b, told(GOOD)) is Ruling.ACCEPT
    assert ruling(b, told(theirs)) is Ruling.IGNORE
    b.judge(NOW, write(OTHER, terms()))
    assert ruling(b, told(theirs, at=1)) is Ruling.ACCEPT
    assert (b.is_convicted(OTHER.public), b.is_convicted(LIAR.public)) == (True, False)


# -- receipts and commitments ------------------------------------------------------------------------------------------


def receipt(
    n: int = 3, *, key: KeyPair = LIAR, epoch: bytes = bytes(8), previous: bytes = NONE, price: int = 1
) -> d.AnyDocument:
    body = d.Receipt(n, previous, NONE, NONE, NONE, NONE, (), "cpu", 1, 0, price)
    return d.Author(NETWORK, key.public, epoch, key.sign).write(WALL_MS, body, lifetime_ms=1_000)


def commitment(root: bytes = NONE, *, key: KeyPair = LIAR, epoch: bytes = bytes(8), of: bytes = NONE) -> d.AnyDocument:
    return d.Author(NETWORK, key.public, epoch, key.sign).write(WALL_MS, d.Commitment(of, root), lifetime_ms=1_000)


STATEMENTS = {
    "two receipts": (receipt(), receipt(price=2), True),
    "one receipt": (receipt(), receipt(), False),
    "receipts of two epochs": (receipt(), receipt(price=2, epoch=b"restored"), False),
    "receipts of two keys": (receipt(), receipt(price=2, key=OTHER), False),
    "a receipt after another": (receipt(), receipt(4, previous=receipt().id), False),
    "a receipt after none": (receipt(), receipt(4, previous=receipt(price=2).id), True),
    "a gap in the receipts": (receipt(), receipt(5), False),
    "two commitments": (commitment(), commitment(b"r" * 32), True),
    "one commitment": (commitment(), commitment(), False),
    "commitments for two assignments": (commitment(), commitment(of=b"a" * 32), False),
    "commitments of two epochs": (commitment(), commitment(b"r" * 32, epoch=b"restored"), False),
    "commitments of two keys": (commitment(), commitment(b"r" * 32, key=OTHER), False),
    "a receipt and a reservation": (receipt(), reservation(FIRST), False),
    "a receipt and a commitment": (receipt(0), commitment(), False),
    "statements of no place": (receipt(), d.open_document(NETWORK, write(LIAR, d.Release(NONE)), verify_once), False),
}


@pytest.mark.parametrize("which", STATEMENTS)
def test_receipts_and_commitments_contradict_each_other_as_reservations_do(which: str) -> None:
    one, other, guilty = STATEMENTS[which]
    assert contradict(one, other) is contradict(other, one) is guilty
    proof = prove(one, other)
    if not guilty:
        with pytest.raises(DecodeError):
            offender_of(post(), proof)
        return
    assert offender_of(post(), proof) == LIAR.public
    for first, second in ((one, other), (other, one)):
        witness = Witness()
        assert (witness.see(first), witness.see(second)) == (None, proof)
    b = book()
    b.judge(NOW, write(LIAR, terms()))
    assert ruling(b, told(proof)) is Ruling.ACCEPT
    assert b.get(LIAR.public) is None


# -- peers -------------------------------------------------------------------------------------------------------------


def double_booker(actor: Actor) -> None:
    """From now on it gives every place in a slot's chain away twice."""
    slots = actor.core.provider.leasing.slots
    link, given = slots.link, dict[int, tuple[int, bytes, bytes]]()

    def twice(number: int) -> tuple[int, bytes, bytes]:
        if number in given:
            return given.pop(number)
        given[number] = link(number)
        return given[number]

    slots.link = twice  # type: ignore[method-assign]


def scene() -> tuple[Stage, Actor, Actor, Actor]:
    """A requester, a bystander, and a cheap double booker among honest providers."""
    stage = Stage()
    r, bystander = stage.actor("r"), stage.actor("bystander")
    liar, *_ = stage.providers(3, slots=1)
    double_booker(liar)
    return stage, r, bystander, liar


def announced(actor: Actor) -> list[bytes]:
    return [record.proof for record in actor.records(records.Proved) if isinstance(record, records.Proved)]


def test_a_requester_that_is_promised_one_slot_twice_tells_everybody_and_deals_no_more() -> None:
    stage, r, bystander, liar = scene()
    for i in range(3):
        stage.play(r, job=bytes([i]) * 16, replicas=1, quorum=1)
    (proof,) = announced(r)
    assert r.core.reputation.banned() == {liar.operator.public: "promised one slot twice"}
    assert r.core.book.is_convicted(liar.peer)
    assert r.core.book.get(liar.peer) is None
    assert [job.state for job in r.core.requester.jobs] == ["done"] * 3
    assert bystander.core.judge_gossip(stage.now, offers_topic(NETWORK), proof, r.peer) is Ruling.ACCEPT
    assert bystander.core.book.get(liar.peer) is None
    stage.introduce()
    assert bystander.core.book.get(liar.peer) is None


def test_a_crash_between_the_two_promises_hides_nothing() -> None:
    stage, r, _, liar = scene()
    stage.play(r, job=b"1" * 16, replicas=1, quorum=1)
    assert len(liar.records(records.Reserved)) == 1
    r.crash()
    stage.play(r, job=b"2" * 16, replicas=1, quorum=1)
    assert len(announced(r)) == 1


def test_a_proof_outlives_a_crash() -> None:
    stage, r, _, liar = scene()
    for i in range(2):
        stage.play(r, job=bytes([i]) * 16, replicas=1, quorum=1)
    r.crash()
    assert r.core.book.is_convicted(liar.peer)
    stage.play(r, job=b"3" * 16, replicas=1, quorum=1)
    assert len(announced(r)) == 1


def test_honest_providers_are_never_accused_whatever_crashes() -> None:
    stage = Stage()
    r = stage.actor("r")
    providers = stage.providers(2, slots=1)
    for i in range(4):
        for p in providers:
            p.crash_at = len(p.journal) + i
        stage.play(r, job=bytes([i]) * 16, replicas=2, quorum=2)
        r.crash()
    assert sum(len(p.records(records.Reserved)) for p in providers) >= 8
    assert announced(r) == []


def test_two_requesters_that_were_promised_one_slot_meet_at_whom_they_probe() -> None:
    stage, r, _, liar = scene()
    s = stage.actor("s")
    stage.play(r, job=b"1" * 16, replicas=1, quorum=1)
    stage.play(s, job=b"2" * 16, replicas=1, quorum=1)
    assert len(liar.records(records.Reserved)) == 2
    liar.deaf = True
    stage.play(r, job=b"3" * 16, replicas=1, quorum=1)
    assert not any(announced(actor) for actor in stage.actors.values())
    stage.play(s, job=b"4" * 16, replicas=1, quorum=1)
    tellers = [actor for actor in stage.actors.values() if announced(actor)]
    assert [actor.name for actor in tellers] == ["p1", "p2"]
    assert r.core.judge_gossip(stage.now, offers_topic(NETWORK), announced(tellers[0])[0], s.peer) is Ruling.ACCEPT
    assert r.core.book.get(liar.peer) is None


def test_who_shows_what_nobody_signed_is_at_fault_and_is_still_quoted() -> None:
    stage = Stage()
    r = stage.actor("r")
    (p,) = stage.providers(1)
    shown: list[tuple[tuple[bytes, ...], int]] = [
        ((A.raw, forged(B.raw)), 1),
        ((write(LIAR, d.Release(bytes(32))),), 1),
        ((A.raw, B.raw), 1),
        ((reservation(dataclasses.replace(FIRST, request=b"c" * 32)).raw,), 1),
    ]
    for seen, faults in shown:
        probe = r.core.post.write(stage.now, d.Probe(r.delegation, "", 1, 1, 1, seen), lifetime_ms=1_000)
        p.do(p.core.on_request(stage.now, r.peer, 10**6, probe.raw))
        stage.settle()
        assert len(p.event("peer.fault")) == faults
    assert len(p.event("provider.quoted")) == 4
    assert len(announced(p)) == 1


def test_reservations_shown_cost_the_budget_of_who_shows_them() -> None:
    stage = Stage()
    r = stage.actor("r")
    (p,) = stage.providers(1)
    spent: list[bytes] = []
    spend = p.core._budget.spend

    def counted(now: Now, peer: bytes) -> bool:
        spent.append(peer)
        return spend(now, peer)

    p.core._budget.spend = counted  # type: ignore[method-assign]
    shown = tuple(reservation(dataclasses.replace(FIRST, n=10 * n)).raw for n in range(4))
    probe = r.core.post.write(stage.now, d.Probe(r.delegation, "", 1, 1, 1, shown), lifetime_ms=1_000)
    p.do(p.core.on_request(stage.now, r.peer, 1, probe.raw))
    assert spent == [r.peer] * 5


def test_a_provider_that_forks_its_chain_of_receipts_is_told_of_and_left() -> None:
    stage = Stage()
    r, bystander = stage.actor("r"), stage.actor("bystander")
    forker, *_ = stage.providers(3)
    forker.core.provider.chain.next_link = lambda: (0, NONE)  # type: ignore[method-assign]
    for i in range(3):
        stage.play(r, job=bytes([i]) * 16, replicas=1, quorum=1)
        if i == 0:
            r.crash()  # the first receipt comes back out of the journal
    (proof,) = announced(r)
    assert r.core.reputation.banned() == {forker.operator.public: "forked its chain of receipts"}
    assert len(forker.records(records.Issued)) == 2
    assert bystander.core.judge_gossip(stage.now, offers_topic(NETWORK), proof, r.peer) is Ruling.ACCEPT


def test_a_provider_that_commits_twice_is_told_of_and_left() -> None:
    stage = Stage()
    r, bystander = stage.actor("r"), stage.actor("bystander")
    turncoat, *_ = stage.providers(3)

    def twice(effect: Effect) -> Effect | None:
        if isinstance(effect, Request):
            document = turncoat.core.post.open(effect.frame)
            if isinstance(document.body, d.Commitment):
                other = turncoat.core.post.write(stage.now, replaced(document.body, root=b"?" * 32), lifetime_ms=60_000)
                r.do(r.core.on_request(stage.now, turncoat.peer, 10**9, other.raw))
        return effect

    turncoat.mangle = twice
    stage.play(r, replicas=2, quorum=2)
    (proof,) = announced(r)
    assert list(r.core.reputation.banned()) == [turncoat.operator.public]
    assert len(r.records(records.Banned)) == 1
    assert bystander.core.judge_gossip(stage.now, offers_topic(NETWORK), proof, r.peer) is Ruling.ACCEPT


def test_who_hears_of_a_proof_bans_the_operator_it_knows_the_key_by_for_good() -> None:
    stage = Stage()
    bystander = stage.actor("bystander")
    liar, other = stage.providers(2)
    stage.introduce()
    pair = [liar.core.post.write(stage.now, d.Commitment(NONE, root), lifetime_ms=60_000) for root in (NONE, b"r" * 32)]
    document = other.core.post.write(stage.now, prove(*pair), lifetime_ms=60_000)
    topic = offers_topic(NETWORK)
    assert bystander.core.judge_gossip(stage.now, topic, document.raw, other.peer) is Ruling.ACCEPT
    bystander.do(bystander.core.deliver_gossip(stage.now, topic, document.raw, other.peer))
    stage.settle()
    assert list(bystander.core.reputation.banned()) == [liar.operator.public]
    bystander.crash()
    assert list(bystander.core.reputation.banned()) == [liar.operator.public]
    assert announced(bystander) == []


def test_a_proof_that_the_owner_brings_bans_and_is_told_to_everybody_though_it_ran_out() -> None:
    stage = Stage()
    r, bystander = stage.actor("r"), stage.actor("bystander")
    (liar,) = stage.providers(1)
    stage.introduce()
    pair = [liar.core.post.write(stage.now, d.Commitment(NONE, root), lifetime_ms=1) for root in (NONE, b"r" * 32)]
    stage.mono_ms += 60_000
    r.do(r.core.on_command(stage.now, Accuse(prove(*pair))))
    stage.settle()
    assert list(r.core.reputation.banned()) == [liar.operator.public]
    (proof,) = announced(r)
    assert bystander.core.judge_gossip(stage.now, offers_topic(NETWORK), proof, r.peer) is Ruling.ACCEPT
    assert bystander.core.book.is_convicted(liar.peer)
    r.do(r.core.on_command(stage.now, Ban(liar.operator.public, "")))
    stage.settle()
    assert not r.core.reputation.banned()
    r.do(r.core.on_command(stage.now, Accuse(prove(*pair))))
    stage.settle()
    assert list(r.core.reputation.banned()) == [liar.peer], "whose key it is, no offer says any more"
    assert announced(r) == [proof]


@pytest.mark.parametrize("pair", [(A, A), (B, A), (A, reservation(dataclasses.replace(SECOND, slot=1)))])
def test_what_proves_nothing_is_refused_from_the_owner_too(pair: tuple[d.AnyDocument, d.AnyDocument]) -> None:
    r = Stage().actor("r")
    with pytest.raises(DecodeError):
        r.core.on_command(r.stage.now, Accuse(d.EquivocationProof(pair[0].raw, pair[1].raw)))
    assert not r.core.reputation.banned()
