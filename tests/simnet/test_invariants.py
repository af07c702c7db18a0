"""An invariant that cannot fail checks nothing: each one, on a world with the fault planted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from p2pcompute.protocol import records
from p2pcompute.wire import documents as d
from simnet import invariants
from simnet.invariants import Violation
from simnet.node import NETWORK, Node
from simnet.world import Scenario, World


@pytest.fixture
def world() -> World:
    """An undisturbed world with one liar; a test may spoil it."""
    made = World(Scenario(providers=4, characters=("honest", "liar")), 5)
    made.run()
    invariants.check(made)
    return made


def drop(node: Node, kind: type[Any]) -> None:
    """Forget the last record of a kind."""
    at = max(i for i, data in enumerate(node.journal) if isinstance(records.decode_record(data), kind))
    del node.journal[at]


def first(node: Node, kind: type[Any]) -> Any:
    return next(x for x in invariants.journal(node) if isinstance(x, kind))


def busy(world: World) -> Node:
    """A provider that was paid."""
    return next(p for p in world.providers if any(isinstance(x, records.Covered) for x in invariants.journal(p)))


def rebook(world: World, **changes: int) -> None:
    """Journal another reservation like a provider's first."""
    p = busy(world)
    assert p.core is not None
    held = first(p, records.Reserved)
    body = d.open_document(NETWORK, held.reservation, Node.network_verify).body
    n = changes.get("n", body.n)
    forged = p.core.post.write(p.now, d.Reservation(bytes(32), body.slot, n, body.previous, body.closes), lifetime_ms=1)
    p.journal.append(records.encode_record(records.Reserved(held.requester, 1, 1, forged.raw)))


def spoil_result(world: World) -> None:
    job = next(iter(world.finished))
    world.finished[job] = True, (b"?" * 32,)


def fail_task(world: World) -> None:
    job = next(iter(world.finished))
    world.finished[job] = False, ()


def issue_again(world: World) -> None:
    p = busy(world)
    p.journal.append(records.encode_record(first(p, records.Issued)))


def employ_liar(world: World) -> None:
    at, _, _, fields = next(e for e in world.events if e[2] == "job.verdict" and e[3]["judgement"] == "OUTVOTED")
    again = {"operator": fields["operator"]}
    world.events.append((at + 1_000, world.requester.name, "job.assigned", again))


PLANTED: dict[str, tuple[Callable[[World], object], Callable[[World], None], str]] = {
    "lost task": (lambda w: w.finished.popitem(), invariants.no_task_lost, "never ended"),
    "failed task": (fail_task, invariants.no_task_lost, "failed"),
    "wrong result": (spoil_result, invariants.no_wrong_result, "wrong result"),
    "slot promised twice": (rebook, invariants.no_double_booking, "twice as number"),
    "broken chain": (lambda w: rebook(w, n=99), invariants.no_double_booking, "does not follow"),
    "receipt unpaid": (lambda w: drop(w.requester, records.Settled), invariants.paid_once, "receipts held"),
    "cheque lost": (lambda w: drop(busy(w), records.Covered), invariants.paid_once, "was promised"),
    "two receipts": (issue_again, invariants.paid_once, "two receipts for one assignment"),
    "liar employed": (employ_liar, invariants.liars_are_out, "got more work"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found(world: World, name: str) -> None:
    plant, invariant, sentence = PLANTED[name]
    invariant(world)
    plant(world)
    with pytest.raises(Violation, match=sentence):
        invariant(world)
    with pytest.raises(Violation):
        invariants.check(world)
