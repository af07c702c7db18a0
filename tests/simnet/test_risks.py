"""Invariants of slots, credit, trust and contact: each one, on a world with the fault planted."""

from __future__ import annotations

import msgspec
import pytest

from p2pcompute.protocol import records
from p2pcompute.protocol.lease import Lease
from p2pcompute.protocol.ledger import Credit
from p2pcompute.protocol.machine import Emit
from simnet.invariants import INVARIANTS, Violation, Watch, leases
from simnet.invariants.base import of_kind, opened
from simnet.invariants.contact import SeveralAsked
from simnet.mutants.trials import TRIALS
from simnet.scenario import Scenario
from simnet.site import Site
from simnet.world import World
from tests.simnet.undisturbed import busy, core_of, ended


def test_more_runs_than_slots_are_found() -> None:
    world, _ = ended()
    p = busy(world)
    assert p.terms is not None
    for e in core_of(p).provider._engagements.values():
        e.state = "running"
    p.terms = msgspec.structs.replace(p.terms, slots=1)
    with pytest.raises(Violation, match="tasks at once in 1 slots"):
        INVARIANTS["slots-shared"](world).on_event(1, p, Emit("provider.running", {}))


def test_a_run_without_a_slot_is_found() -> None:
    world, _ = ended()
    p = busy(world)
    next(e for e in core_of(p).provider._engagements.values() if e.receipt).state = "running"
    with pytest.raises(Violation, match="runs 1 tasks and holds 0 slots"):
        INVARIANTS["slots-shared"](world).on_event(1, p, Emit("provider.running", {}))


def test_many_slots_for_a_requester_without_work_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "UNASSIGNED_MAX", 0)
    world = World(Scenario(providers=4), 1)
    watch = Watch(world, ["slots-shared"])
    world.run()
    with pytest.raises(Violation, match="that has no work for them"):
        watch.end()


def test_many_slots_for_strangers_without_work_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "STRANGERS_MAX", 0)
    world = World(Scenario(providers=4), 1)
    watch = Watch(world, ["slots-shared"])
    world.run()
    with pytest.raises(Violation, match="for those who never paid"):
        watch.end()


def test_a_word_that_is_believed_of_one_that_was_caught_is_found() -> None:
    world = next(TRIALS["naysayers"].worlds())
    world.run()
    one = INVARIANTS["word-earned"](world)
    one.at_end()
    doubtful = [job for job in core_of(world.requester).requester.jobs if job.doubt]
    assert doubtful
    doubtful[0].doubt = ""
    with pytest.raises(Violation, match="believes one that was caught"):
        one.at_end()


def test_doubt_of_a_word_that_counts_is_found() -> None:
    world, _ = ended()
    *_, fields = next(e for e in world.events if e[2] == "job.revealed")
    core_of(world.requester).reputation.pardon(fields["operator"])  # type: ignore[arg-type]
    with pytest.raises(Violation, match="does not believe one that it trusts"):
        INVARIANTS["word-earned"](world).on_event(1, world.requester, Emit("job.unconfirmed", fields))


def test_a_price_for_a_claim_that_nobody_else_had_is_found() -> None:
    trial = TRIALS["padders"]
    (world,) = trial.worlds()
    world.run()
    one = INVARIANTS["fair-price"](world)
    one.at_end()
    lone = [
        r
        for job in core_of(world.requester).requester.jobs
        for r in job.team
        if not job.checked and r.verdict is not None and r.reveal is not None
    ]
    padded = max(lone, key=lambda r: r.reveal.body.device_us if r.reveal is not None else 0)
    assert padded.verdict is not None
    body = msgspec.structs.replace(padded.verdict.body, price=padded.price_ceiling)
    padded.verdict = msgspec.structs.replace(padded.verdict, body=body)
    with pytest.raises(Violation, match="was to get"):
        one.at_end()


def test_more_work_at_once_than_the_credit_is_found() -> None:
    world, _ = ended()
    p = busy(world)
    leasing = core_of(p).provider.leasing
    document = next(opened(record.reservation) for record in of_kind(p, records.Reserved))
    later = msgspec.structs.replace(document, expires_at=p.now.wall_ms + 1_000)
    one, credit = INVARIANTS["work-bounded"](world), core_of(p).ledger.credit_of(world.requester.peer)
    for number, ceiling in enumerate((credit, 1)):
        one.at_end()
        leasing._leases[bytes([number])] = Lease(world.requester.peer, later, 1, 1, 1, ceiling, 1)
    with pytest.raises(Violation, match="under way for one whose credit"):
        one.at_end()


