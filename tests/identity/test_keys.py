"""Keys sign, and verifying never raises."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pcompute.identity.keys import KeyPair, verify

# RFC 8032, section 7.1, test 2.
SEED = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
PUBLIC = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
SIGNATURE = bytes.fromhex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)
ORDER = 2**252 + 27742317777372353535851937790883648493


def test_keys_and_signatures_are_those_of_rfc_8032() -> None:
    key = KeyPair(SEED)
    assert key.public == PUBLIC
    assert key.sign(b"\x72") == SIGNATURE
    assert verify(PUBLIC, b"\x72", SIGNATURE)


@pytest.mark.parametrize("seed", [b"", bytes(31), bytes(33)])
def test_a_seed_of_another_length_is_refused(seed: bytes) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        KeyPair(seed)


def test_a_key_prints_its_public_half_only() -> None:
    key = KeyPair(SEED)
    assert SEED.hex() not in repr(key)
    assert PUBLIC.hex() in repr(key)


@settings(max_examples=200)
@given(st.binary(max_size=70), st.binary(max_size=40), st.binary(max_size=70))
def test_garbage_never_verifies_and_never_raises(public: bytes, message: bytes, signature: bytes) -> None:
    assert not verify(public, message, signature)


@settings(max_examples=100)
@given(st.integers(0, 63), st.integers(1, 255))
def test_a_changed_signature_does_not_verify(at: int, change: int) -> None:
    forged = bytearray(SIGNATURE)
    forged[at] ^= change
    assert not verify(PUBLIC, b"\x72", bytes(forged))


def test_a_signature_holds_for_one_message_and_one_key() -> None:
    assert not verify(PUBLIC, b"\x73", SIGNATURE)
    assert not verify(KeyPair(bytes(32)).public, b"\x72", SIGNATURE)


def test_a_signature_has_one_form() -> None:
    shifted = (int.from_bytes(SIGNATURE[32:], "little") + ORDER).to_bytes(32, "little")
    assert not verify(PUBLIC, b"\x72", SIGNATURE[:32] + shifted)


def test_keys_of_small_order_verify_nothing() -> None:
    for point in (bytes(32), b"\x01" + bytes(31)):
        assert not verify(point, b"", b"\x01" + bytes(63))
