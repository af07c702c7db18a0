"""Every signed document, by kind. docs/spec/documents.md is the normative table; this is its schema.

Money is micro-credits, times are Unix milliseconds, durations name their unit. Ids are 32-byte document ids, roots
32-byte Merkle roots. Unknown kinds and versions are ignored by receivers, never fatal.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Annotated, Any, Final, TypeVar

import msgspec

from p2pcompute.errors import DecodeError
from p2pcompute.identity.delegation import Delegation, Grant, Revocation
from p2pcompute.wire import codec, limits
from p2pcompute.wire.codec import Document
from p2pcompute.wire.policy import Policy

Hash = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Label = Annotated[str, msgspec.Meta(max_length=limits.LABEL_BYTES_MAX)]
Reason = Annotated[str, msgspec.Meta(max_length=limits.REASON_BYTES_MAX)]
Money = Annotated[int, msgspec.Meta(ge=0, le=limits.PRICE_MAX)]
Count = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
Raw = Annotated[bytes, msgspec.Meta(max_length=1024)]
"""A whole signed document inside another: a delegation or a reservation."""
LeaseMs = Annotated[int, msgspec.Meta(ge=1, le=600_000)]


class Kind(enum.IntEnum):
    """Numbers on the wire; never reused."""

    DELEGATION = 1
    REVOCATION = 2
    OFFER = 10
    CANCEL = 11
    DEMAND = 12
    PROPOSAL = 13
    PROBE = 20
    QUOTE = 21
    RESERVATION_REQUEST = 22
    RESERVATION = 23
    DECLINE = 24
    RELEASE = 25
    EQUIVOCATION_PROOF = 26
    RENEW = 27
    ASSIGNMENT = 30
    ABORT = 31
    FAILURE = 32
    COMMITMENT = 40
    REVEAL_REQUEST = 41
    ROOT_REVEAL = 42
    VERDICT = 43
    DELIVERY = 44
    RECEIPT = 50
    CHEQUE = 51


class Body(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, gc=False):
    """Base of all bodies: positional, immutable, strict."""


Addresses = Annotated[
    tuple[Annotated[str, msgspec.Meta(max_length=limits.ADDRESS_BYTES_MAX)], ...],
    msgspec.Meta(max_length=limits.ADDRESSES_MAX),
]
Tag = Annotated[bytes, msgspec.Meta(max_length=16)]
"""Tells the demands of one signer apart; empty for its offers."""
Labels = Annotated[tuple[Label, ...], msgspec.Meta(max_length=limits.LABELS_MAX)]


class Offer(Body, frozen=True):
    """A provider's ask. The newest sequence of a (signer, epoch) replaces all earlier ones.

    `mflops` is of single precision, `mflops_f64` of double; `compute_capability` is ten times that of CUDA, `toolchain`
    the id of the compiler whose PTX this provider can make again, `jurisdictions` tags of laws it is under.
    `price_per_gb` is for 10^9 bytes that travel. Power in watts and grams of CO2 per kilowatt-hour are its own word; 0
    and "" state nothing. (The defaults are for who writes an offer: on the wire every field stands.)
    """

    delegation: Raw
    addresses: Addresses
    engine: Label
    model: Label
    numeric_class: Label
    isolation: Label
    region: Label
    memory_bytes_max: Count
    device_ms_max: Count
    slots: Annotated[int, msgspec.Meta(ge=1, le=limits.SLOTS_MAX)]
    mflops: Count
    copy_mb_s: Count
    price_per_device_s: Money
    price_minimum: Money
    price_per_gb: Money = 0
    compute_capability: Count = 0
    toolchain: Label = ""
    jurisdictions: Labels = ()
    watts: Count = 0
    gco2_per_kwh: Count = 0
    mflops_f64: Count = 0


Names = Annotated[tuple[Label, ...], msgspec.Meta(max_length=limits.NEEDS_LISTED_MAX)]
Keys = Annotated[tuple[Hash, ...], msgspec.Meta(max_length=limits.NEEDS_LISTED_MAX)]


class RankBy(enum.StrEnum):
    """Which price decides: that of a device-second, or that of a given amount of work, as far as an offer's own word on
    its throughput goes."""

    DEVICE_SECOND = "device-second"
    GFLOP = "gflop"


class Needs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a job asks of a provider; zero, "" and an empty list ask nothing.

    Numbers without `_max` are the least that serves. `regions`, `jurisdictions` and `operators` (public keys) name who
    may serve, `…_denied` who may not. `rtt_ms_max` is held against what this peer measured itself: nobody is refused
    for a round trip that was never measured. A cap on watts or CO2 refuses offers that state none.
    """

    memory_bytes: Count = 0
    device_ms: Count = 0
    engine: Label = ""
    price_per_device_s_max: Money = 0
    price_per_gb_max: Money = 0
    regions: Names = ()
    regions_denied: Names = ()
    jurisdictions: Names = ()
    jurisdictions_denied: Names = ()
    model: Label = ""
    compute_capability: Count = 0
    mflops: Count = 0
    copy_mb_s: Count = 0
    isolation: Label = ""
    toolchain: Label = ""
    watts_max: Count = 0
    gco2_per_kwh_max: Count = 0
    rtt_ms_max: Count = 0
    operators: Keys = ()
    operators_denied: Keys = ()
    rank_by: RankBy = RankBy.DEVICE_SECOND
    mflops_f64: Count = 0


