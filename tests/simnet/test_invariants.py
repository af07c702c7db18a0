"""An invariant that cannot fail checks nothing: each one, on a world with the fault planted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from p2pcompute.errors import UsageError
from p2pcompute.protocol import records
from p2pcompute.protocol.commands import Withdraw
from p2pcompute.protocol.gossip.codec import encode_message
from p2pcompute.protocol.ledger import Credit
from p2pcompute.protocol.machine import Emit, Ruling
from p2pcompute.protocol.trust import Kind
from p2pcompute.wire import documents as d
from simnet.characters import CHARACTERS
from simnet.invariants import INVARIANTS, Invariant, Violation, Watch
from simnet.invariants.base import of_kind, opened
from simnet.invariants.bounds import LIMITS, TABLES, deep_bytes
from simnet.invariants.results import ColludersBounded, is_right, win_chance, wins_max
from simnet.node import Node
from simnet.scenario import Scenario, Work
from simnet.site import Site
from simnet.world import World
from tests.simnet.undisturbed import busy, core_of, ended


def drop(node: Node, kind: type[Any]) -> None:
    """Forget the last record of a kind."""
    held = node.disk.records
    at = max(i for i, data in enumerate(held) if isinstance(records.decode_record(data), kind))
    del held[at]


def rebook(world: World, **changes: int) -> None:
    """Journal another reservation like a provider's first."""
    p = busy(world)
    assert p.core is not None
    held = next(of_kind(p, records.Reserved))
    body = opened(held.reservation).body
    n = changes.get("n", body.n)
    forged = p.core.post.write(p.now, d.Reservation(bytes(32), body.slot, n, body.previous, body.closes), lifetime_ms=1)
    p.disk.records.append(records.encode_record(records.Reserved(held.requester, 1, 1, 1, 1, 1, b"", forged.raw)))


def spoil_result(world: World) -> None:
    next(iter(world.tasks.values())).roots = (b"?" * 32,)


def fail_task(world: World) -> None:
    next(iter(world.tasks.values())).done = False


def lose_task(world: World) -> None:
    next(iter(world.tasks.values())).ended_ms = -1


def issue_again(world: World) -> None:
    p = busy(world)
    p.disk.records.append(records.encode_record(next(of_kind(p, records.Issued))))


def forget_task(world: World) -> None:
    jobs = core_of(world.requester).requester.jobs
    del jobs._jobs[next(iter(jobs)).id]


def reopen_task(world: World) -> None:
    next(iter(core_of(world.requester).requester.jobs)).state = "working"


def end_late(world: World) -> None:
    task = next(iter(world.tasks.values()))
    task.ended_ms = task.submitted_ms + 100_000


def stop_in_vain(world: World) -> None:
    task = next(iter(world.tasks.values()))
    task.stopped_ms, task.ended_ms = 1, -1


def honest_one(world: World) -> Node:
    return next(p for p in world.providers if p.kind.honest)


def ban_honest(world: World) -> None:
    core_of(world.requester).reputation.ban(honest_one(world).operator.public, "out of spite")


def graylist_honest(world: World) -> None:
    core = core_of(world.requester)
    peer = next(peer for peer in core.peers if peer == honest_one(world).peer)
    core._gossip._scores.misbehaved(peer, 1_000)  # type: ignore[attr-defined]


def leave_a_number_out(world: World) -> None:
    p = busy(world)
    at = max(i for i, data in enumerate(p.disk.records) if isinstance(records.decode_record(data), records.Reserved))
    held = records.decode_record(p.disk.records[at])
    assert isinstance(held, records.Reserved)
    body = opened(held.reservation).body
    skipping = core_of(p).post.write(p.now, msgspec.structs.replace(body, n=body.n + 1), lifetime_ms=1)
    p.disk.records[at] = records.encode_record(msgspec.structs.replace(held, reservation=skipping.raw))


def overdraw(world: World) -> None:
    """A receipt counts as paid that no cheque reaches."""
    p = busy(world)
    drop(p, records.Covered)


def blame_honest(world: World) -> None:
    core = core_of(world.requester)
    peer = next(peer for peer in core.peers if peer == honest_one(world).peer)
    core._gossip._scores.invalid(peer, core.topics[0])  # type: ignore[attr-defined]


