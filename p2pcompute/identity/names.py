"""The names of a public key: libp2p peer id, did:key, and a short form for people.

Sources: libp2p peer-ids spec (identity multihash of the protobuf key, base58btc); W3C did:key (multicodec 0xed01,
multibase 'z').
"""

from __future__ import annotations

import functools
from typing import Final

import base58

from p2pcompute.errors import UsageError
from p2pcompute.identity.keys import PUBLIC_KEY_BYTES

PEER_ID_PREFIX: Final = bytes.fromhex("002408011220")
"""identity multihash (0x00, 36 bytes) of PublicKey{type: Ed25519, data: 32 bytes}."""
DID_PREFIX: Final = "did:key:z"
_MULTICODEC_ED25519: Final = b"\xed\x01"
_TEXT_MAX: Final = 128
_NAMES_CACHED: Final = 4_096
"""base58 costs 20 us a name in Python, and the peers of a network are named over and over."""


def peer_id_bytes(public: bytes) -> bytes:
    """The 38 bytes libp2p carries on the wire."""
    return PEER_ID_PREFIX + public


@functools.lru_cache(_NAMES_CACHED)
def peer_id(public: bytes) -> str:
    """libp2p's text form: 12D3KooW…"""
    return base58.b58encode(peer_id_bytes(public)).decode()


def did_key(public: bytes) -> str:
    """did:key:z6Mk…"""
    return DID_PREFIX + base58.b58encode(_MULTICODEC_ED25519 + public).decode()


def short(public: bytes) -> str:
    """The last eight characters of the peer id: enough for people to tell peers apart, never for machines."""
    return peer_id(public)[-8:]


@functools.lru_cache(_NAMES_CACHED)
def parse_peer_id(text: str) -> bytes:
    """The public key a peer id holds. Raises UsageError for anything but an ed25519 peer id."""
    try:
        raw = base58.b58decode(text) if len(text) <= _TEXT_MAX else b""
    except ValueError:
        raw = b""
    if not raw.startswith(PEER_ID_PREFIX) or len(raw) != len(PEER_ID_PREFIX) + PUBLIC_KEY_BYTES:
        raise UsageError(f"{text[:64]!r} is not the peer id of an ed25519 key (12D3KooW…)")
    return raw[len(PEER_ID_PREFIX) :]


def parse_name(text: str) -> bytes:
    """The public key behind a peer id, a did:key or 64 hex digits. Raises UsageError for anything else."""
    text = text.strip()
    try:
        if len(text) > _TEXT_MAX:
            raise ValueError
        if len(text) == 2 * PUBLIC_KEY_BYTES and all(c in "0123456789abcdef" for c in text):
            return bytes.fromhex(text)
        did = text.startswith(DID_PREFIX)
        raw = base58.b58decode(text[len(DID_PREFIX) :] if did else text)
        prefix = _MULTICODEC_ED25519 if did else PEER_ID_PREFIX
        if not raw.startswith(prefix) or len(raw) != len(prefix) + PUBLIC_KEY_BYTES:
            raise ValueError
    except ValueError:
        raise UsageError(
            f"{text[:64]!r} is neither an ed25519 peer id (12D3KooW…) nor a did:key (did:key:z6Mk…)"
        ) from None
    return raw[len(prefix) :]
