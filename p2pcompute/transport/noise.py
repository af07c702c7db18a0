"""Noise_XX_25519_ChaChaPoly_SHA256 with libp2p's identity payload, without input or output.

Sources: the Noise Protocol Framework, revision 34 (handshake pattern XX, sections 5 and 7.5), and the libp2p
specification `noise/README.md` (payload, 2-byte big-endian length before every Noise message). Only ed25519 identities
are spoken to: their public key is the peer.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from nacl.bindings import crypto_sign, crypto_sign_open
from nacl.exceptions import BadSignatureError

from p2pcompute.errors import RemoteError

PROTOCOL: Final = b"Noise_XX_25519_ChaChaPoly_SHA256"
MESSAGE_BYTES_MAX: Final = 65_535
TAG_BYTES: Final = 16
PLAINTEXT_BYTES_MAX: Final = MESSAGE_BYTES_MAX - TAG_BYTES
HANDSHAKE_BYTES_MAX: Final = 4_096
"""One handshake message. Ours are under 200 bytes; extensions (certificates) of other implementations are larger."""
KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
SIGNATURE_PREFIX: Final = b"noise-libp2p-static-key:"
IDENTITY_PREFIX: Final = b"\x08\x01\x12\x20"
"""Protobuf PublicKey{Type: Ed25519, Data: 32 bytes} up to the key itself."""

_nonce = struct.Struct("<4xQ").pack
Sign = Callable[[bytes], bytes]


class NoiseError(RemoteError):
    """The peer's bytes are not a valid Noise handshake or transport message."""


def signer(seed: bytes) -> tuple[bytes, Sign]:
    """The 32-byte public key of an ed25519 seed, and what signs with it (64-byte signatures)."""
    from nacl.bindings import crypto_sign_seed_keypair

    public, secret = crypto_sign_seed_keypair(seed)
    return public, lambda message: crypto_sign(message, secret)[:SIGNATURE_BYTES]