def share_a_salt(world: World) -> None:
    p = busy(world)
    held = next(of_kind(p, records.Committed))
    p.disk.records.append(records.encode_record(msgspec.structs.replace(held, assignment=b"a" * 32)))


def overcharge(world: World) -> None:
    r = next(r for job in core_of(world.requester).requester.jobs for r in job.team if r.receipt)
    assert r.verdict is not None
    r.verdict = msgspec.structs.replace(r.verdict, body=msgspec.structs.replace(r.verdict.body, price=10**6))


def open_otherwise(world: World) -> None:
    r = next(r for job in core_of(world.requester).requester.jobs for r in job.team if r.receipt)
    assert r.reveal is not None
    r.reveal = msgspec.structs.replace(r.reveal, body=msgspec.structs.replace(r.reveal.body, device_us=1))


def lend_without_end(world: World) -> None:
    for p in world.providers:
        p.credit, p.terms = Credit(0, 0, 0), None
        core_of(p).provider.chain._cheques.clear()
        p.disk.records[:] = [x for x in p.disk.records if not isinstance(records.decode_record(x), records.Covered)]


def claim_twice(world: World) -> None:
    core_of(busy(world)).ledger.claim(world.requester.peer, b"no such assignment", 1, 0)


def forge_offer(world: World) -> None:
    book = core_of(world.requester).book
    peer, listing = next(iter(book._listings.items()))
    raw = listing.offer.raw[:-1] + bytes([listing.offer.raw[-1] ^ 1])
    book._listings[peer] = msgspec.structs.replace(listing, offer=msgspec.structs.replace(listing.offer, raw=raw))


def lose_own_offer(world: World) -> None:
    core_of(world.providers[0]).book._remove(world.providers[0].peer)


def assign_more(world: World, **changes: Any) -> None:
    """Journal another assignment like the first one, to somebody else unless told otherwise."""
    node = world.requester
    held = next(of_kind(node, records.Assigned))
    body = msgspec.structs.replace(opened(held.assignment).body, **changes)
    assignment = core_of(node).post.write(node.now, body, lifetime_ms=1)
    operator = held.operator if not changes else b"o" * 32
    more = records.Assigned(
        held.job, held.peer, operator, held.device, held.numeric_class, held.addresses, assignment.raw, held.reservation
    )
    node.disk.records.append(records.encode_record(more))


def promise_unwritten(world: World) -> None:
    p = busy(world)
    body = opened(next(of_kind(p, records.Reserved)).reservation).body
    fresh = core_of(p).post.write(p.now, body, lifetime_ms=1)
    for tap in world.network.taps:
        tap(p, world.requester, "answer", fresh.raw, b"")


def acknowledge_unwritten(world: World) -> None:
    p = busy(world)
    body = opened(next(of_kind(p, records.Accepted)).assignment).body
    fresh = core_of(world.requester).post.write(p.now, body, lifetime_ms=1)
    for tap in world.network.taps:
        tap(p, world.requester, "answer", b"", fresh.raw)


def skew_account(world: World) -> None:
    core_of(busy(world)).ledger.account(world.requester.peer).covered += 1


def skew_slots(world: World) -> None:
    core_of(busy(world)).provider.leasing.slots._slots[0].n += 1


def forget_cheques(world: World) -> None:
    core_of(busy(world)).provider.chain._cheques.clear()


def forget_verdict(world: World) -> None:
    next(e for e in core_of(busy(world)).provider._engagements.values() if e.receipt).verdict = None


def forget_outcome(world: World) -> None:
    next(e for e in core_of(busy(world)).provider._engagements.values() if e.receipt).commitment = None


def rejudge(world: World) -> None:
    next(r for job in core_of(world.requester).requester.jobs for r in job.team).state = "lost"


def outlive(world: World) -> None:
    """Somebody keeps an offer that ran out."""
    book = core_of(world.requester).book
    peer, listing = next(iter(book._listings.items()))
    offer = msgspec.structs.replace(listing.offer, expires_at=world.requester.now.wall_ms - 60_000)
    book._listings[peer] = msgspec.structs.replace(listing, offer=offer)


