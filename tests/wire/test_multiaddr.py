"""Multiaddrs, against another implementation of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multiaddr import Multiaddr

from p2pcompute.errors import UsageError
from p2pcompute.identity.names import peer_id
from p2pcompute.wire.multiaddr import Reach, decode, encode, is_relayed, network_of, of_peer, reach_of

ONE, TWO = peer_id(bytes(32)), peer_id(bytes(range(32)))
ADDRESSES = (
    "/ip4/203.0.113.5/tcp/9000",
    f"/ip4/203.0.113.5/tcp/9000/p2p/{ONE}",
    f"/ip6/2001:db8::1/tcp/1/p2p/{ONE}/p2p-circuit",
    f"/ip6/::1/tcp/65535/p2p/{ONE}/p2p-circuit/p2p/{TWO}",
)


@pytest.mark.parametrize("text", ADDRESSES)
def test_the_binary_form_is_everybodys(text: str) -> None:
    assert encode(text) == Multiaddr(text).to_bytes()
    assert decode(encode(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "/dns4/example.com/tcp/1",
        "/ip4/1.2.3.4/udp/1",
        "/ip4/1.2.3.4/udp/1/quic-v1",
        "/ip4/1.2.3.4/tcp/1/ws",
        f"/p2p/{ONE}",
        f"/ip4/1.2.3.4/tcp/1/p2p/{ONE}/p2p/{TWO}",
    ],
)
def test_others_have_no_text(text: str) -> None:
    assert decode(Multiaddr(text).to_bytes()) == ""


@pytest.mark.parametrize("text", ["", "/", "/ip4/1.2.3.4/udp/1", "/ip4/1.2.3.4/tcp/1/ws", "/dns4/x/tcp/1"])
def test_others_have_no_binary_form(text: str) -> None:
    with pytest.raises(UsageError):
        encode(text)


@given(st.binary(max_size=120))
def test_garbage_has_no_text_or_one_that_means_it(data: bytes) -> None:
    text = decode(data)
    assert not text or encode(text) == data


def test_an_address_of_a_peer_names_it() -> None:
    peer = bytes(range(32))
    assert of_peer(ADDRESSES[0], peer) == f"{ADDRESSES[0]}/p2p/{TWO}"
    assert of_peer(ADDRESSES[1], peer) == ""
    assert of_peer(ADDRESSES[2], peer) == f"{ADDRESSES[2]}/p2p/{TWO}"
    assert of_peer(ADDRESSES[3], peer) == ADDRESSES[3]
    assert of_peer("", peer) == ""
    assert [is_relayed(text) for text in ADDRESSES] == [False, False, True, True]


@pytest.mark.parametrize(
    ("host", "reach", "network"),
    [
        ("/ip4/127.0.0.1", Reach.MACHINE, ""),
        ("/ip6/::1", Reach.MACHINE, ""),
        ("/ip4/0.0.0.0", Reach.MACHINE, ""),
        ("/ip4/10.1.2.3", Reach.OFFICE, ""),
        ("/ip6/fe80::1", Reach.OFFICE, ""),
        ("/ip4/8.8.4.4", Reach.INTERNET, "8.8.4.0/24"),
        ("/ip6/2606:4700:1:2::3", Reach.INTERNET, "2606:4700:1::/48"),
        ("garbage", Reach.MACHINE, ""),
    ],
)
def test_how_far_an_address_reaches(host: str, reach: Reach, network: str) -> None:
    assert (reach_of(f"{host}/tcp/1"), network_of(f"{host}/tcp/1")) == (reach, network)
