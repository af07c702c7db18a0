from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from libp2p.identity.identify.pb.identify_pb2 import Identify
from multiaddr import Multiaddr

from p2pcompute.errors import DecodeError
from p2pcompute.identity.keys import verify
from p2pcompute.protocol.gossip.exchange import decode_record
from p2pcompute.transport.identify import observed_host, signed_record
from tests.transport.harness import pair


@pytest.mark.parametrize("host", ["ip4/203.0.113.5", "ip6/2001:db8::1"])
def test_the_observed_address_is_read_as_libp2p_writes_it(host: str) -> None:
    message = Identify(
        protocol_version="ipfs/0.1.0",
        public_key=b"key",
        protocols=["/a"],
        observed_addr=Multiaddr(f"/{host}/tcp/9").to_bytes(),
    )
    assert observed_host(message.SerializeToString()) == host.split("/")[1]


def test_a_message_without_the_address_names_none() -> None:
    assert observed_host(Identify(agent_version="x").SerializeToString()) is None
    assert observed_host(Identify(observed_addr=b"\x04\x01").SerializeToString()) is None


@given(st.binary(max_size=200))
def test_anything_else_is_refused_or_names_none(data: bytes) -> None:
    for read in (observed_host, signed_record):
        try:
            read(data)
        except DecodeError:
            pass


def test_the_signed_record_is_found() -> None:
    message = Identify(public_key=b"k", protocols=["/a", "/b"], agent_version="x", signedPeerRecord=b"record")
    assert signed_record(message.SerializeToString()) == b"record"
    assert signed_record(Identify(protocols=["/a"]).SerializeToString()) == b""


async def test_a_peer_gives_a_signed_record_of_its_addresses() -> None:
    async with pair(libp2p_host=True) as (a, _, b, _):
        record = decode_record(await a.signed_record(b.peer), verify)
        assert record.peer == b.peer
        assert record.addresses[0] == b.addresses()[0].partition("/p2p/")[0]


async def test_a_peer_says_where_it_sees_us() -> None:
    async with pair(libp2p_host=True) as (a, _, b, _):
        host = None
        while host is None:  # the other side's host starts in the background
            host = await a.observed_by(b.peer)
        assert host == "127.0.0.1"


async def test_a_peer_without_identify_says_nothing() -> None:
    async with pair() as (a, _, b, _):
        assert await a.observed_by(b.peer) is None
        assert await a.signed_record(b.peer) == b""
