"""Who gives way when all room is taken: two whole transports, a small room."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pytest
import trio

from p2pcompute.errors import RemoteError
from p2pcompute.transport import admission
from p2pcompute.transport.libp2p import Libp2pTransport
from tests.transport.harness import LOOPBACK, REQUEST, Recorder, make, running

ROOM = 3


@pytest.fixture(autouse=True)
def small_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "INBOUND_MAX", ROOM)


def server(events: Recorder, worth: Mapping[bytes, float]) -> Libp2pTransport:
    def usefulness(peers: Collection[bytes]) -> Mapping[bytes, float]:
        return {peer: worth.get(peer, 0.0) for peer in peers}

    return Libp2pTransport(
        bytes(32), listen=[LOOPBACK], events=events, requests={REQUEST: 1_000}, libp2p_host=False, usefulness=usefulness
    )


async def test_the_least_useful_gives_way_to_a_newcomer() -> None:
    events, peers = Recorder(), [make(index, Recorder()) for index in range(1, ROOM + 2)]
    host = server(events, {peer.peer: 1.0 for peer in peers if peer is not peers[1]})
    async with running(host, *peers):
        for peer in peers:
            await peer.connect(host.addresses()[0])
            await events.until(lambda peer=peer: peer.peer in events.up())  # type: ignore[misc]
        await events.until(lambda: len(events.up()) == ROOM)
        assert events.up() == {peer.peer for peer in peers if peer is not peers[1]}
        assert host.load()["inbound"] == ROOM


async def test_a_stranger_pushes_out_nobody_useful() -> None:
    events, peers = Recorder(), [make(index, Recorder()) for index in range(1, ROOM + 2)]
    host = server(events, {peer.peer: 1.0 for peer in peers[:ROOM]})
    async with running(host, *peers):
        for peer in peers[:ROOM]:
            await peer.connect(host.addresses()[0])
        await events.until(lambda: len(events.up()) == ROOM)
        stranger = await peers[ROOM].connect(host.addresses()[0])
        with pytest.raises((RemoteError, trio.TooSlowError)):
            await peers[ROOM].request(stranger, REQUEST, b"x", timeout_s=5)
        assert events.up() == {peer.peer for peer in peers[:ROOM]}


async def test_our_own_dials_never_give_way() -> None:
    events, peers = Recorder(), [make(index, Recorder()) for index in range(1, ROOM + 3)]
    host = server(events, {})
    async with running(host, *peers):
        await host.connect(peers[0].addresses()[0])
        for peer in peers[1:]:
            await peer.connect(host.addresses()[0])
            await events.until(lambda peer=peer: peer.peer in events.up())  # type: ignore[misc]
        assert peers[0].peer in events.up()
        load = host.load()
        assert (load["inbound"], load["outbound"], load["handshakes"]) == (ROOM, 1, 0)