class Cancel(Body, frozen=True):
    """Tombstone: takes back what this signer stated before, in the order of the book: its offers, or the demands of one
    `tag`."""

    tag: Tag = b""


class Demand(Body, frozen=True):
    """A requester's bid that nobody met: `quantity` providers for these needs, whose price limits are the most it pays.
    Replaces an earlier one of the same signer and tag. It is answered by Proposals, sent to `addresses`, before
    `deadline`."""

    tag: Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
    delegation: Raw
    addresses: Addresses
    needs: Needs
    quantity: Annotated[int, msgspec.Meta(ge=1, le=limits.REPLICAS_MAX)]
    traffic_bytes: Count
    deadline: Count


class Proposal(Body, frozen=True):
    """An offer for one demand alone, on terms that no public offer of its signer needs to state."""

    demand: Hash
    offer: Offer


class Probe(Body, frozen=True):
    """Would you run this, and at what price? `traffic_bytes` is all that can travel for it. `delegation` shows whose
    requester this is, `seen` the Reservations it was given last: whoever is probed by two requesters can tell when
    somebody promised them one slot twice. `demand` is the Demand that a Proposal of the receiver answered; empty when
    its public offer is meant."""

    delegation: Raw
    engine: Label
    memory_bytes_max: Count
    device_ms_max: Count
    traffic_bytes: Count
    seen: Annotated[tuple[Raw, ...], msgspec.Meta(max_length=limits.SIGHTINGS_MAX)] = ()
    demand: Annotated[bytes, msgspec.Meta(max_length=32)] = b""


class Quote(Body, frozen=True):
    """Yes, while this document lives."""

    probe: Hash
    price_per_device_s: Money
    price_per_gb: Money
    price_minimum: Money


class ReservationRequest(Body, frozen=True):
    """Keep a slot for me for `lease_ms`, at this quote, for so many assignments, one after the other."""

    quote: Hash
    lease_ms: LeaseMs
    assignments: Annotated[int, msgspec.Meta(ge=1, le=limits.ASSIGNMENTS_MAX)]


class Renew(Body, frozen=True):
    """Keep the slot of this reservation for me for `lease_ms` from now. The answer is a Reservation of the same slot
    that follows the one it replaces, which this document closes."""

    reservation: Hash
    lease_ms: LeaseMs


class Reservation(Body, frozen=True):
    """Slot `slot` is yours until this document expires, or until the last Assignment on it ends. `n` counts the
    reservations of the slot in this epoch, `previous` is the one before, `closes` names the document that ended it
    (zeros: it expired or there was none). Two different reservations with one (signer, epoch, slot, n) are an
    equivocation."""

    request: Hash
    slot: Annotated[int, msgspec.Meta(ge=0, lt=limits.SLOTS_MAX)]
    n: Count
    previous: Hash
    closes: Hash


class EquivocationProof(Body, frozen=True):
    """Two Reservations, Receipts or Commitments of one signer of which nobody honest signs both, the one of the lesser
    id first. Whoever signs this vouches for nothing: the two speak for themselves."""

    first: Raw
    second: Raw


class DeclineCode(enum.IntEnum):
    """Why not."""

    BUSY = 0
    UNKNOWN_QUOTE = 1
    UNSUITABLE = 2
    NO_CREDIT = 3
    NOT_AUTHORISED = 4
    UNKNOWN_RESERVATION = 5
    DRAINING = 6
    TOO_LATE = 7
    IDLE_LEASES = 8
    STRANGERS_LEASES = 9
    RENEWED_TOO_OFTEN = 10


class Decline(Body, frozen=True):
    """No, with the reason for a person. `request` is the document it answers."""

    request: Hash
    code: DeclineCode
    reason: Reason


