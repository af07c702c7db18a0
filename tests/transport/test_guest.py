"""py-libp2p on our connections: what it does wrong costs nobody but itself."""

from __future__ import annotations

import logging
from typing import cast

import pytest
import trio
from libp2p.network.exceptions import SwarmException
from trio.testing import MockClock

from p2pcompute.transport import guest, host
from p2pcompute.transport.address import parse_address
from p2pcompute.transport.mux import Connection
from tests.transport.harness import REQUEST, Recorder, make, pair, running


async def test_a_host_that_fails_is_replaced_and_connections_live_on(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    made: list[int] = []
    again = trio.Event()

    class Failing:
        def __init__(self, *arguments: object) -> None:
            made.append(1)
            if len(made) == 3:
                again.set()
            raise ZeroDivisionError

    monkeypatch.setattr(host, "Host", Failing)
    events = Recorder()
    transport = make(1, events, libp2p_host=True)
    async with trio.open_nursery() as nursery:
        await nursery.start(transport.run)
        await again.wait()
        assert trio.current_time() >= 2 * guest.RESTART_S
        nursery.cancel_scope.cancel()
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("name", ["libp2p", "libp2p.network.swarm"])
def test_what_py_libp2p_logs_is_not_an_operators_business(name: str) -> None:
    assert not logging.getLogger(name).isEnabledFor(logging.ERROR)


async def test_the_swarm_is_shown_connections_that_stay(autojump_clock: MockClock) -> None:
    shown: list[object] = []

    class Host:
        def add(self, connection: object) -> None:
            shown.append(connection)

    visited = guest.Guest(bytes(32), (), _no_dial)
    brief, lasting, late = (cast("Connection", object()) for _ in range(3))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(visited._show, Host())
        await trio.sleep(0.4 * guest.SETTLED_S)
        visited.add(brief)
        visited.add(lasting)
        await trio.sleep(guest.SETTLED_S)
        visited.remove(brief)
        visited.add(late)
        assert shown == []
        await trio.sleep(guest.SETTLED_S)
        assert shown == [lasting]
        await trio.sleep(3 * guest.SETTLED_S)
        assert shown == [lasting, late]
        nursery.cancel_scope.cancel()


async def _no_dial(address: str) -> Connection:
    raise AssertionError


async def test_the_swarm_may_open_streams_but_not_close_our_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest, "SETTLED_S", 0.01)
    async with pair(libp2p_host=True) as (a, left, b, _):
        await a._guest._ready.wait()
        inner = a._guest._host
        assert inner is not None
        peer_id = host.ID(host.peer_id_bytes(b.peer))
        while not inner._swarm.get_connections(peer_id):
            await trio.lowlevel.checkpoint()
        stream = await inner.host.new_stream(peer_id, ["/ipfs/ping/1.0.0"])
        await stream.write(bytes(32))
        assert await stream.read(32) == bytes(32)
        await inner._swarm.close_peer(peer_id)
        assert await a.request(b.peer, REQUEST, b"x", timeout_s=5) == b"x"
        assert len(left.changes) == 1


async def test_without_a_host_identify_and_ping_are_refused() -> None:
    async with pair(libp2p_host=False) as (a, _, b, _):
        stream = await a.open_stream(b.peer, "/ipfs/ping/1.0.0")
        with pytest.raises(trio.BrokenResourceError, match="does not speak"):
            await stream.receive_some()


async def test_the_host_advertises_what_we_announce() -> None:
    transport = make(1, Recorder(), libp2p_host=True)
    async with running(transport):
        await transport._guest._ready.wait()
        assert transport._guest._host is not None
        told = [str(address) for address in transport._guest._host.host.get_addrs()]
        assert [parse_address(text).port for text in told] == [parse_address(transport.addresses()[0]).port]


async def test_what_the_swarm_dials_is_a_connection_of_ours() -> None:
    left, right = Recorder(), Recorder()
    a, b = make(1, left, libp2p_host=True), make(2, right)
    async with running(a, b):
        await a._guest._ready.wait()
        inner = a._guest._host
        assert inner is not None
        peer_id = host.ID(host.peer_id_bytes(b.peer))
        inner.host.get_peerstore().add_addrs(peer_id, [host.Multiaddr(b.addresses()[0])], 60)
        [connection] = await inner._swarm.dial_peer(peer_id)
        assert connection.muxed_conn.connection is a.connection_to(b.peer)
        assert a.load()["outbound"] == 1
        assert await a.request(b.peer, REQUEST, b"x", timeout_s=5) == b"x"
        assert await inner._swarm.dial_peer(peer_id) == [connection]
        assert inner._swarm.get_connections(peer_id) == [connection]


async def test_what_the_swarm_cannot_dial_costs_nothing() -> None:
    transport = make(1, Recorder(), libp2p_host=True)
    async with running(transport):
        await transport._guest._ready.wait()
        inner = transport._guest._host
        assert inner is not None
        nobody = host.ID(host.peer_id_bytes(bytes(32)))
        for address in (transport.addresses()[0].partition("/p2p/")[0], "/ip4/127.0.0.1/udp/1/quic-v1"):
            inner.host.get_peerstore().clear_addrs(nobody)
            inner.host.get_peerstore().add_addrs(nobody, [host.Multiaddr(address)], 60)
            with pytest.raises(SwarmException):
                await inner._swarm.dial_peer(nobody)
        assert transport.load()["outbound"] == 0
