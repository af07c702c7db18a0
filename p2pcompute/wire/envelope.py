"""Signed envelopes: a payload that a peer vouches for, whoever hands it on.

Source: libp2p RFC 0002 "signed envelopes". Ed25519 keys only. The domain keeps a signature from standing for another
kind of payload.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from p2pcompute.errors import DecodeError
from p2pcompute.identity.names import PEER_ID_PREFIX
from p2pcompute.wire.protobuf import read_fields, varint, write_field

_KEY_PREFIX: Final = PEER_ID_PREFIX[2:]
"""The protobuf of a public key, up to its 32 bytes."""
_KEY_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 64
_FIELDS_MAX: Final = 64


def seal(domain: bytes, kind: bytes, payload: bytes, public: bytes, sign: Callable[[bytes], bytes]) -> bytes:
    """The envelope of `public`, whose signature `sign` makes; `kind` is the payload's type, a multicodec."""
    parts = ((1, _KEY_PREFIX + public), (2, kind), (3, payload), (5, sign(_signed(domain, kind, payload))))
    return b"".join(write_field(number, data) for number, data in parts)


def open_sealed(
    envelope: bytes, domain: bytes, kind: bytes, verify: Callable[[bytes, bytes, bytes], bool]
) -> tuple[bytes, bytes]:
    """Who signed it, a public key, and the payload. The caller bounds the length. Raises DecodeError."""
    parts = singular(envelope)
    key, payload, signature = parts.get(1, b""), parts.get(3, b""), parts.get(5, b"")
    if not key.startswith(_KEY_PREFIX) or len(key) != len(_KEY_PREFIX) + _KEY_BYTES or parts.get(2) != kind:
        raise DecodeError("A signed envelope is of another kind, or not of an ed25519 peer.")
    public = key[len(_KEY_PREFIX) :]
    if len(signature) != _SIGNATURE_BYTES or not verify(public, _signed(domain, kind, payload), signature):
        raise DecodeError("The signature of an envelope does not hold.")
    return public, payload


def singular(data: bytes) -> dict[int, bytes]:
    """Length-delimited fields by number; the last one counts."""
    return {number: data[start:end] for number, start, end in read_fields(data, 0, len(data), _FIELDS_MAX) if end >= 0}


def _signed(domain: bytes, kind: bytes, payload: bytes) -> bytes:
    return b"".join(varint(len(part)) + part for part in (domain, kind, payload))
