"""An invariant that cannot fail checks nothing: each one, on a world with the fault planted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from p2pcompute.errors import UsageError
from p2pcompute.protocol import records
from p2pcompute.protocol.machine import Emit
from p2pcompute.wire import documents as d
from simnet.invariants import INVARIANTS, Violation, Watch
from simnet.invariants.base import of_kind, opened
from simnet.node import Node
from simnet.scenario import Scenario
from simnet.site import Site
from simnet.world import World


def ended(seed: int = 5) -> tuple[World, Watch]:
    """An undisturbed world with one liar; a test may spoil it."""
    made = World(Scenario(providers=4, characters={"liar": 1}), seed)
    watch = Watch(made)
    made.run()
    watch.end()
    return made, watch


def drop(node: Node, kind: type[Any]) -> None:
    """Forget the last record of a kind."""
    held = node.disk.records
    at = max(i for i, data in enumerate(held) if isinstance(records.decode_record(data), kind))
    del held[at]


def busy(world: World) -> Node:
    """A provider that was paid."""
    return next(p for p in world.providers if any(of_kind(p, records.Covered)))


def rebook(world: World, **changes: int) -> None:
    """Journal another reservation like a provider's first."""
    p = busy(world)
    assert p.core is not None
    held = next(of_kind(p, records.Reserved))
    body = opened(held.reservation).body
    n = changes.get("n", body.n)
    forged = p.core.post.write(p.now, d.Reservation(bytes(32), body.slot, n, body.previous, body.closes), lifetime_ms=1)
    p.disk.records.append(records.encode_record(records.Reserved(held.requester, 1, 1, forged.raw)))


def spoil_result(world: World) -> None:
    next(iter(world.tasks.values())).roots = (b"?" * 32,)


def fail_task(world: World) -> None:
    next(iter(world.tasks.values())).done = False


def lose_task(world: World) -> None:
    next(iter(world.tasks.values())).ended_ms = -1


def issue_again(world: World) -> None:
    p = busy(world)
    p.disk.records.append(records.encode_record(next(of_kind(p, records.Issued))))


PLANTED: dict[str, tuple[Callable[[World], None], str, str]] = {
    "lost task": (lose_task, "no-task-lost", "never ended"),
    "failed task": (fail_task, "no-task-lost", "failed"),
    "wrong result": (spoil_result, "no-wrong-result", "wrong result"),
    "slot promised twice": (rebook, "no-double-booking", "twice as number"),
    "broken chain": (lambda w: rebook(w, n=99), "no-double-booking", "does not follow"),
    "receipt unpaid": (lambda w: drop(w.requester, records.Settled), "paid-once", "receipts held"),
    "cheque lost": (lambda w: drop(busy(w), records.Covered), "paid-once", "was promised"),
    "two receipts": (issue_again, "paid-once", "two receipts for one assignment"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found(name: str) -> None:
    plant, invariant, sentence = PLANTED[name]
    world, watch = ended()
    plant(world)
    with pytest.raises(Violation, match=sentence):
        INVARIANTS[invariant](world).at_end()
    with pytest.raises(Violation):
        watch.end()


def test_more_work_for_a_liar_is_found() -> None:
    world, _ = ended()
    at_ms, _, _, fields = next(e for e in world.events if e[2] == "job.verdict" and e[3]["judgement"] == "OUTVOTED")
    invariant = INVARIANTS["liars-are-out"](world)
    invariant.on_event(at_ms, world.requester, Emit("job.verdict", fields))
    with pytest.raises(Violation, match="got more work"):
        invariant.on_event(at_ms + 1_000, world.requester, Emit("job.assigned", {"operator": fields["operator"]}))


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
