"""Worlds in which value leaves: through a bank that now and then does nothing, or does not say what it did."""

from __future__ import annotations

from typing import Any

import pytest

from p2pcompute.protocol import records
from p2pcompute.protocol.machine import Redeem
from simnet.bank import Bank, Transfer
from simnet.disk import CrashState
from simnet.faults import Crash, CrashAtRecord, Plan, Restore
from simnet.invariants import INVARIANTS, Violation, Watch
from simnet.invariants.base import of_kind
from simnet.links import Links
from simnet.scenario import Scenario, Work
from simnet.virtual import VirtualWorld
from simnet.world import World

SETTLED = Scenario(
    providers=4,
    requesters=2,
    characters={"liar": 1},
    settle_at=1_000_000,
    links=Links(loss=0.05, request_loss=0.05),
    work=Work(tasks=12, every_ms=700),
)
PLAN: Plan = (
    CrashAtRecord("requester", 9, disk=CrashState.LOST),
    Crash("requester", 5_500, disk=CrashState.LOST),
    Crash("provider0", 6_000, disk=CrashState.TORN),
    Restore("requester1", 7_000),
)


def lived(seed: int, plan: Plan = PLAN) -> World:
    world = World(SETTLED, seed, plan=plan)
    watch = Watch(world)
    world.run()
    watch.end()
    return world


@pytest.mark.parametrize("seed", range(6))
def test_value_leaves_once_and_is_booked_whatever_crashes(seed: int) -> None:
    world = lived(seed)
    moved = world.network.bank.transfers
    assert len(moved) >= 4
    begun = sum(1 for node in world.requesters for _ in of_kind(node, records.Redeeming))
    assert begun >= len(moved)


def test_the_bank_fails_now_and_then() -> None:
    reasons = {
        str(fields["reason"])
        for seed in range(4)
        for _, _, name, fields in lived(seed, ()).events
        if name == "settlement.failed"
    }
    assert reasons == {"the bank is closed", "the bank did not answer"}


def test_both_drivers_settle_alike() -> None:
    def trace(kind: type[World]) -> tuple[str, int]:
        world = kind(SETTLED, 3, plan=(Crash("requester", 5_500, disk=CrashState.LOST),), hashing=True)
        world.run()
        assert world.network.bank.transfers
        return world.trace.digest(), world.wheel.now_ms

    assert trace(World) == trace(VirtualWorld)


def test_a_bank_moves_once_for_a_key_and_tells_of_another_sum() -> None:
    bank, arrived = Bank(), list[Transfer]()
    bank.arrived = arrived.append
    said = [bank.pay(b"payer", Redeem(bytes([i]) * 32, b"payee", 5, 5, b"")) for i in range(40) for _ in range(2)]
    assert {*said[::2]} == {"", "the bank is closed", "the bank did not answer"}
    assert {*said[1::2]} == {""}
    assert len(arrived) == len(bank.transfers) == 40
    assert not bank.altered
    bank.pay(b"payer", Redeem(bytes(32), b"payee", 6, 6, b""))
    assert [x.amount for x in bank.altered] == [6]
    assert bank.transfers[bytes(32)].amount == 5


def spoilt(what: str) -> World:
    world = lived(0, ())
    bank: Any = world.network.bank
    some = next(iter(bank.transfers.values()))
    payer = next(node for node in world.nodes if node.peer == some.payer)
    payee = next(node for node in world.nodes if node.peer == some.payee)
    if what == "sent twice":
        bank.transfers[b"again"] = Transfer(b"again", some.payer, some.payee, 10**9)
    elif what == "another sum":
        bank.altered.append(some)
    elif what == "booked twice":
        payee.disk.records.append(records.encode_record(records.ValueCame(some.payer, some.amount, "")))
    elif what == "not booked":
        del bank.transfers[some.key]
        bank.transfers[some.key] = Transfer(some.key, some.payer, some.payee, some.amount)
        held = payee.disk.records
        del held[next(i for i, data in enumerate(held) if some.reference.encode() in data)]
    elif what == "not sent" and payer.core is not None:
        payer.core.ledger.account(some.payee).settled -= SETTLED.settle_at + 1
    return world


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("sent twice", "promised by"),
        ("booked twice", "came"),
        ("another sum", "for another sum"),
        ("not booked", "not all that"),
        ("not sent", "and nothing leaves"),
    ],
)
def test_what_breaks_the_books_is_found(what: str, sentence: str) -> None:
    world = spoilt(what)
    with pytest.raises(Violation, match=sentence):
        INVARIANTS["settled-once"](world).at_end()
