"""The port for value that must leave the network: rule K10 of docs/spec/market.md. Nothing here implements it.

Credits are promises between two peers. Whoever wants them turned into something else brings a transport for it, which
two peers agree on outside of the protocol; cheques say how much is due, and the transport what has come.
"""

from __future__ import annotations

from typing import Protocol

from p2pcompute.protocol.ledger import Ledger


class Settlement(Protocol):
    """A transport for value. Sums are micro-credits at whatever rate the two peers agreed on."""

    def pay(self, payee: bytes, amount: int) -> str:
        """Send so much; the transport's own reference, for a person. Raises RemoteError or LocalError when it cannot:
        then nothing was sent."""
        ...

    def seen(self, payer: bytes) -> int:
        """How much has ever come from a payer, and cannot be taken back. Never less than before."""
        ...


def due_from(ledger: Ledger, settlement: Settlement, payer: bytes) -> int:
    """What a payer's cheques promised and its settlements have not brought yet."""
    return max(0, ledger.account(payer).covered - settlement.seen(payer))
