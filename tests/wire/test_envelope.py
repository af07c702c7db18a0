"""Signed envelopes: only what the named key signed, for this purpose, comes out."""

from __future__ import annotations

import pytest

from p2pcompute.errors import DecodeError
from p2pcompute.identity.keys import KeyPair, verify
from p2pcompute.wire.envelope import open_sealed, seal

KEY = KeyPair(bytes(range(32)))
DOMAIN, KIND = b"a domain", b"\x03\x07"
SEALED = seal(DOMAIN, KIND, b"payload", KEY.public, KEY.sign)


def test_the_signer_and_the_payload_come_out() -> None:
    assert open_sealed(SEALED, DOMAIN, KIND, verify) == (KEY.public, b"payload")


@pytest.mark.parametrize(("domain", "kind"), [(b"another", KIND), (DOMAIN, b"\x03\x08")])
def test_a_signature_for_another_purpose_is_refused(domain: bytes, kind: bytes) -> None:
    with pytest.raises(DecodeError):
        open_sealed(SEALED, domain, kind, verify)


@pytest.mark.parametrize("place", range(0, len(SEALED), 7))
def test_a_changed_byte_is_refused(place: int) -> None:
    changed = bytearray(SEALED)
    changed[place] ^= 1
    with pytest.raises(DecodeError):
        open_sealed(bytes(changed), DOMAIN, KIND, verify)
