"""One key, three names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pcompute.errors import UsageError
from p2pcompute.identity import names

keys = st.binary(min_size=32, max_size=32)

# libp2p's peer-ids specification, test vectors: the Ed25519 key.
SPEC_KEY = bytes.fromhex("1ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e")
# W3C did:key, section 3.1.1: an Ed25519 example and the key behind it.
DID = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
DID_KEY = bytes.fromhex("2e6fcce36701dc791488e0d0b1745cc1e33a4c1c9fcc41c63bd343dbbe0970e6")


def test_the_peer_id_is_libp2ps() -> None:
    assert names.peer_id_bytes(SPEC_KEY).hex() == "002408011220" + SPEC_KEY.hex()
    assert names.peer_id(SPEC_KEY) == "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq"


def test_the_did_is_that_of_the_did_key_method() -> None:
    assert names.did_key(DID_KEY) == DID


@given(keys)
def test_every_name_leads_back_to_its_key(key: bytes) -> None:
    for name in (names.peer_id(key), names.did_key(key), key.hex(), f"  {names.peer_id(key)}\n"):
        assert names.parse_name(name) == key


@given(keys)
def test_the_short_form_ends_the_peer_id(key: bytes) -> None:
    assert names.peer_id(key).endswith(names.short(key))
    assert len(names.short(key)) == 8


@given(st.text(max_size=140) | st.text("123456789ABCDEFGHJKLabcdef", max_size=140).map(lambda t: "did:key:z" + t))
def test_any_other_text_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="neither an ed25519 peer id"):
        names.parse_name(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
        names.peer_id(SPEC_KEY) + "1",
        "1" + names.peer_id(SPEC_KEY),
        names.did_key(SPEC_KEY)[:-1],
        names.did_key(SPEC_KEY).replace("did:key:z", ""),
        "did:key:" + names.peer_id(SPEC_KEY),
        SPEC_KEY.hex().upper(),
        "ü" * 20,
    ],
)
def test_names_of_other_kinds_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        names.parse_name(text)
