"""One peer's correspondence: writes documents in its name, opens those of others, numbers its requests."""

from __future__ import annotations

import dataclasses
from typing import Final

import msgspec

from p2pcompute.identity.delegation import Authority, Capability, Grant
from p2pcompute.protocol.machine import Environment, Now, Request
from p2pcompute.wire import documents, limits
from p2pcompute.wire.documents import AnyDocument, Author

PENDING_MAX: Final = 65_536
"""Requests under way at once; the driver answers every one, so this only guards against a defect."""


@dataclasses.dataclass(frozen=True, slots=True)
class Tag:
    """What a request was for: the machine it belongs to, the step, and the thing it is about."""

    machine: str
    step: str
    subject: bytes
    peer: bytes


class Post:
    """Shared by all machines of a peer."""

    def __init__(self, env: Environment, network: str, epoch: bytes, delegation: bytes) -> None:
        """`delegation` is the operator's signed delegation to this key; empty when the key is its own operator."""
        self.env, self.network, self.delegation = env, network, delegation
        self.author = Author(network, env.me, epoch, env.sign)
        self.authority = Authority()
        self._next_id = 1
        self._pending: dict[int, Tag] = {}
        self._grants: dict[bytes, Grant] = {}

    def write(self, now: Now, body: msgspec.Struct, *, lifetime_ms: int) -> AnyDocument:
        """A new signed document, in force from now."""
        return self.author.write(now.wall_ms, body, lifetime_ms=lifetime_ms)

    def open(self, raw: bytes) -> AnyDocument:
        """Raises DecodeError, UnknownDocumentError or SignatureError."""
        document = self.env.open_document(self.network, raw, self.env.verify)
        if document.signer == self.env.me and document.epoch == self.author.epoch:
            self.author.seen(document.sequence)
        return document

    def ask(self, peer: bytes, frame: bytes, tag: Tag, *, timeout_ms: int, addresses: tuple[str, ...] = ()) -> Request:
        """A request whose answer will be routed by `tag`."""
        if len(self._pending) >= PENDING_MAX:
            raise RuntimeError("the driver leaves requests unanswered")
        request_id, self._next_id = self._next_id, self._next_id + 1
        self._pending[request_id] = tag
        return Request(peer, request_id, frame, timeout_ms, addresses)

    def answered(self, request_id: int) -> Tag | None:
        """The tag of a request, once."""
        return self._pending.pop(request_id, None)

    def operator_of(self, key: bytes, delegation: bytes, needs: Capability, now: Now) -> bytes | None:
        """The operator behind `key`: itself without a delegation, its delegation's root with a valid one, else None.

        Raises DecodeError or SignatureError for a delegation that is no valid document.
        """
        if not delegation:
            return key
        grant = self._grants.get(delegation)
        if grant is None:
            grant = documents.open_delegation(self.network, delegation, self.env.verify)
            self._grants[delegation] = grant
            while len(self._grants) > self.GRANTS_MAX:
                del self._grants[next(iter(self._grants))]
        holds = self.authority.holds(grant, key, needs, now.wall_ms, skew_ms=limits.CLOCK_SKEW_MS_MAX)
        return grant.operator if holds else None

    GRANTS_MAX: Final = 100_000
    """Delegations remembered as verified; the oldest go first and are verified again when needed."""
