"""The signed envelope: canonical MessagePack, or refused.

    Signed = [version, kind, signer, epoch, sequence, issued_at, expires_at, body, signature]

The signature covers  tag || everything before the signature,  where the tag names the network, and
id = blake3(everything before the signature): a signer can make many signatures for one body, but only one id. The
bytes before the signature are a run inside the document, so signing, verifying and hashing copy nothing twice.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Final, Generic, TypeVar

import msgspec
from blake3 import blake3

from p2pcompute.errors import DecodeError, SignatureError
from p2pcompute.wire import limits

VERSION: Final = 1
EPOCH_BYTES: Final = 8
_FIXARRAY_9: Final = b"\x99"
_SIGNATURE_HEADER: Final = b"\xc4\x40"
"""MessagePack bin8 of 64 bytes: how every document ends."""
_TAIL_BYTES: Final = 2 + 64
_DOMAIN: Final = b"p2pcompute signed document\x00"

Verify = Callable[[bytes, bytes, bytes], bool]


B = TypeVar("B")


class Envelope(msgspec.Struct, Generic[B], array_like=True, frozen=True, forbid_unknown_fields=True, gc=False):
    """The nine fields of a document; the schema of `body` depends on `kind`. Times: Unix milliseconds."""

    version: int
    kind: int
    signer: bytes
    epoch: bytes
    sequence: int
    issued_at: int
    expires_at: int
    body: B
    signature: bytes


class Document(msgspec.Struct, Generic[B], frozen=True, gc=False):
    """A decoded document: its envelope's fields, its typed body, its id and the very bytes it came in."""

    kind: int
    signer: bytes
    epoch: bytes
    sequence: int
    issued_at: int
    expires_at: int
    body: B
    id: bytes
    raw: bytes

    def alive(self, wall_ms: int) -> bool:
        """Whether the document is in force at this time, give or take the allowed clock skew at its start."""
        return self.issued_at - limits.CLOCK_SKEW_MS_MAX <= wall_ms < self.expires_at


_envelopes = msgspec.msgpack.Decoder(Envelope[msgspec.Raw])
_encoder = msgspec.msgpack.Encoder()


@functools.lru_cache(maxsize=8)
def domain_tag(network: str) -> bytes:
    """What precedes the signed bytes, so that a document of one network means nothing in another."""
    return _DOMAIN + network.encode() + b"\x00"


def seal(
    network: str,
    sign: Callable[[bytes], bytes],
    *,
    kind: int,
    signer: bytes,
    epoch: bytes,
    sequence: int,
    issued_at: int,
    expires_at: int,
    body: msgspec.Struct,
) -> bytes:
    """The canonical bytes of a newly signed document."""
    fields = (VERSION, kind, signer, epoch, sequence, issued_at, expires_at, body)
    unsigned = b"".join(_encoder.encode(field) for field in fields)
    return _FIXARRAY_9 + unsigned + _SIGNATURE_HEADER + sign(domain_tag(network) + unsigned)


def head(kind: int) -> bytes:
    """How a document of this version and kind begins."""
    return _FIXARRAY_9 + _encoder.encode(VERSION) + _encoder.encode(kind)


def open_envelope(raw: bytes) -> Envelope[msgspec.Raw]:
    """A document of any kind, with its body still encoded. Raises DecodeError."""
    return open_typed(raw, _envelopes)


def open_typed(raw: bytes, decoder: msgspec.msgpack.Decoder[Envelope[B]]) -> Envelope[B]:
    """Decode and check everything that needs no context. Raises DecodeError."""
    if len(raw) > limits.DOCUMENT_BYTES_MAX:
        raise DecodeError(f"document of {len(raw)} bytes; the limit is {limits.DOCUMENT_BYTES_MAX}")
    try:
        e = decoder.decode(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise DecodeError(f"not a document: {error}") from error
    if _encoder.encode(e) != raw:
        raise DecodeError("document is not in canonical form")
    if len(e.signer) != 32 or len(e.epoch) != EPOCH_BYTES or len(e.signature) != 64:
        raise DecodeError("signer, epoch and signature must have 32, 8 and 64 bytes")
    if not 0 <= e.sequence < 2**63 or not 0 <= e.issued_at < e.expires_at < 2**63:
        raise DecodeError("sequence and times must be ordered integers below 2**63")
    if e.expires_at - e.issued_at > limits.DOCUMENT_LIFETIME_MS_MAX:
        raise DecodeError("document claims to live longer than any may")
    return e


def document_id(raw: bytes) -> bytes:
    """blake3 over everything but the signature."""
    return blake3(raw[1:-_TAIL_BYTES]).digest()


def check_signature(network: str, raw: bytes, e: Envelope[B], verify: Verify) -> None:
    """Raises SignatureError unless `e.signer` signed these bytes for this network."""
    if not verify(e.signer, domain_tag(network) + raw[1:-_TAIL_BYTES], e.signature):
        raise SignatureError(f"the signature is not that of {e.signer.hex()[:16]}")