def swell(world: World) -> None:
    for node in world.nodes:
        core_of(node).hoard = bytes(9 * 2**20)  # type: ignore[attr-defined]


def work_for_less(world: World) -> None:
    p = busy(world)
    body = opened(next(of_kind(p, records.Accepted)).assignment).body
    cheap = core_of(p).post.write(p.now, msgspec.structs.replace(body, price_per_device_s=1), lifetime_ms=1)
    p.disk.records.append(records.encode_record(records.Accepted(cheap.raw)))


def work_twice(world: World) -> None:
    p = busy(world)
    p.disk.records.append(records.encode_record(next(of_kind(p, records.Accepted))))


def renew_for_ever(world: World) -> None:
    p = busy(world)
    held = next(of_kind(p, records.Reserved))
    for n in range(1, 10):
        body = msgspec.structs.replace(opened(held.reservation).body, n=n)
        renewed = core_of(p).post.write(p.now, body, lifetime_ms=1)
        before = opened(held.reservation).id
        held = msgspec.structs.replace(held, renews=before, reservation=renewed.raw)
        p.disk.records.append(records.encode_record(held))


def renew_no_more(world: World) -> None:
    p = busy(world)
    reservation = opened(next(of_kind(p, records.Reserved)).reservation).id
    renew = core_of(world.requester).post.write(p.now, d.Renew(reservation, 1), lifetime_ms=1)
    decline = core_of(p).post.write(p.now, d.Decline(renew.id, d.DeclineCode.RENEWED_TOO_OFTEN, ""), lifetime_ms=1)
    for tap in world.network.taps:
        tap(p, world.requester, "answer", decline.raw, renew.raw)


def risk_more_than_there_is(world: World) -> None:
    core_of(busy(world)).ledger._risk += 1


def pass_on_again(world: World) -> None:
    p, author = world.providers[0], world.requester
    for sequence in (1, 2):
        message = encode_message(author.peer, "topic", b"old news", sequence, author.key.sign)
        for tap in world.network.taps:
            tap(p, world.requester, "gossip", message.part, b"")


def trust_blindly(world: World) -> None:
    jobs = core_of(world.requester).requester.jobs
    jobs.trust.confirm(Kind(b"o" * 32, "cpu simulated", b"k" * 32), 1)


def doubt_blindly(world: World) -> None:
    next(iter(core_of(world.requester).requester.jobs)).doubt = "out of spite"


