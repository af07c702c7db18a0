"""ed25519 keys (RFC 8032), by libsodium.

A key is its 32-byte seed; its name is its 32-byte public key. Nothing here reads or writes files.
"""

from __future__ import annotations

from typing import Final

from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey

SEED_BYTES: Final = 32
PUBLIC_KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64


class KeyPair:
    """A private key that can sign. Never printed, never serialised; hand its `seed` to the keystore only."""

    __slots__ = ("_key", "public", "seed")

    def __init__(self, seed: bytes) -> None:
        """`seed`: 32 random bytes. Raises ValueError for any other length."""
        if len(seed) != SEED_BYTES:
            raise ValueError(f"an ed25519 seed has {SEED_BYTES} bytes, not {len(seed)}")
        self.seed = seed
        self._key = SigningKey(seed)
        self.public: bytes = bytes(self._key.verify_key)

    def sign(self, message: bytes) -> bytes:
        """64-byte detached signature."""
        return bytes(self._key.sign(message).signature)

    def __repr__(self) -> str:
        return f"KeyPair(public={self.public.hex()})"


def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` is `public`'s over `message`. Never raises, whatever the bytes."""
    if len(public) != PUBLIC_KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    try:
        crypto_sign_open(signature + message, public)
    except (BadSignatureError, ValueError):
        return False
    return True
