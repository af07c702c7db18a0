"""What must hold in every world, whatever was simulated."""

from __future__ import annotations

import math

from p2pcompute.protocol import records
from p2pcompute.wire import documents as d
from simnet.node import NETWORK, Node, right_outputs
from simnet.world import World


class Violation(AssertionError):
    """An invariant broke; the text names it and the circumstances."""


def check(world: World) -> None:
    """Raise Violation for the first broken invariant."""
    no_task_lost(world)
    no_wrong_result(world)
    no_double_booking(world)
    paid_once(world)
    liars_are_out(world)


def no_task_lost(world: World) -> None:
    """Every submitted task ends well."""
    for job in world.manifests:
        if job not in world.finished:
            raise Violation(f"task {job.hex()[:8]} never ended")
        if not world.finished[job][0]:
            core = world.requester.core
            held = core.requester.jobs.get(job) if core is not None else None
            raise Violation(f"task {job.hex()[:8]} failed: {held.error if held is not None else 'unknown'}")


def no_wrong_result(world: World) -> None:
    """What was accepted is what honest engines compute."""
    for job, (_, roots) in world.finished.items():
        if roots != tuple(root for root, _ in right_outputs(world.manifests[job])):
            raise Violation(f"task {job.hex()[:8]} ended with a wrong result")


def journal(node: Node) -> list[records.AnyRecord]:
    """A node's journal, decoded."""
    return [records.decode_record(data) for data in node.journal]


def no_double_booking(world: World) -> None:
    """No two reservations of one provider share (epoch, slot, n), and each names the one before it."""
    for provider in world.providers:
        links: dict[tuple[bytes, int, int], bytes] = {}
        last: dict[int, bytes] = {}
        for record in journal(provider):
            if not isinstance(record, records.Reserved):
                continue
            doc = d.open_document(NETWORK, record.reservation, Node.network_verify)
            key = doc.epoch, doc.body.slot, doc.body.n
            if links.setdefault(key, doc.id) != doc.id:
                raise Violation(f"{provider.name} promised slot {doc.body.slot} twice as number {doc.body.n}")
            if doc.body.previous != last.get(doc.body.slot, bytes(32)):
                raise Violation(f"{provider.name}'s reservation {doc.body.n} does not follow the one before")
            last[doc.body.slot] = doc.id


def paid_once(world: World) -> None:
    """The requester's last cheque to a provider is the sum of its receipts that are held; the provider has it; no
    assignment is charged twice."""
    held: dict[bytes, int] = {}
    promised: dict[bytes, int] = {}
    for record in journal(world.requester):
        if isinstance(record, records.ReceiptHeld):
            receipt = d.open_document(NETWORK, record.receipt, Node.network_verify)
            held[receipt.signer] = held.get(receipt.signer, 0) + receipt.body.price
        elif isinstance(record, records.Settled):
            cheque = d.open_document(NETWORK, record.cheque, Node.network_verify)
            promised[cheque.body.payee] = max(promised.get(cheque.body.payee, 0), cheque.body.cumulative)
    if held != promised:
        raise Violation(f"receipts held {sum(held.values())}, cheques written {sum(promised.values())}")
    for provider in world.providers:
        issued: dict[bytes, int] = {}
        for record in journal(provider):
            if isinstance(record, records.Issued):
                receipt = d.open_document(NETWORK, record.receipt, Node.network_verify)
                if receipt.body.assignment in issued:
                    raise Violation(f"{provider.name} issued two receipts for one assignment")
                issued[receipt.body.assignment] = receipt.body.price
        covered = _covered(world, provider)
        deadbeat = type(world.requester) is not Node
        if type(provider) is Node and not deadbeat and covered != promised.get(provider.peer, 0):
            raise Violation(f"{provider.name} was promised {promised.get(provider.peer, 0)} and got {covered}")


def _covered(world: World, provider: Node) -> int:
    cheques = [
        d.open_document(NETWORK, record.cheque, Node.network_verify).body.cumulative
        for record in journal(provider)
        if isinstance(record, records.Covered)
    ]
    return max(cheques, default=0)


def liars_are_out(world: World) -> None:
    """After a verdict against it, no operator is assigned anything more by that requester."""
    banned_at: dict[bytes, int] = {}
    for at, name, event, fields in world.events:
        if name != world.requester.name:
            continue
        operator = fields.get("operator")
        if event == "job.verdict" and fields.get("judgement") == "OUTVOTED" and isinstance(operator, bytes):
            banned_at.setdefault(operator, at)
        if event == "job.assigned" and isinstance(operator, bytes) and banned_at.get(operator, math.inf) < at:
            raise Violation("an outvoted operator got more work")
