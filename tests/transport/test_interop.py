"""A stock py-libp2p host (its own TCP, Noise and yamux) against ours, in both directions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import multiaddr
import pytest
import trio
from libp2p.host.ping import PingService
from libp2p.identity.identify.identify import ID as IDENTIFY
from libp2p.identity.identify.identify import parse_identify_response
from libp2p.identity.identify_push.identify_push import push_identify_to_peer
from libp2p.peer.peerinfo import info_from_p2p_addr

from p2pcompute.transport import push
from p2pcompute.transport.channels import pack_frame
from p2pcompute.transport.libp2p import Libp2pTransport
from p2pcompute.transport.relay import RelayLimits
from tests.transport.harness import CHANNEL, LOOPBACK, PATIENCE_S, REQUEST, Recorder, make, running
from tests.transport.stock import closing_dialled_sockets, new_stock_host


@pytest.fixture(autouse=True)
def _no_leaks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with closing_dialled_sockets(monkeypatch):
        yield


@asynccontextmanager
async def stock_host() -> AsyncIterator[Any]:
    host = new_stock_host()
    async with host.run(listen_addrs=[multiaddr.Multiaddr(LOOPBACK)]):
        with trio.fail_after(PATIENCE_S):
            yield host


@asynccontextmanager
async def stock_dials_us() -> AsyncIterator[tuple[Any, Libp2pTransport, Recorder, Any]]:
    events = Recorder()
    ours = make(1, events, libp2p_host=True)
    async with running(ours), stock_host() as host:
        info = info_from_p2p_addr(multiaddr.Multiaddr(ours.addresses()[0]))
        await host.connect(info)
        yield host, ours, events, info.peer_id


async def read_all(stream: Any) -> bytes:
    data = b""
    try:
        while True:
            data += await stream.read(65_536)
    except Exception:  # py-libp2p tells the end by one of several exceptions
        return data


async def test_a_stock_host_connects_and_is_known_by_its_key() -> None:
    async with stock_dials_us() as (host, _, events, _):
        await events.until(lambda: bool(events.up()))
        assert events.up() == {host.get_public_key().to_bytes()}


async def test_a_stock_host_pings_us() -> None:
    async with stock_dials_us() as (host, _, _, peer_id):
        rtts = await PingService(host).ping(peer_id, ping_amt=2)
        assert len(rtts) == 2


async def test_a_stock_host_identifies_us() -> None:
    async with stock_dials_us() as (host, ours, _, peer_id):
        stream = await host.new_stream(peer_id, [IDENTIFY])
        told = parse_identify_response(await read_all(stream))
        assert {CHANNEL, REQUEST, IDENTIFY} <= set(told.protocols)
        assert told.public_key[4:] == ours.peer
        assert multiaddr.Multiaddr(told.listen_addrs[0]) == multiaddr.Multiaddr(
            ours.addresses()[0].partition("/p2p/")[0]
        )


async def test_a_stock_host_asks_us() -> None:
    async with stock_dials_us() as (host, _, _, peer_id):
        stream = await host.new_stream(peer_id, [REQUEST])
        await stream.write(pack_frame(b"from stock"))
        assert await stream.read(100) == pack_frame(b"from stock")


async def test_a_stock_host_sends_us_frames() -> None:
    async with stock_dials_us() as (host, _, events, peer_id):
        stream = await host.new_stream(peer_id, [CHANNEL])
        await stream.write(pack_frame(b"one") + pack_frame(b"two"))
        await events.until(lambda: len(events.frames) == 2)
        assert [frame for _, frame in events.frames] == [b"one", b"two"]


async def test_we_dial_a_stock_host_and_ask_it() -> None:
    events = Recorder()
    ours = make(1, events)
    async with running(ours), stock_host() as host:

        async def shout(stream: Any) -> None:
            data = await stream.read(100)
            await stream.write(data.upper())
            await stream.close()

        host.set_stream_handler(REQUEST, shout)
        address = f"{str(host.get_addrs()[0]).partition('/p2p/')[0]}/p2p/{host.get_id()}"
        peer = await ours.connect(address)
        assert await ours.request(peer, REQUEST, b"loud", timeout_s=10) == b"LOUD"


async def test_addresses_are_pushed_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    """py-libp2p's own push and ours on one connection."""
    monkeypatch.setattr(push, "SETTLE_S", 0.0)
    told: list[push.Whereabouts] = []
    events = Recorder()
    ours = Libp2pTransport(bytes(32), listen=[LOOPBACK], events=events, libp2p_host=True, told=told.append)
    relay = Libp2pTransport(bytes([5]) * 32, listen=[LOOPBACK], events=Recorder(), relay=RelayLimits())
    async with running(ours, relay), stock_host() as host:
        info = info_from_p2p_addr(multiaddr.Multiaddr(ours.addresses()[0]))
        await host.connect(info)
        assert await push_identify_to_peer(host, info.peer_id)
        while not told:
            await trio.sleep(0.01)
        assert told[0].peer == host.get_public_key().to_bytes()
        assert told[0].addresses == tuple(str(one) for one in host.get_addrs())
        await ours.reserve(relay.addresses()[0])
        while "p2p-circuit" not in str(host.get_peerstore().addrs(info.peer_id)):
            await trio.sleep(0.01)
