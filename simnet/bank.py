"""Where value goes when it leaves the simulated network: it moves for each key once, and now and then its answer is
lost, or nothing happens at first."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from blake3 import blake3

from p2pcompute.protocol.machine import Redeem


@dataclasses.dataclass(frozen=True, slots=True)
class Transfer:
    """Micro-credits that moved from one peer to another."""

    key: bytes
    payer: bytes
    payee: bytes
    amount: int

    @property
    def reference(self) -> str:
        """What the payee sees of it."""
        return self.key.hex()


class Bank:
    """All operators have an account there."""

    def __init__(self) -> None:
        self.transfers: dict[bytes, Transfer] = {}
        self.altered: list[Transfer] = []
        """What was asked for under a key that had moved something else."""
        self.arrived: Callable[[Transfer], None] = lambda transfer: None
        self._asked: dict[bytes, int] = {}

    def pay(self, payer: bytes, order: Redeem) -> str:
        """As node.ports.Payments says."""
        times = self._asked[order.key] = self._asked.get(order.key, 0) + 1
        luck = blake3(order.key).digest()[0] % 4 if times == 1 else 3
        if luck == 0:
            return "the bank is closed"
        transfer = Transfer(order.key, payer, order.payee, order.amount)
        before = self.transfers.setdefault(order.key, transfer)
        if before != transfer:
            self.altered.append(transfer)
        elif before is transfer:
            self.arrived(transfer)
        return "the bank did not answer" if luck == 1 else ""
