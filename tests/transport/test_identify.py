"""What peers say of themselves, and what a lying one can do with it: nothing."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from libp2p.identity.identify.pb.identify_pb2 import Identify

from p2pcompute.errors import DecodeError, RemoteError
from p2pcompute.identity.keys import verify
from p2pcompute.protocol.gossip.exchange import decode_record
from p2pcompute.transport.identify import signed_record
from tests.transport.harness import pair


def test_the_signed_record_of_another_implementations_message_is_found() -> None:
    message = Identify(public_key=b"k", protocols=["/a", "/b"], agent_version="x", signedPeerRecord=b"record")
    assert signed_record(message.SerializeToString()) == b"record"


def test_a_message_without_record_gives_none() -> None:
    assert signed_record(Identify(protocols=["/a"]).SerializeToString()) == b""


@given(st.binary(max_size=200))
def test_garbage_raises_only_decode_error(data: bytes) -> None:
    try:
        signed_record(data)
    except DecodeError:
        return


async def test_a_peer_gives_a_signed_record_of_its_addresses() -> None:
    async with pair(libp2p_host=True) as (a, _, b, _):
        record = decode_record(await a.signed_record(b.peer), verify)
    assert record.peer == b.peer
    assert f"{record.addresses[0]}" == b.addresses()[0].partition("/p2p/")[0]


async def test_a_peer_without_identify_is_a_remote_error() -> None:
    async with pair() as (a, _, b, _):
        with pytest.raises(RemoteError), trio.fail_after(10):
            await a.signed_record(b.peer)