def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` is by the ed25519 key `public` over `message`. Never raises."""
    if len(public) != KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    try:
        crypto_sign_open(signature + message, public)
    except (BadSignatureError, ValueError):
        return False
    return True


def _raw(key: X25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


def _hkdf(chaining_key: bytes, material: bytes) -> tuple[bytes, bytes]:
    temporary = hmac.digest(chaining_key, material, "sha256")
    first = hmac.digest(temporary, b"\x01", "sha256")
    return first, hmac.digest(temporary, first + b"\x02", "sha256")


def _field(number: int, data: bytes) -> bytes:
    """A length-delimited protobuf field shorter than 128 bytes."""
    return bytes((number << 3 | 2, len(data))) + data


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise NoiseError("the handshake payload holds a bad number")
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def _payload_fields(data: bytes) -> dict[int, bytes]:
    """The length-delimited fields of a NoiseHandshakePayload; the last one of a number counts."""
    fields: dict[int, bytes] = {}
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        size, at = _varint(data, at)
        if tag & 7 == 2:
            if size > len(data) - at:
                raise NoiseError("the handshake payload ends early")
            fields[tag >> 3] = data[at : at + size]
            at += size
        elif tag & 7 != 0:
            raise NoiseError("the handshake payload has a field of unknown kind")
    return fields


def frame(message: bytes) -> bytes:
    return len(message).to_bytes(2, "big") + message


class _Symmetric:
    """CipherState and SymmetricState of the framework (sections 5.1 and 5.2)."""

    __slots__ = ("_chaining", "_cipher", "_count", "_hash")

    def __init__(self) -> None:
        self._hash = self._chaining = PROTOCOL  # exactly 32 bytes: used as it is
        self._cipher: ChaCha20Poly1305 | None = None
        self._count = 0
        self.mix_hash(b"")  # the empty prologue

    def mix_hash(self, data: bytes) -> None:
        self._hash = hashlib.sha256(self._hash + data).digest()

    def mix_key(self, private: X25519PrivateKey, public: bytes) -> None:
        try:
            shared = private.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError as error:
            raise NoiseError("the peer's Diffie-Hellman key is of low order") from error
        self._chaining, key = _hkdf(self._chaining, shared)
        self._cipher = ChaCha20Poly1305(key)
        self._count = 0

    def encrypt(self, plaintext: bytes) -> bytes:
        assert self._cipher is not None, "XX encrypts only after a key was mixed in"
        ciphertext = self._cipher.encrypt(_nonce(self._count), plaintext, self._hash)
        self._count += 1
        self.mix_hash(ciphertext)
        return ciphertext

    def decrypt(self, ciphertext: bytes) -> bytes:
        assert self._cipher is not None, "XX decrypts only after a key was mixed in"
        try:
            plaintext = self._cipher.decrypt(_nonce(self._count), ciphertext, self._hash)
        except InvalidTag as error:
            raise NoiseError("a handshake message does not authenticate") from error
        self._count += 1
        self.mix_hash(ciphertext)
        return plaintext

    def split(self) -> tuple[bytes, bytes]:
        return _hkdf(self._chaining, b"")


class Handshake:
    """One XX handshake: `start()` gives the first bytes to write (none for the responder); `receive(message)` takes one
    message without its length and gives the bytes to write. When `session` is set, `peer` is the proven public key.
    """

    def __init__(self, *, initiator: bool, public: bytes, sign: Sign) -> None:
        self.initiator = initiator
        self.session: Session | None = None
        self.peer = b""
        self._public, self._sign = public, sign
        self._static, self._ephemeral = X25519PrivateKey.generate(), X25519PrivateKey.generate()
        self._remote_ephemeral = b""
        self._state = _Symmetric()
        self._step = 0

    def start(self) -> bytes:
        if not self.initiator:
            return b""
        message = _raw(self._ephemeral)
        self._state.mix_hash(message)
        self._state.mix_hash(b"")
        self._step = 1
        return frame(message)

    def receive(self, message: bytes) -> bytes:
        """Raises NoiseError for whatever the peer did wrong."""
        match self.initiator, self._step:
            case False, 0:
                answer = self._first(message)
            case True, 1:
                answer = self._second(message)
            case False, 1:
                answer = self._third(message)
            case _:
                raise NoiseError("a handshake message came out of turn")
        self._step += 1
        return answer

    def _first(self, message: bytes) -> bytes:
        if len(message) < KEY_BYTES:
            raise NoiseError("the first handshake message is too short")
        state = self._state
        self._remote_ephemeral = message[:KEY_BYTES]
        state.mix_hash(self._remote_ephemeral)
        state.mix_hash(message[KEY_BYTES:])
        ephemeral = _raw(self._ephemeral)
        state.mix_hash(ephemeral)
        state.mix_key(self._ephemeral, self._remote_ephemeral)
        static = state.encrypt(_raw(self._static))
        state.mix_key(self._static, self._remote_ephemeral)
        return frame(ephemeral + static + state.encrypt(self._payload()))

    def _second(self, message: bytes) -> bytes:
        sealed_key = KEY_BYTES + TAG_BYTES
        if len(message) < KEY_BYTES + sealed_key + TAG_BYTES:
            raise NoiseError("the second handshake message is too short")
        state = self._state
        self._remote_ephemeral = message[:KEY_BYTES]
        state.mix_hash(self._remote_ephemeral)
        state.mix_key(self._ephemeral, self._remote_ephemeral)
        remote_static = state.decrypt(message[KEY_BYTES : KEY_BYTES + sealed_key])
        state.mix_key(self._ephemeral, remote_static)
        self._check(state.decrypt(message[KEY_BYTES + sealed_key :]), remote_static)
        static = state.encrypt(_raw(self._static))
        state.mix_key(self._static, self._remote_ephemeral)
        answer = frame(static + state.encrypt(self._payload()))
        self.session = Session(*state.split())
        return answer

    def _third(self, message: bytes) -> bytes:
        sealed_key = KEY_BYTES + TAG_BYTES
        if len(message) < sealed_key + TAG_BYTES:
            raise NoiseError("the third handshake message is too short")
        state = self._state
        remote_static = state.decrypt(message[:sealed_key])
        state.mix_key(self._ephemeral, remote_static)
        self._check(state.decrypt(message[sealed_key:]), remote_static)
        receive_key, send_key = state.split()
        self.session = Session(send_key, receive_key)
        return b""

    def _payload(self) -> bytes:
        signature = self._sign(SIGNATURE_PREFIX + _raw(self._static))
        return _field(1, IDENTITY_PREFIX + self._public) + _field(2, signature)

    def _check(self, payload: bytes, remote_static: bytes) -> None:
        fields = _payload_fields(payload)
        identity = fields.get(1, b"")
        if identity[: len(IDENTITY_PREFIX)] != IDENTITY_PREFIX or len(identity) != len(IDENTITY_PREFIX) + KEY_BYTES:
            raise NoiseError("the peer's identity is not an ed25519 key")
        peer = identity[len(IDENTITY_PREFIX) :]
        if not verify(peer, SIGNATURE_PREFIX + remote_static, fields.get(2, b"")):
            raise NoiseError("the peer's identity signature does not hold")
        self.peer = peer


class Session:
    """The transport phase: `seal` turns plaintext into wire bytes, `open` wire bytes into plaintexts."""

    __slots__ = ("_receive", "_received", "_rest", "_send", "_sent")

    def __init__(self, send_key: bytes, receive_key: bytes) -> None:
        self._send, self._receive = ChaCha20Poly1305(send_key), ChaCha20Poly1305(receive_key)
        self._sent = self._received = 0
        self._rest = b""

    def seal(self, data: bytes | bytearray | memoryview) -> bytearray:
        """`data` as one Noise message, or as several where it is longer than 65,519 bytes."""
        source, size = memoryview(data), len(data)
        count = max(1, -(-size // PLAINTEXT_BYTES_MAX))
        out = bytearray(size + (2 + TAG_BYTES) * count)
        target, at = memoryview(out), 0
        for start in range(0, max(size, 1), PLAINTEXT_BYTES_MAX):
            part = source[start : start + PLAINTEXT_BYTES_MAX]
            end = at + 2 + len(part) + TAG_BYTES
            target[at : at + 2] = (len(part) + TAG_BYTES).to_bytes(2, "big")
            self._send.encrypt_into(_nonce(self._sent), part, None, target[at + 2 : end])
            self._sent += 1
            at = end
        return out

    def open(self, data: bytes) -> list[bytes]:
        """The plaintext of every message that is complete; the rest waits for the next call. Raises NoiseError."""
        if self._rest:
            data = self._rest + data
        view, size, at = memoryview(data), len(data), 0
        out: list[bytes] = []
        try:
            while size - at >= 2:
                end = at + 2 + (data[at] << 8 | data[at + 1])
                if end > size:
                    break
                out.append(self._receive.decrypt(_nonce(self._received), view[at + 2 : end], None))
                self._received += 1
                at = end
        except InvalidTag as error:
            raise NoiseError("a message does not authenticate") from error
        self._rest = data[at:] if at < size else b""
        return out
