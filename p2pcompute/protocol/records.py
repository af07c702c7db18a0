"""What the journal holds: one record per durable step, replayed in order at the start.

Records carry whole documents where there is one: the journal is then evidence, not only memory.
"""

from __future__ import annotations

import msgspec

from p2pcompute.errors import HomeError
from p2pcompute.protocol.machine import Persist
from p2pcompute.protocol.matching import Needs
from p2pcompute.wire.documents import RootReveal
from p2pcompute.wire.policy import Policy


class Record(msgspec.Struct, frozen=True, array_like=True, tag=True, forbid_unknown_fields=True):
    """Base: a tagged array."""


class JobSubmitted(Record, frozen=True, tag="job"):
    """Requester: a job was taken on. `delegation` etc. are the node's, not the job's."""

    job: bytes
    manifest: bytes
    policy: Policy
    stored: tuple[tuple[int, ...], ...]
    budget: int
    needs: Needs
    deadline_wall_ms: int


class Assigned(Record, frozen=True, tag="assigned"):
    """Requester: this assignment may be on its way. `device` is the class of device that was offered,
    `numeric_class` that of its numbers."""

    job: bytes
    peer: bytes
    operator: bytes
    device: str
    numeric_class: str
    addresses: tuple[str, ...]
    assignment: bytes
    reservation: bytes


class CommitmentHeld(Record, frozen=True, tag="held"):
    """Requester: a provider committed."""

    job: bytes
    commitment: bytes


class ReplicaLost(Record, frozen=True, tag="lost"):
    """Requester: an assignment will bring nothing."""

    job: bytes
    assignment: bytes
    reason: str


class Judged(Record, frozen=True, tag="judged"):
    """Requester: (reveal, verdict) of every replica. In one record, so that a crash cannot split a judgement."""

    job: bytes
    verdicts: tuple[tuple[bytes, bytes], ...]


class Refuted(Record, frozen=True, tag="refuted"):
    """Requester: recomputing a block showed that this opening is false; the job goes on with others. `evidence`
    is that of the inspection."""

    job: bytes
    reveal: bytes
    verdict: bytes
    evidence: tuple[bytes, int]


class Reopened(Record, frozen=True, tag="reopened"):
    """Requester: nobody who agreed gave the outputs; those are lost, and others are asked."""

    job: bytes


class ReceiptHeld(Record, frozen=True, tag="receipt-held"):
    """Requester: the provider's receipt."""

    job: bytes
    receipt: bytes


class Settled(Record, frozen=True, tag="settled"):
    """Requester: outputs are here (or none are due) and this cheque pays one replica."""

    job: bytes
    cheque: bytes


class PartPaid(Record, frozen=True, tag="part-paid"):
    """Requester: a part of the outputs is here, and this cheque pays for it."""

    job: bytes
    cheque: bytes


class ChequeTaken(Record, frozen=True, tag="cheque-taken"):
    """Requester: the payee has the cheque."""

    job: bytes
    receipt: bytes


class JobEnded(Record, frozen=True, tag="ended"):
    """Requester: the job's last word. `error` is empty when it succeeded; `code` is the exit code it maps to."""

    job: bytes
    output_roots: tuple[bytes, ...]
    code: int
    error: str


class Reserved(Record, frozen=True, tag="reserved"):
    """Provider: a slot is promised, for so many assignments. `price` fields are those of the quote it answers,
    the last one for what its probe asked. `renews`
    is the id of the reservation that this one prolongs; empty for a new one."""

    requester: bytes
    price_per_device_s: int
    price_per_gb: int
    price_minimum: int
    price_ceiling: int
    assignments: int
    renews: bytes
    reservation: bytes


class Released(Record, frozen=True, tag="released"):
    """Provider: the requester gave a reservation back, by this document."""

    reservation: bytes
    by: bytes


class Accepted(Record, frozen=True, tag="accepted"):
    """Provider: an assignment was taken on."""

    assignment: bytes


class Ended(Record, frozen=True, tag="closed"):
    """Provider: an assignment ended without a commitment, by this document."""

    assignment: bytes
    by: bytes


class Committed(Record, frozen=True, tag="committed"):
    """Provider: the outcome, its opening, the commitment to it, the bytes that are to be paid for, whether the
    outputs are compared by their values, and how large they are."""

    assignment: bytes
    opening: RootReveal
    commitment: bytes
    moved_bytes: int
    is_shown: bool
    output_sizes: tuple[int, ...]


class Issued(Record, frozen=True, tag="issued"):
    """Provider: a receipt, with the verdict it answers."""

    verdict: bytes
    receipt: bytes


class Covered(Record, frozen=True, tag="covered"):
    """Provider: a cheque came in."""

    cheque: bytes


class Redeeming(Record, frozen=True, tag="redeeming"):
    """Payer: so much value is on its way for this cheque, and those before it. It may have left."""

    cheque: bytes
    amount: int


class Redeemed(Record, frozen=True, tag="redeemed"):
    """Payer: what was on its way for the cheque of this id has left."""

    cheque: bytes


class ValueCame(Record, frozen=True, tag="value-came"):
    """Payee: its operator saw value arrive from a peer, under this reference; empty: none was given."""

    peer: bytes
    amount: int
    reference: str


class Banned(Record, frozen=True, tag="banned"):
    """Requester: an operator is banned here, or (with an empty reason) pardoned."""

    operator: bytes
    reason: str


class Proved(Record, frozen=True, tag="proved"):
    """Requester: this signed proof of an equivocation is told to everybody."""

    proof: bytes


AnyRecord = (
    JobSubmitted
    | Assigned
    | CommitmentHeld
    | ReplicaLost
    | Judged
    | Refuted
    | Reopened
    | ReceiptHeld
    | Settled
    | PartPaid
    | ChequeTaken
    | JobEnded
    | Reserved
    | Released
    | Accepted
    | Ended
    | Committed
    | Issued
    | Covered
    | Redeeming
    | Redeemed
    | ValueCame
    | Banned
    | Proved
)
_encode = msgspec.msgpack.Encoder().encode
_decoder: msgspec.msgpack.Decoder[AnyRecord] = msgspec.msgpack.Decoder(AnyRecord)


def encode_record(record: AnyRecord) -> bytes:
    """Bytes for the journal."""
    return _encode(record)


def persist(record: AnyRecord) -> Persist:
    """A record on its way to the journal."""
    return Persist(encode_record(record))


def decode_record(data: bytes) -> AnyRecord:
    """Raises HomeError: our own journal holds something we never wrote."""
    try:
        return _decoder.decode(data)
    except (msgspec.MsgspecError, ValueError) as error:
        raise HomeError(
            f"the journal holds a record this version cannot read ({error}); restore the home from a backup"
        ) from error
