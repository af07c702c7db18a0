"""Signed documents of every kind: the envelope, the body, and the book's judgement of both."""

from __future__ import annotations

from collections.abc import Mapping

from p2pcompute.errors import DecodeError
from p2pcompute.identity.delegation import Capability, Delegation, Revocation
from p2pcompute.identity.keys import KeyPair
from p2pcompute.wire import codec
from p2pcompute.wire import documents as d
from p2pcompute.wire.policy import Policy
from tests.fuzz.target import Target

NETWORK = "fuzz"
WALL_MS = 1_800_000_000_000
KEY = KeyPair(bytes(range(32)))


def _believe(key: bytes, message: bytes, signature: bytes) -> bool:
    """Mutation cannot sign: what stands behind the signature is reached by taking every one."""
    return True


def feed(data: bytes) -> None:
    """What is accepted encodes to the very same bytes."""
    document = d.open_document(NETWORK, data, _believe)
    e = codec.open_envelope(data)
    again = codec.seal(
        NETWORK,
        lambda message: e.signature,
        kind=document.kind,
        signer=document.signer,
        epoch=document.epoch,
        sequence=document.sequence,
        issued_at=document.issued_at,
        expires_at=document.expires_at,
        body=document.body,
    )
    assert again == data, "an accepted document has two encodings"
    assert len(document.id) == 32


def write(body: object, *, lifetime_ms: int = 60_000) -> bytes:
    """A document by KEY, the same at every call."""
    return d.Author(NETWORK, KEY.public, bytes(8), KEY.sign).write(WALL_MS, body, lifetime_ms=lifetime_ms).raw  # type: ignore[arg-type]


def seeds() -> Mapping[str, bytes]:
    """One of each kind."""
    h = bytes(range(32))
    lent = write(Delegation(h, Capability.PROVIDE))
    where = ("/ip4/203.0.113.7/tcp/9471",)
    bodies = (
        Delegation(h, Capability.PROVIDE | Capability.REQUEST),
        Revocation(h),
        d.Offer(lent, where, "cpu", "m", "c", "jail", "eu", 2**30, 1_000, 2, 70_000, 6_000, 1_000_000, 1_000),
        d.Cancel(),
        d.Demand(h[:16], lent, where, d.Needs(), 2, 1_000, WALL_MS),
        d.Proposal(h, d.Offer(lent, where, "cpu", "m", "c", "jail", "eu", 1, 1, 1, 1, 1, 1, 1)),
        d.Probe(b"", "cpu", 2**30, 1_000, 1_000),
        d.Quote(h, 1_000_000, 1_000, 1_000),
        d.ReservationRequest(h, 60_000, 1),
        d.Renew(h, 60_000),
        d.Reservation(h, 0, 1, h, h),
        d.Decline(h, d.DeclineCode.BUSY, "busy"),
        d.Release(h),
        d.EquivocationProof(lent, lent),
        d.Assignment(h, h, h, 100, 1, 1, 1, 1, WALL_MS, Policy(), h),
        d.Abort(h, "enough"),
        d.Failure(h, d.FailureCode.CRASHED, "crashed"),
        d.Commitment(h, h),
        d.RevealRequest(h, (h, h), h),
        d.RootReveal(h, h, "cpu", "cpu-1", d.OutcomeStatus.OK, (h,), 1_000, ""),
        d.Verdict(h, d.Judgement.AGREED, (h,), 2, 1_000),
        d.Delivery(h),
        d.Receipt(1, h, h, h, h, h, (h,), "cpu", 1_000, 0, 1_000),
        d.Cheque(h, 1_000, h),
    )
    nested = b"\x99" + b"\x91" * 2_000
    return {
        **{type(body).__name__.lower(): write(body) for body in bodies},
        "bad_nested": nested,
        "bad_huge_array": b"\xdd\xff\xff\xff\xff",
        "bad_huge_bytes": b"\x99\x01\x0a\xc6\xff\xff\xff\xff",
    }


TARGET = Target(feed, (DecodeError,), seeds, held_bytes_per_byte=64)
