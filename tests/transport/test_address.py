from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pcompute.errors import UsageError
from p2pcompute.identity.names import parse_peer_id, peer_id
from p2pcompute.transport.address import Address, parse_address, reachable_hosts

KEY = bytes.fromhex("8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c")
ID = "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5"


def test_the_peer_id_is_the_one_libp2p_gives() -> None:
    from libp2p.crypto.ed25519 import create_new_key_pair
    from libp2p.peer.id import ID as Libp2pId

    key = create_new_key_pair(b"\x01" * 32).public_key
    assert peer_id(key.to_bytes()) == str(Libp2pId.from_pubkey(key)) == ID


@given(st.binary(min_size=32, max_size=32))
def test_a_peer_id_holds_its_key(key: bytes) -> None:
    assert parse_peer_id(peer_id(key)) == key


@pytest.mark.parametrize("text", ["", "12D3KooW", ID + "1", "1" + ID, ID[:-1] + "0", "Qm" + "a" * 44, "z" * 10_000])
def test_what_is_no_ed25519_peer_id_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_peer_id(text)


@pytest.mark.parametrize(
    "text",
    [
        f"/ip4/203.0.113.5/tcp/9000/p2p/{ID}",
        "/ip4/127.0.0.1/tcp/0",
        "/ip6/::1/tcp/65535",
        f"/ip6/2001:db8::1/tcp/1/p2p/{ID}",
    ],
)
def test_an_address_survives_the_way(text: str) -> None:
    assert str(parse_address(text)) == text


def test_an_address_is_read() -> None:
    assert parse_address(f"/ip4/10.0.0.1/tcp/80/p2p/{ID}") == Address("10.0.0.1", 80, KEY)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "127.0.0.1:9000",
        "/ip4/127.0.0.1",
        "/ip4/127.0.0.1/udp/9000",
        "/ip4/127.0.0.1/tcp/65536",
        "/ip4/127.0.0.1/tcp/-1",
        "/ip4/127.0.0.1/tcp/",
        "/ip4/::1/tcp/1",
        "/ip4/localhost/tcp/1",
        "/dns4/example.org/tcp/1",
        "/ip4/127.0.0.1/tcp/1/ws",
        "/ip4/127.0.0.1/tcp/1/p2p/x",
        "/ip4/127.0.0.1/tcp/1/ws/x",
        "/ip4/127.0.0.1/tcp/" + "1" * 300,
    ],
)
def test_what_we_cannot_dial_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_address(text)


def test_a_socket_on_all_addresses_is_reached_on_loopback_and_perhaps_elsewhere() -> None:
    for every, loopback in (("0.0.0.0", "127.0.0.1"), ("::", "::1")):
        assert reachable_hosts(every)[0] == loopback
        assert every not in reachable_hosts(every)
    assert reachable_hosts("127.0.0.1") == ("127.0.0.1",)
