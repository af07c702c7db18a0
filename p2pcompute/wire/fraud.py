"""A proof that a provider's result is false: anyone can execute it again. Rule V19a of docs/spec/verification.md.

It holds the signed documents by which the provider bound itself, the task, and the leaves of states that one thread
block read and wrote, each proven against the roots of the opening.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

import msgspec

from p2pcompute.errors import DecodeError
from p2pcompute.wire import limits, merkle
from p2pcompute.wire.documents import Hash

MAGIC: Final = b"p2pcompute fraud proof 1\n"
LEAF: Final = limits.BLOB_LEAF_BYTES

Leaf = Annotated[int, msgspec.Meta(ge=0, lt=2**32)]


class Piece(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """Leaves of one blob, ascending, their contents one after the other, and the nodes that prove them."""

    root: Hash
    size_bytes: Annotated[int, msgspec.Meta(ge=1, le=limits.BUFFER_BYTES_MAX)]
    leaves: Annotated[tuple[Leaf, ...], msgspec.Meta(min_length=1, max_length=limits.PIECE_LEAVES_MAX)]
    proof: tuple[Hash, ...]
    data: Annotated[bytes, msgspec.Meta(max_length=LEAF * limits.PIECE_LEAVES_MAX)]

    def contents(self) -> Mapping[int, bytes]:
        """Leaf number -> its bytes, as they are stated."""
        found, place = {}, 0
        for number in self.leaves:
            size = min(LEAF, self.size_bytes - number * LEAF)
            found[number] = self.data[place : place + size]
            place += size
        return found

    @property
    def is_proven(self) -> bool:
        """Whether these are that blob's leaves."""
        in_order = list(self.leaves) == sorted(set(self.leaves))
        if not in_order or self.leaves[-1] >= merkle.leaf_count(self.size_bytes):
            return False
        found = self.contents()
        if sum(map(len, found.values())) != len(self.data):
            return False
        try:
            return merkle.root_of_leaves(self.size_bytes, found, self.proof) == self.root
        except ValueError:
            return False


class Evidence(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """What recomputing needs: after `step`, `byte` of a buffer (its place in the manifest) is not what `block` leaves
    there. `block` is -1 where no block writes it, and it changed all the same."""

    step: Annotated[int, msgspec.Meta(ge=0, lt=limits.SNAPSHOT_STEPS_MAX)]
    block: Annotated[int, msgspec.Meta(ge=-1, lt=2**62)]
    buffer: Annotated[int, msgspec.Meta(ge=0, lt=limits.BUFFERS_MAX)]
    byte: Annotated[int, msgspec.Meta(ge=0, lt=limits.BUFFER_BYTES_MAX)]
    pieces: Annotated[tuple[Piece, ...], msgspec.Meta(max_length=limits.FRAUD_PIECES_MAX)]


class FraudProof(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """`assignment`, `commitment` and `opening` are whole signed documents."""

    assignment: Annotated[bytes, msgspec.Meta(max_length=limits.DOCUMENT_BYTES_MAX)]
    commitment: Annotated[bytes, msgspec.Meta(max_length=limits.DOCUMENT_BYTES_MAX)]
    opening: Annotated[bytes, msgspec.Meta(max_length=limits.DOCUMENT_BYTES_MAX)]
    manifest: Annotated[bytes, msgspec.Meta(max_length=limits.MANIFEST_BYTES_MAX)]
    ptx: Annotated[bytes, msgspec.Meta(max_length=limits.PTX_BYTES_MAX)]
    evidence: Evidence


_encode: Final = msgspec.msgpack.Encoder().encode
_evidence: Final = msgspec.msgpack.Decoder(Evidence)
_proof: Final = msgspec.msgpack.Decoder(FraudProof)


def encode_evidence(evidence: Evidence) -> bytes:
    """For the local store."""
    return _encode(evidence)


def decode_evidence(data: bytes) -> Evidence:
    """Raises DecodeError."""
    try:
        return _evidence.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise DecodeError(f"evidence: {error}") from error


def encode_fraud(proof: FraudProof) -> bytes:
    """The bytes of a file. Raises DecodeError when they are more than anybody reads."""
    data = MAGIC + _encode(proof)
    if len(data) > limits.FRAUD_BYTES_MAX:
        raise DecodeError(f"the proof takes {len(data)} bytes; {limits.FRAUD_BYTES_MAX} are read")
    return data


def decode_fraud(data: bytes) -> FraudProof:
    """The inverse. Raises DecodeError for anything else."""
    if not data.startswith(MAGIC) or len(data) > limits.FRAUD_BYTES_MAX:
        raise DecodeError("no fraud proof, or one beyond all bounds")
    try:
        return _proof.decode(memoryview(data)[len(MAGIC) :])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise DecodeError(f"fraud proof: {error}") from error
