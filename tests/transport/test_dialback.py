"""Being dialled back: the truth about who is reached, and nobody is aimed at others."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from p2pcompute.errors import DecodeError, RemoteError
from p2pcompute.identity.names import peer_id
from p2pcompute.transport import dialback, tcp
from p2pcompute.transport.address import parse_address
from p2pcompute.transport.channels import FrameReader, pack_frame
from p2pcompute.transport.dialback import Answer, Call, decode_answer, decode_call, encode_answer, encode_call
from p2pcompute.transport.libp2p import Libp2pTransport
from tests.transport.harness import Recorder, make, running


async def call(asker: Libp2pTransport, server: Libp2pTransport, wish: Call) -> Answer:
    await asker.connect(server.addresses()[0])
    stream = await asker.open_stream(server.peer, dialback.PROTOCOL)
    await stream.send_all(pack_frame(encode_call(wish)))
    return decode_answer(await FrameReader(stream).next(dialback.MESSAGE_BYTES_MAX))


async def test_a_peer_that_listens_is_dialled_back() -> None:
    a, b = make(1, Recorder()), make(2, Recorder())
    async with running(a, b):
        await a.connect(b.addresses()[0])
        assert await a.dialled_back(b.peer) is True


async def test_a_peer_that_does_not_is_told() -> None:
    a, b = make(1, Recorder()), make(2, Recorder())
    async with running(a, b):
        unused = trio.socket.socket()
        await unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        assert await call(a, b, Call(a.peer, (f"/ip4/127.0.0.1/tcp/{port}",))) is Answer.NOT_REACHED
        unused.close()


async def test_another_peer_at_the_address_does_not_count() -> None:
    a, b = make(1, Recorder()), make(2, Recorder())
    async with running(a, b):
        address = b.addresses()[0].partition("/p2p/")[0]
        assert await call(a, b, Call(a.peer, (address,))) is Answer.NOT_REACHED


@pytest.mark.parametrize("address", ["/ip4/127.0.0.2/tcp/80", "/ip4/203.0.113.9/tcp/80", "/ip6/::1/tcp/80"])
async def test_no_other_address_than_the_askers_is_dialled(address: str) -> None:
    a, b = make(1, Recorder()), make(2, Recorder())
    async with running(a, b):
        assert await call(a, b, Call(a.peer, (address,))) is Answer.REFUSED


async def test_nobody_is_dialled_in_anothers_name() -> None:
    a, b = make(1, Recorder()), make(2, Recorder())
    async with running(a, b):
        assert await call(a, b, Call(b.peer, (a.addresses()[0],))) is Answer.BAD_REQUEST


async def test_one_address_is_dialled_seldom() -> None:
    a, b = make(1, Recorder()), make(2, Recorder())
    async with running(a, b):
        wish = Call(a.peer, (a.addresses()[0],))
        assert await call(a, b, wish) is Answer.OK
        assert await call(a, b, wish) is Answer.REFUSED


async def test_a_probe_leaves_no_connection() -> None:
    events = Recorder()
    a, b = make(1, Recorder()), make(2, events)
    async with running(a, b):
        await tcp.probe(parse_address(b.addresses()[0]), a._identity)
        with pytest.raises(RemoteError, match="Another peer"):
            await tcp.probe(
                parse_address(b.addresses()[0].partition("/p2p/")[0] + f"/p2p/{peer_id(a.peer)}"), a._identity
            )
        assert await call(a, b, Call(a.peer, ())) is Answer.REFUSED  # the first real connection
        assert [one.peer for one in events.changes] == [a.peer]


def test_messages_come_back_as_they_were() -> None:
    wish = Call(bytes(32), ("/ip4/192.0.2.1/tcp/4001", "/ip6/2001:db8::1/tcp/4001"))
    assert decode_call(encode_call(wish)) == wish
    for answer in Answer:
        assert decode_answer(encode_answer(answer, wish.addresses[0])) is answer


@given(st.binary(max_size=200))
def test_garbage_is_a_decode_error_or_a_message(data: bytes) -> None:
    for decode in (decode_call, decode_answer):
        try:
            decode(data)
        except DecodeError:
            pass