PLANTED: dict[str, tuple[Callable[[World], None], str, str]] = {
    "lost task": (lose_task, "no-task-lost", "never ended"),
    "failed task": (fail_task, "no-task-lost", "failed"),
    "forgotten task": (forget_task, "no-acknowledged-task-lost", "does not know it any more"),
    "task taken up again": (reopen_task, "no-acknowledged-task-lost", "journal says otherwise"),
    "slow task": (end_late, "liveness", "after the last fault"),
    "stop that stops nothing": (stop_in_vain, "stop-is-final", "goes on"),
    "wrong result": (spoil_result, "no-wrong-result", "wrong result"),
    "honest peer banned": (ban_honest, "no-honest-convicted", "banned provider"),
    "honest peer graylisted": (graylist_honest, "no-honest-convicted", "reads nothing of"),
    "honest peer blamed": (blame_honest, "no-honest-convicted", "passed on for invalid"),
    "price below the quote": (work_for_less, "quotes-kept", "works at 1, and asked for"),
    "one assignment too many": (work_twice, "quotes-kept", "more often than it is good for"),
    "one renewal too many": (renew_for_ever, "leases-renewed", "9 times without work"),
    "a renewal too few": (renew_no_more, "leases-renewed", "0 times, and then no more"),
    "risk where there is none": (risk_more_than_there_is, "strangers-bounded", "beyond what was paid"),
    "old news": (pass_on_again, "news-once", "passed the same document on twice"),
    "trust in one who did nothing": (trust_blindly, "word-earned", "were earned"),
    "doubt of one who did nothing": (doubt_blindly, "word-earned", "nobody was caught"),
    "one salt twice": (share_a_salt, "nothing-leaks", "a salt for two commitments"),
    "price out of thin air": (overcharge, "fair-price", "and gets 1000000"),
    "debt without end": (lend_without_end, "debt-bounded", "its credit is 0"),
    "work done that was not": (claim_twice, "debt-bounded", "as done and not judged, and 0 are"),
    "paid by nothing": (overdraw, "debt-bounded", "do not reach"),
    "number left out": (leave_a_number_out, "no-double-booking", "out"),
    "another opening": (open_otherwise, "receipts-verify", "not its commitment's"),
    "slot promised twice": (rebook, "no-double-booking", "twice as number"),
    "broken chain": (lambda w: rebook(w, n=99), "no-double-booking", "does not follow"),
    "budget overrun": (lambda w: assign_more(w, price_ceiling=10**14), "within-budget", "its budget is"),
    "one operator twice": (assign_more, "within-budget", "one operator to work twice"),
    "receipt unpaid": (lambda w: drop(w.requester, records.Settled), "paid-once", "receipts held"),
    "cheque lost": (lambda w: drop(busy(w), records.Covered), "paid-once", "was promised"),
    "two receipts": (issue_again, "paid-once", "two receipts for one assignment"),
    "money from nowhere": (lambda w: drop(w.requester, records.Settled), "value-conserved", "value appeared"),
    "receipt from nowhere": (lambda w: drop(busy(w), records.Issued), "value-conserved", "never issued"),
    "account that does not add up": (skew_account, "value-conserved", "the account says"),
    "verdict missing": (forget_verdict, "receipts-verify", "its verdict is missing"),
    "commitment missing": (forget_outcome, "receipts-verify", "its commitment is missing"),
    "promise not in the journal": (promise_unwritten, "durable-first", "sent a reservation"),
    "assignment not in the journal": (acknowledge_unwritten, "durable-first", "took a assignment"),
    "slot not in the journal": (skew_slots, "journal-tells-all", "its slots"),
    "cheques not in memory": (forget_cheques, "journal-tells-all", "its receipts and cheques"),
    "outcome not in memory": (forget_outcome, "journal-tells-all", "its assignments"),
    "account not in the journal": (skew_account, "journal-tells-all", "its accounts"),
    "state not in the journal": (reopen_task, "journal-tells-all", "its tasks"),
    "replica not in the journal": (rejudge, "journal-tells-all", "its replicas"),
    "ban not in the journal": (ban_honest, "journal-tells-all", "its bans"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found(name: str) -> None:
    plant, invariant, sentence = PLANTED[name]
    world, watch = ended()
    one = INVARIANTS[invariant](world)
    plant(world)
    with pytest.raises(Violation, match=sentence):
        one.at_end()
    with pytest.raises(Violation):
        watch.end()


def test_more_work_for_a_liar_is_found() -> None:
    world, _ = ended()
    at_ms, _, _, fields = next(e for e in world.events if e[2] == "job.verdict" and e[3]["judgement"] == "OUTVOTED")
    invariant = INVARIANTS["liars-are-out"](world)
    invariant.on_event(at_ms, world.requester, Emit("job.verdict", fields))
    with pytest.raises(Violation, match="got more work"):
        invariant.on_event(at_ms + 1_000, world.requester, Emit("job.assigned", {"operator": fields["operator"]}))


def test_a_liar_that_is_not_banned_is_found() -> None:
    world, _ = ended()
    at_ms, _, _, fields = next(e for e in world.events if e[2] == "job.verdict" and e[3]["judgement"] == "OUTVOTED")
    invariant = INVARIANTS["liars-are-out"](world)
    core_of(world.requester).reputation.pardon(fields["operator"])  # type: ignore[arg-type]
    with pytest.raises(Violation, match="does not ban it"):
        invariant.on_event(at_ms, world.requester, Emit("job.verdict", fields))


BY_THE_SECOND = [
    (outlive, "books-converge", "ran out"),
    (forge_offer, "books-converge", "did not sign"),
    (lose_own_offer, "books-converge", "does not have its offer"),
    (swell, "memory-bounded", "takes"),
]


@pytest.mark.parametrize(("plant", "invariant", "sentence"), BY_THE_SECOND)
def test_a_planted_fault_is_found_within_seconds(plant: Callable[[World], None], invariant: str, sentence: str) -> None:
    world, _ = ended()
    one = INVARIANTS[invariant](world)
    look(one, range(6))
    plant(world)
    with pytest.raises(Violation, match=sentence):
        look(one, range(6, 12))


def look(one: Invariant, seconds: range) -> None:
    for second in seconds:
        one.on_second(one.world.wheel.now_ms + 1_000 * second)


def test_a_table_beyond_its_limit_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    world, _ = ended()
    one = INVARIANTS["memory-bounded"](world)
    one.at_end()
    for what in LIMITS:
        if any(len(TABLES[what](core)) for _, core in one.honest_cores()):
            with monkeypatch.context() as patch:
                patch.setitem(LIMITS, what, 0)
                with pytest.raises(Violation, match=f"{what}, more than 0"):
                    one.at_end()


def test_a_core_is_measured_with_all_that_hangs_on_it() -> None:
    world, _ = ended()
    core = core_of(world.requester)
    before = deep_bytes(core)
    core.book._raws[b"x" * 10_000] = next(iter(core.book._raws.values()))
    assert before + 10_000 < deep_bytes(core) < before + 11_000


def deaf(world: World, node: Node) -> None:
    """From now on a node forgets what another one offers, and takes in nothing more."""
    core, victim = core_of(node), world.providers[1].peer
    core.book.judge = lambda now, raw: (Ruling.IGNORE, None, [])  # type: ignore[method-assign]
    core.book._remove(victim)


def withdraw_deaf(world: World, node: Node) -> None:
    """A provider takes its offer back, and the others do not hear of it."""
    for other in world.nodes:
        if other is not node:
            core_of(other).book.judge = lambda now, raw: (Ruling.IGNORE, None, [])  # type: ignore[method-assign]
    node.command(Withdraw(drain=True))


def test_a_book_that_lacks_an_offer_is_found() -> None:
    world = World(Scenario(providers=4, linger_ms=40_000), 1)
    watch = Watch(world, ["books-converge"])
    world.schedule(6_000, deaf, world, world.requester)
    world.run()
    with pytest.raises(Violation, match="requester lacks an offer"):
        watch.end()


def test_an_offer_that_was_taken_back_and_is_held_on_to_is_found() -> None:
    world = World(Scenario(providers=4, linger_ms=40_000), 1)
    watch = Watch(world, ["books-converge"])
    world.schedule(6_000, withdraw_deaf, world, world.providers[1])
    world.run()
    with pytest.raises(Violation, match="holds an offer that was taken back"):
        watch.end()


def test_an_opening_in_strange_hands_is_found() -> None:
    world, _ = ended()
    with pytest.raises(Violation, match="none of its business"):
        INVARIANTS["nothing-leaks"](world).on_event(1, world.requester, Emit("character.spied", {}))


def test_work_for_a_stopped_task_is_found() -> None:
    world, _ = ended()
    task = next(iter(world.tasks.values()))
    task.stopped_ms = 1_000
    with pytest.raises(Violation, match="stopped at 1000 ms and assigned at 2000 ms"):
        INVARIANTS["stop-is-final"](world).on_event(2_000, world.requester, Emit("job.assigned", {"job": task.id}))


def test_a_price_above_the_users_highest_is_found() -> None:
    world, _ = ended()
    dear = msgspec.structs.replace(world.scenario.work, price_max=1)
    world.scenario = msgspec.structs.replace(world.scenario, work=dear)
    with pytest.raises(Violation, match="above 1"):
        INVARIANTS["within-budget"](world).at_end()


def test_wrong_results_of_a_quorum_of_colluders_are_counted_and_no_violation() -> None:
    world = World(Scenario(providers=5, characters={"gang": 4}, work=Work(tasks=2)), 1)
    watch = Watch(world)
    world.run()
    watch.end()
    assert (watch.wrong_accepted, watch.wrong_by_quorum) == (0, 2)


def test_a_wrong_result_of_fewer_than_a_quorum_is_counted() -> None:
    world = World(Scenario(providers=5, characters={"liar": 1}, work=Work(tasks=1)), 1)
    watch = Watch(world, ["no-wrong-result"])
    world.observers.insert(0, lambda now_ms, node, event: event.name == "job.done" and spoil_result(world))
    world.run()
    with pytest.raises(Violation, match="that 0 dishonest operators stated"):
        watch.end()
    assert (watch.wrong_accepted, watch.wrong_by_quorum) == (1, 0)


def gang_world(seed: int, tasks: int = 12) -> tuple[World, Watch]:
    work = Work(tasks=tasks, replicas=2, quorum=2, every_ms=1_500)
    world = World(Scenario(providers=13, characters={"gang": 4}, price_step=0, work=work), seed)
    watch = Watch(world)
    world.run()
    return world, watch


def test_a_gang_wins_no_more_than_chance_lets_it() -> None:
    chances: list[float] = []
    won = 0
    for seed in range(6):
        world, watch = gang_world(seed)
        watch.end()
        bound = ColludersBounded(world)
        for at_ms, name, event, fields in world.events:
            bound.on_event(at_ms, next(n for n in world.nodes if n.name == name), Emit(event, fields))
        chances += [win_chance(4, 12, 2, 2)] * len(world.tasks)
        won += len(bound.won)
    assert 0 < won <= wins_max(chances)


def test_a_gang_that_wins_more_than_chance_lets_it_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CHARACTERS["gang"], "undercuts", True)
    _, watch = gang_world(1)
    with pytest.raises(Violation, match="colluders won"):
        watch.end()


def test_one_honest_replica_and_a_referee_keep_a_wrong_result_out() -> None:
    """Of what a gang states alone, nobody knows better."""
    work = Work(tasks=12, replicas=3, quorum=2, every_ms=1_500, referee=True, blocks=100)
    refuted = 0
    for seed in range(3):
        scenario = Scenario(providers=13, characters={"gang": 6}, price_step=0, work=work)
        world = World(scenario, seed)
        watch = Watch(world)
        world.run()
        watch.end()
        draws = ColludersBounded(world).draws
        for task in world.tasks.values():
            assert task.done
            assert is_right(task) or not draws.opposed(task.id, task.roots)
        verdicts = [fields["judgement"] for _, _, name, fields in world.events if name == "job.verdict"]
        assert "OUTVOTED" not in verdicts
        refuted += verdicts.count("REFUTED")
        assert watch.wrong_accepted == 0
    assert refuted > 10


def test_the_chances_of_a_gang() -> None:
    assert win_chance(0, 10, 2, 2) == 0
    assert win_chance(10, 10, 3, 2) == 1
    assert win_chance(1, 10, 2, 2) == 0
    assert win_chance(2, 3, 2, 2) == 1  # one of three is honest: the third one drawn decides
    assert win_chance(3, 30, 3, 2) == pytest.approx(3 * 27 / 4060 + 1 / 4060)
    assert wins_max([0.5] * 10, 0.999) == 9
    assert wins_max([1.0] * 4) == 4
    assert wins_max([]) == 0


def test_the_first_violation_stops_the_world() -> None:
    world = World(Scenario(providers=4), 1)
    watch = Watch(world, ["no-wrong-result"])

    def spoil(now_ms: int, node: Site, event: Emit) -> None:
        if event.name == "job.done":
            world.tasks[event.fields["job"]].roots = (b"?" * 32,)  # type: ignore[index]

    world.observers.insert(0, spoil)
    world.run()
    assert sum(task.ended_ms >= 0 for task in world.tasks.values()) == 1
    with pytest.raises(Violation, match="wrong result"):
        watch.end()


def test_an_unknown_invariant_is_refused() -> None:
    with pytest.raises(UsageError, match="there is no invariant 'peace'"):
        Watch(World(Scenario(), 1), ["peace"])


def test_a_proof_against_somebody_honest_is_found() -> None:
    world, watch = ended()
    core = world.requester.core
    assert core is not None
    core.book._proofs[world.providers[0].peer] = core.post.write(world.requester.now, d.Cancel(), lifetime_ms=1_000)
    with pytest.raises(Violation, match="holds a proof against provider0"):
        watch.end()