class Release(Body, frozen=True):
    """The requester gives a reservation back on which nothing is at work."""

    reservation: Hash


class Assignment(Body, frozen=True):
    """Run this manifest on that reservation. Binds the price ceiling, the deadline for the commitment, the policy and a
    commitment to the requester's nonce. `manifest` is the hash of the manifest's bytes, `manifest_root` its blob."""

    reservation: Hash
    manifest: Hash
    manifest_root: Hash
    manifest_size_bytes: Annotated[int, msgspec.Meta(ge=1, le=limits.MANIFEST_BYTES_MAX)]
    price_per_device_s: Money
    price_per_gb: Money
    price_minimum: Money
    price_ceiling: Money
    commit_by: Count
    policy: Policy
    nonce_commitment: Hash


class Abort(Body, frozen=True):
    """The requester no longer wants the assignment's result. Nothing is owed."""

    assignment: Hash
    reason: Reason


class FailureCode(enum.IntEnum):
    """Why there is no commitment. Nothing is owed."""

    INPUT_UNAVAILABLE = 0
    REFUSED = 1
    CRASHED = 2
    SHUTTING_DOWN = 3


class Failure(Body, frozen=True):
    """The provider gives the assignment up."""

    assignment: Hash
    code: FailureCode
    reason: Reason


class Commitment(Body, frozen=True):
    """The provider is done and can no longer change what it says: `root` is the salted Merkle root over the fields of
    the opening (docs/spec/verification.md)."""

    assignment: Hash
    root: Hash


class RevealRequest(Body, frozen=True):
    """The requester shows which commitments it holds, opens its own nonce, and asks for the opening of one of them."""

    commitment: Hash
    all_commitments: Annotated[tuple[Hash, ...], msgspec.Meta(min_length=1, max_length=limits.REPLICAS_MAX)]
    nonce: Hash


class OutcomeStatus(enum.IntEnum):
    """How the kernels ended. Anything but OK is the kernel's fault when a quorum says the same."""

    OK = 0
    TRAP = 1
    TIMEOUT = 2


State = Annotated[tuple[Hash, ...], msgspec.Meta(max_length=limits.BUFFERS_MAX)]
"""The roots of all buffers that are no pure inputs, in the manifest's order."""


class RootReveal(Body, frozen=True):
    """The opening of a commitment: roots only, no data. `states`: what each step of the task left, where blocks are
    sampled."""

    commitment: Hash
    salt: Hash
    engine: Label
    numeric_class: Label
    status: OutcomeStatus
    output_roots: Annotated[tuple[Hash, ...], msgspec.Meta(max_length=limits.BUFFERS_MAX)]
    device_us: Count
    reason: Reason
    states: Annotated[tuple[State, ...], msgspec.Meta(max_length=limits.SNAPSHOT_STEPS_MAX)] = ()


class Judgement(enum.IntEnum):
    """What the requester made of one replica."""

    AGREED = 0
    OUTVOTED = 1
    KERNEL_AT_FAULT = 2
    UNDECIDED = 3
    REFUTED = 4


class Verdict(Body, frozen=True):
    """The requester's judgement of one commitment, and what it will pay for it."""

    commitment: Hash
    judgement: Judgement
    agreed_roots: Annotated[tuple[Hash, ...], msgspec.Meta(max_length=limits.BUFFERS_MAX)]
    agreeing: Annotated[int, msgspec.Meta(ge=0, le=limits.REPLICAS_MAX)]
    price: Money


class Receipt(Body, frozen=True):
    """One link of the provider's receipt chain: what was done for whom, at what price, under which verdict."""

    n: Count
    previous: Hash
    verdict: Hash
    assignment: Hash
    manifest: Hash
    requester: Hash
    output_roots: Annotated[tuple[Hash, ...], msgspec.Meta(max_length=limits.BUFFERS_MAX)]
    engine: Label
    device_us: Count
    energy_mj: Count
    price: Money


class Delivery(Body, frozen=True):
    """The requester has all outputs, verified against their roots."""

    receipt: Hash


class Cheque(Body, frozen=True):
    """The payer owes `payee` `cumulative` in all for this epoch. Countersigns `receipt`, the newest one covered; or,
    where `part` is not 0, pays so much of it, with earlier parts, and countersigns nothing yet."""

    payee: Hash
    cumulative: Money
    receipt: Hash
    part: Money = 0


