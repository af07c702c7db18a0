from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from libp2p.kad_dht.pb.kademlia_pb2 import Message as StockMessage
from multiaddr import Multiaddr

from p2pcompute.errors import DecodeError
from p2pcompute.identity.names import peer_id, peer_id_bytes
from p2pcompute.protocol.kademlia.messages import (
    ADDRESSES_MAX,
    CLOSER_MAX,
    KEY_BYTES_MAX,
    MESSAGE_BYTES_MAX,
    PROVIDERS_MAX,
    Contact,
    Kind,
    Message,
    decode,
    encode,
)

PEER = bytes(range(32))
ADDRESS = f"/ip4/203.0.113.5/tcp/4001/p2p/{peer_id(PEER)}"
RELAYED = f"/ip6/2001:db8::1/tcp/4001/p2p/{peer_id(bytes(32))}/p2p-circuit/p2p/{peer_id(PEER)}"


def test_a_message_comes_back_as_it_was() -> None:
    contact = Contact(PEER, (ADDRESS, RELAYED))
    message = Message(Kind.GET_PROVIDERS, b"key", (contact,), (contact, Contact(bytes(32))))
    assert decode(encode(message)) == message


def test_another_implementation_reads_it_the_same() -> None:
    stock = StockMessage()
    stock.ParseFromString(encode(Message(Kind.FIND_NODE, b"key", (Contact(PEER, (ADDRESS, RELAYED)),))))
    assert (stock.type, stock.key) == (StockMessage.FIND_NODE, b"key")
    [closer] = stock.closerPeers
    assert closer.id == peer_id_bytes(PEER)
    assert [str(Multiaddr(raw)) for raw in closer.addrs] == [ADDRESS, RELAYED]


def test_ours_is_what_another_implementation_writes() -> None:
    stock = StockMessage(type=StockMessage.ADD_PROVIDER, key=b"key")
    provider = stock.providerPeers.add()
    provider.id = peer_id_bytes(PEER)
    provider.addrs.append(Multiaddr(ADDRESS.partition("/p2p/")[0]).to_bytes())
    provider.addrs.append(Multiaddr("/dns4/example.com/tcp/1").to_bytes())
    assert decode(stock.SerializeToString()) == Message(
        Kind.ADD_PROVIDER, b"key", providers=(Contact(PEER, (ADDRESS,)),)
    )


def test_no_more_is_read_than_may_be_kept() -> None:
    many = tuple(Contact(bytes([i]) * 32, tuple(_address(i, port) for port in range(1, 9))) for i in range(40))
    message = decode(encode(Message(Kind.FIND_NODE, b"k", many, many)))
    assert (len(message.closer), len(message.providers)) == (CLOSER_MAX, PROVIDERS_MAX)
    assert {len(one.addresses) for one in message.closer} == {ADDRESSES_MAX}


def test_addresses_of_other_peers_are_not_read() -> None:
    message = Message(Kind.FIND_NODE, b"k", (Contact(PEER, (_address(7, 1), ADDRESS)),))
    assert decode(encode(message)).closer == (Contact(PEER, (ADDRESS,)),)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x08\x00",
        b"\x08\x01",
        b"\x08\x63",
        b"\xff",
        bytes(MESSAGE_BYTES_MAX + 1),
        b"\x08\x04" + b"\x20\x00" * 600,
    ],
)
def test_what_is_no_message_is_a_decode_error(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(data)


def test_a_key_has_a_bound() -> None:
    with pytest.raises(DecodeError, match="too long"):
        decode(encode(Message(Kind.FIND_NODE, bytes(KEY_BYTES_MAX + 1))))


@given(st.binary(max_size=300))
def test_garbage_is_a_decode_error_or_a_message(data: bytes) -> None:
    try:
        decode(data)
    except DecodeError:
        pass


def _address(index: int, port: int) -> str:
    return f"/ip4/203.0.113.{index}/tcp/{port}/p2p/{peer_id(bytes([index]) * 32)}"
