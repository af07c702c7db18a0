"""Two connections to one peer: which of them stays."""

from __future__ import annotations

from math import inf

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from p2pcompute.transport import noise, peers
from p2pcompute.transport.libp2p import RETIRE_S, WATCH_S, Libp2pTransport
from p2pcompute.transport.mux import Connection
from tests.transport.harness import Recorder, make, raw_peer, running

KEY = noise.signer(bytes([99]) * 32)[0]


def usable(transport: Libp2pTransport) -> list[Connection]:
    peer = transport._peers.get(KEY)
    assert peer is not None
    return [connection for connection in peer.connections if connection.takes_streams]


def lower_and_higher() -> tuple[int, int]:
    """Seeds of a peer with a lower and of one with a higher public key than KEY."""
    keys = {index: noise.signer(bytes([index]) * 32)[0] for index in range(1, 20)}
    return min(keys, key=lambda index: keys[index]), max(keys, key=lambda index: keys[index])


async def test_the_lower_key_keeps_the_connection_it_has() -> None:
    events = Recorder()
    lower = make(lower_and_higher()[0], events)
    assert lower.peer < KEY
    async with running(lower):
        first = await raw_peer(lower)
        await events.until(lambda: bool(events.up()))
        before = usable(lower)
        second = await raw_peer(lower)
        await wait_all_tasks_blocked(0.01)
        assert usable(lower) == before
        assert len(events.changes) == 1
        for raw in (first, second):
            await trio.aclose_forcefully(raw.socket)
        await events.until(lambda: not events.up())
        assert len(events.changes) == 2


async def test_the_higher_key_waits_for_the_decision_and_bounds_what_it_holds() -> None:
    events = Recorder()
    higher = make(lower_and_higher()[1], events)
    assert higher.peer > KEY
    async with running(higher):
        raws = [await raw_peer(higher) for _ in range(5)]
        await wait_all_tasks_blocked(0.01)
        assert len(usable(higher)) == peers.CONNECTIONS_PER_PEER_MAX
        assert len(events.changes) == 1
        for raw in raws:
            await trio.aclose_forcefully(raw.socket)


async def test_a_silent_connection_gives_way_to_a_new_one(mock_clock: MockClock) -> None:
    for seed in lower_and_higher():
        events = Recorder()
        transport = make(seed, events)
        async with running(transport, patience_s=inf):
            old = await raw_peer(transport)
            await events.until(lambda: bool(events.up()))  # noqa: B023
            before = usable(transport)
            mock_clock.jump(peers.ALIVE_S + 1)
            new = await raw_peer(transport)
            await wait_all_tasks_blocked(0.01)
            after = usable(transport)
            assert len(after) == 1
            assert after != before
            for _ in range(int(RETIRE_S / WATCH_S) + 2):
                mock_clock.jump(WATCH_S)
                await wait_all_tasks_blocked(0.005)
            assert before[0].is_closed
            assert len(events.changes) == 1
            for raw in (old, new):
                await trio.aclose_forcefully(raw.socket)