SCHEMAS: Final[dict[Kind, type[msgspec.Struct]]] = {
    Kind.DELEGATION: Delegation,
    Kind.REVOCATION: Revocation,
    Kind.OFFER: Offer,
    Kind.CANCEL: Cancel,
    Kind.DEMAND: Demand,
    Kind.PROPOSAL: Proposal,
    Kind.PROBE: Probe,
    Kind.QUOTE: Quote,
    Kind.RESERVATION_REQUEST: ReservationRequest,
    Kind.RESERVATION: Reservation,
    Kind.DECLINE: Decline,
    Kind.RELEASE: Release,
    Kind.EQUIVOCATION_PROOF: EquivocationProof,
    Kind.RENEW: Renew,
    Kind.ASSIGNMENT: Assignment,
    Kind.ABORT: Abort,
    Kind.FAILURE: Failure,
    Kind.COMMITMENT: Commitment,
    Kind.REVEAL_REQUEST: RevealRequest,
    Kind.ROOT_REVEAL: RootReveal,
    Kind.VERDICT: Verdict,
    Kind.DELIVERY: Delivery,
    Kind.RECEIPT: Receipt,
    Kind.CHEQUE: Cheque,
}
KIND_OF: Final[dict[type[msgspec.Struct], Kind]] = {schema: kind for kind, schema in SCHEMAS.items()}
_decoders: Final[dict[bytes, msgspec.msgpack.Decoder[codec.Envelope[Any]]]] = {
    codec.head(kind): msgspec.msgpack.Decoder(codec.Envelope[schema])  # type: ignore[valid-type]
    for kind, schema in SCHEMAS.items()
}
"""By the bytes that a document of the kind begins with."""
_HEAD_BYTES: Final = 3

AnyDocument = Document[Any]
T = TypeVar("T", bound=msgspec.Struct)


class UnknownDocumentError(DecodeError):
    """A version or kind from the future: to be ignored, not punished."""


def open_document(network: str, raw: bytes, verify: codec.Verify) -> AnyDocument:
    """Decode, check canonical form, then the signature. Raises UnknownDocumentError, DecodeError or SignatureError."""
    decoder = _decoders.get(raw[:_HEAD_BYTES])
    if decoder is None:
        unknown = codec.open_envelope(raw)
        raise UnknownDocumentError(f"unknown document version {unknown.version}, kind {unknown.kind}")
    e = codec.open_typed(raw, decoder)
    codec.check_signature(network, raw, e, verify)
    return Document(
        kind=e.kind,
        signer=e.signer,
        epoch=e.epoch,
        sequence=e.sequence,
        issued_at=e.issued_at,
        expires_at=e.expires_at,
        body=e.body,
        id=codec.document_id(raw),
        raw=raw,
    )


def body_of(document: AnyDocument, schema: type[T]) -> T:
    """The body, if it is of this schema. Raises DecodeError otherwise."""
    if not isinstance(document.body, schema):
        raise DecodeError(f"expected a {schema.__name__}, got a {type(document.body).__name__}")
    return document.body


class Author:
    """Signs documents in one key's name, with sequences that only grow.

    `sequence` starts from the wall clock in microseconds or from the highest journaled one, whichever is greater, so
    that a restart never reuses a number even when nothing of the last run was journaled.
    """

    def __init__(self, network: str, me: bytes, epoch: bytes, sign: Callable[[bytes], bytes]) -> None:
        self.network, self.me, self.epoch, self._sign = network, me, epoch, sign
        self._sequence = 0

    def seen(self, sequence: int) -> None:
        """A document of this key and epoch came back out of the journal."""
        self._sequence = max(self._sequence, sequence)

    def write(self, wall_ms: int, body: msgspec.Struct, *, lifetime_ms: int) -> AnyDocument:
        """A new document, issued now, expiring after `lifetime_ms`."""
        self._sequence = max(self._sequence + 1, wall_ms * 1000)
        kind = KIND_OF[type(body)]
        raw = codec.seal(
            self.network,
            self._sign,
            kind=kind,
            signer=self.me,
            epoch=self.epoch,
            sequence=self._sequence,
            issued_at=wall_ms,
            expires_at=wall_ms + lifetime_ms,
            body=body,
        )
        return Document(
            kind=kind,
            signer=self.me,
            epoch=self.epoch,
            sequence=self._sequence,
            issued_at=wall_ms,
            expires_at=wall_ms + lifetime_ms,
            body=body,
            id=codec.document_id(raw),
            raw=raw,
        )


def open_delegation(network: str, raw: bytes, verify: codec.Verify) -> Grant:
    """The grant inside a delegation's bytes. Raises DecodeError or SignatureError."""
    document = open_document(network, raw, verify)
    body = body_of(document, Delegation)
    return Grant(document.signer, body.subject, body.capabilities, document.issued_at, document.expires_at)
