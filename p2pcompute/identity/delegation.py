"""Who may act for whom: an operator key lends node and client keys some of its rights, for a while.

"Distinct operators" means distinct delegation roots. A key without a delegation is its own operator: its evidence
stands alone, and so does its reputation.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Annotated

import msgspec

Subject = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
"""A public key."""


class Capability(enum.IntFlag, boundary=enum.STRICT):
    """What a delegated key may sign in its operator's name. Unknown bits are refused: Python remembers every new
    combination of a lenient flag for ever, so a stranger could fill our memory with them."""

    PROVIDE = 1
    """Offers, reservations, commitments, receipts."""
    REQUEST = 2
    """Demands, assignments, verdicts, cheques."""


class Delegation(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """Body of the signed document: the signer (the operator) lends `capabilities` to `subject`; the envelope's times
    bound it."""

    subject: Subject
    capabilities: Capability


class Revocation(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """Body of the signed document: the signer takes back every delegation to `subject` it issued up to the envelope's
    `issued_at`."""

    subject: Subject


class Grant(msgspec.Struct, frozen=True):
    """A verified delegation, out of its envelope. Times are Unix milliseconds."""

    operator: bytes
    subject: bytes
    capabilities: Capability
    issued_at: int
    expires_at: int


class Authority:
    """The delegations and revocations one peer has seen, and what follows from them. Bounded: the oldest go first."""

    REVOCATIONS_MAX = 100_000

    def __init__(self) -> None:
        self._revoked_until: dict[tuple[bytes, bytes], int] = {}

    def revoke(self, operator: bytes, subject: bytes, issued_at: int) -> bool:
        """Record a verified revocation; False when one at least as new is known."""
        key = operator, subject
        if issued_at <= self._revoked_until.get(key, -1):
            return False
        self._revoked_until.pop(key, None)
        self._revoked_until[key] = issued_at
        while len(self._revoked_until) > self.REVOCATIONS_MAX:
            del self._revoked_until[next(iter(self._revoked_until))]
        return True

    def holds(self, grant: Grant, subject: bytes, needs: Capability, wall_ms: int, *, skew_ms: int = 0) -> bool:
        """Whether `grant` lets `subject` do `needs` at this time; our clock may be `skew_ms` behind the operator's."""
        return (
            grant.subject == subject
            and not int(needs) & ~int(grant.capabilities)  # numbers: flags would make new flags, a microsecond each
            and grant.issued_at - skew_ms <= wall_ms < grant.expires_at
            and grant.issued_at > self._revoked_until.get((grant.operator, subject), -1)
        )

    def revocations(self) -> Iterable[tuple[bytes, bytes, int]]:
        """(operator, subject, issued_at) of each, oldest first."""
        return ((o, s, at) for (o, s), at in self._revoked_until.items())