def test_more_for_strangers_than_the_cap_is_found() -> None:
    world, _ = ended()
    p, most = busy(world), 10**9
    leasing = core_of(p).provider.leasing
    document = next(opened(record.reservation) for record in of_kind(p, records.Reserved))
    p.credit = Credit(most, most, most)
    one = INVARIANTS["strangers-bounded"](world)
    for stranger in (b"1" * 32, b"2" * 32):
        one.on_event(1, p, Emit("provider.reserved", {"requester": b"1" * 32}))
        leasing._leases[stranger] = Lease(stranger, document, 1, 1, 1, most, 1)
    with pytest.raises(Violation, match="and its cap is"):
        one.on_event(1, p, Emit("provider.reserved", {"requester": b"1" * 32}))


def test_a_dear_task_on_a_lease_for_a_cheap_one_counts_as_what_it_is() -> None:
    trial = TRIALS["understater"]
    world = next(trial.worlds())
    one, found = INVARIANTS["work-bounded"](world), False

    def look(now_ms: int, node: Site, event: Emit) -> None:
        nonlocal found
        if event.name == "provider.assigned" and not found and node.core is not None:
            leases = list(node.core.provider.leasing._leases.values())
            working = next(lease for lease in leases if lease.state == "working")
            dear, working.price_ceiling = working.price_ceiling, 1
            more = Lease(working.requester, working.reservation, 1, 1, 1, node.credit.first, 1)
            node.core.provider.leasing._leases[b"more"] = more
            with pytest.raises(Violation, match="under way for one whose credit"):
                one.on_second(now_ms)
            del node.core.provider.leasing._leases[b"more"]
            working.price_ceiling, found = dear, True

    world.observers.append(look)
    world.run()
    assert found


def test_rest_after_good_work_is_found() -> None:
    world, _ = ended()
    _, _, _, fields = next(e for e in world.events if e[2] == "job.verdict" and e[3]["judgement"] == "AGREED")
    one = INVARIANTS["good-work-counts"](world)
    one.on_event(1, world.requester, Emit("job.verdict", fields))
    core_of(world.requester).reputation.slow(fields["operator"], world.requester.now.mono_ms)  # type: ignore[arg-type]
    with pytest.raises(Violation, match="agreed just now"):
        one.on_event(1, world.requester, Emit("job.verdict", fields))


def test_data_beyond_the_credit_is_found() -> None:
    world = next(TRIALS["slices"].worlds())
    watch = Watch(world)
    found: list[str] = []

    def look(now_ms: int, node: Site, event: Emit) -> None:
        if event.name != "job.part-paid" or found:
            return
        for p in world.providers:
            for unpaid in core_of(p).provider._unpaid.values():
                for e in unpaid.values():
                    grant = p._grants.get((e.token, e.requester))
                    if e.opening is not None and grant is not None and grant.part is not None:
                        whole = msgspec.structs.replace(grant, roots=e.opening.output_roots, part=None)
                        p.grant(whole)
                        try:
                            INVARIANTS["slices-bounded"](world).on_second(now_ms)
                        except Violation as violation:
                            found.append(str(violation))
                        p.grant(grant)

    world.observers.append(look)
    world.run()
    watch.end()
    assert found
    assert all("gave data for" in words for words in found)


def test_who_contradicts_itself_and_is_not_convicted_is_found() -> None:
    world = next(TRIALS["forkers"].worlds())
    world.run()
    one = INVARIANTS["contradictions-told"](world)
    one.at_end()
    core_of(world.requester).book._proofs.clear()
    with pytest.raises(Violation, match="by one it does not convict"):
        one.at_end()


def test_who_asks_one_peer_of_a_shard_is_found() -> None:
    trial = TRIALS["shards"]
    with trial.room():
        world = next(trial.worlds())
        one = INVARIANTS["several-asked"](world)
        world.run()
        one.at_end()
        assert isinstance(one, SeveralAsked)
        assert max(map(len, one.asked.values())) == 3
        for question, peers in one.asked.items():
            one.asked[question] = dict(list(peers.items())[:2])
        with pytest.raises(Violation, match="never asked more than 2 peers"):
            one.at_end()
