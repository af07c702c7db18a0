"""The supervisor of relays, against a transport that does what the test says. Time is trio's virtual clock."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
import trio
from trio.testing import MockClock

from p2pcompute.errors import RemoteError
from p2pcompute.identity.names import peer_id
from p2pcompute.node.reachability import Evidence, Verdicts
from p2pcompute.node.relays import NAMED_AT_ONCE, PLACES_WANTED, RENEW_S, RETRY_CONFIGURED_S, RETRY_S, TICK_S, Relays
from p2pcompute.protocol.machine import PeerInfo
from p2pcompute.transport.address import parse_address
from p2pcompute.transport.relayed import Place
from p2pcompute.wire.multiaddr import Reach

LIFETIME_S = 3_600.0


def address(index: int) -> str:
    return f"/ip4/203.0.113.{index}/tcp/1/p2p/{peer_id(bytes([index]) * 32)}"


class World:
    """A transport, and what it knows."""

    def __init__(self, neighbours: int) -> None:
        infos = [
            PeerInfo(bytes([i]) * 32, up=True, outbound=True, address=address(i)) for i in range(1, neighbours + 1)
        ]
        self.peers = {info.peer: info for info in infos}
        self.reached: bool | None = False
        self.refuses: set[str] = set()
        self.silent: set[str] = set()
        self.held: dict[bytes, Place] = {}
        self.asked: list[tuple[str, float]] = []
        self.dialled_back_at: list[float] = []
        self.dials_back_after_s = 0.0
        self.changes = 0
        self.verdicts = Verdicts()

    def addresses(self) -> tuple[str, ...]:
        return tuple(str(place.address) for place in self.held.values())

    def places(self) -> Mapping[bytes, Place]:
        return dict(self.held)

    def give_up_place(self, relay: bytes) -> None:
        self.held.pop(relay, None)

    async def reserve(self, address: str, *, timeout_s: float = 20) -> float:
        self.asked.append((address, trio.current_time()))
        if address in self.silent:
            await trio.sleep(timeout_s)
        if address in self.refuses | self.silent:
            raise RemoteError("no")
        target = parse_address(address)
        assert target.peer is not None
        self.held[target.peer] = Place(target.peer, target, trio.current_time() + LIFETIME_S)
        return LIFETIME_S

    async def dialled_back(self, peer: bytes) -> bool | None:
        self.dialled_back_at.append(trio.current_time())
        await trio.sleep(self.dials_back_after_s)
        return self.reached

    def evidence(self) -> Evidence:
        reached, missed = self.verdicts.counts(trio.current_time())
        own = ["/ip4/192.168.0.2/tcp/1"]
        return Evidence(own, [], inbound=0, reached=reached, missed=missed, relays=len(self.held), announced=False)

    def changed(self) -> None:
        self.changes += 1


@asynccontextmanager
async def keeping(world: World, configured: Sequence[str] = ()) -> AsyncIterator[Relays]:
    relays = Relays(world, world.peers, configured, world.evidence, world.verdicts, world.changed)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(relays.run)
        yield relays
        nursery.cancel_scope.cancel()


async def test_a_node_that_is_reached_takes_no_place(autojump_clock: MockClock) -> None:
    world = World(4)
    world.reached = True
    async with keeping(world):
        await trio.sleep(60)
    assert not world.asked
    assert len(world.dialled_back_at) == 4


async def test_a_node_that_nobody_can_dial_takes_a_few(autojump_clock: MockClock) -> None:
    world = World(4)
    async with keeping(world):
        await trio.sleep(60)
    assert len(world.held) == PLACES_WANTED
    assert world.changes == 1


async def test_where_nobody_says_anything_no_place_is_taken(autojump_clock: MockClock) -> None:
    world = World(4)
    world.reached = None
    async with keeping(world):
        await trio.sleep(60)
    assert not world.asked


async def test_named_relays_are_always_used(autojump_clock: MockClock) -> None:
    world = World(2)
    world.reached = True
    async with keeping(world, [address(9)]):
        await trio.sleep(60)
    assert list(world.held) == [bytes([9]) * 32]


async def test_a_place_is_renewed_before_it_runs_out(autojump_clock: MockClock) -> None:
    world = World(1)
    async with keeping(world):
        await trio.sleep(3 * LIFETIME_S)
        assert world.held[bytes([1]) * 32].expires_s > trio.current_time()
    times = [at for _, at in world.asked]
    assert max(b - a for a, b in pairwise(times)) < LIFETIME_S


async def test_relays_that_do_not_answer_delay_no_other(autojump_clock: MockClock) -> None:
    world = World(1)
    world.reached = None
    dead = [address(index) for index in range(10, 10 + 2 * NAMED_AT_ONCE)]
    world.silent.update(dead)
    good = [address(index) for index in (50, 51)]
    async with keeping(world, [good[0], *dead, good[1]]):
        await trio.sleep(3 * LIFETIME_S)
        assert {str(place.address) for place in world.held.values()} == set(good)
    for one in good:
        times = [at for text, at in world.asked if text == one]
        assert times[0] <= 60
        assert max(b - a for a, b in pairwise(times)) <= LIFETIME_S - RENEW_S + TICK_S
    assert {text for text, _ in world.asked} == {*good, *dead}


async def test_a_peer_that_does_not_dial_back_delays_no_renewal(autojump_clock: MockClock) -> None:
    world = World(3)
    world.dials_back_after_s = 10 * LIFETIME_S
    async with keeping(world, [address(9)]):
        await trio.sleep(3 * LIFETIME_S)
    times = [at for _, at in world.asked]
    assert max(b - a for a, b in pairwise(times)) <= LIFETIME_S - RENEW_S + TICK_S


async def test_a_place_that_is_not_renewed_is_tried_again_and_given_up_when_it_runs_out(
    autojump_clock: MockClock,
) -> None:
    world = World(0)
    async with keeping(world, [address(9)]):
        await trio.sleep(10)
        world.refuses.add(address(9))
        await trio.sleep(LIFETIME_S - 20)
        assert world.held
        await trio.sleep(30)
        assert not world.held
    times = [at for _, at in world.asked][1:]
    assert min(b - a for a, b in pairwise(times)) >= RETRY_CONFIGURED_S
    assert world.changes == 2


async def test_a_place_that_is_lost_is_taken_again(autojump_clock: MockClock) -> None:
    world = World(1)
    async with keeping(world):
        await trio.sleep(10)
        world.held.clear()
        await trio.sleep(10)
        assert len(world.held) == 1
    assert world.changes >= 1


@pytest.mark.parametrize(("named", "pause_s"), [(False, RETRY_S), (True, RETRY_CONFIGURED_S)])
async def test_a_relay_that_refuses_is_asked_again_after_a_while(
    autojump_clock: MockClock, named: bool, pause_s: float
) -> None:
    world = World(0 if named else 1)
    relay = address(1)
    world.refuses.add(relay)
    async with keeping(world, [relay] if named else ()):
        await trio.sleep(4 * pause_s)
    times = [at for _, at in world.asked]
    assert len(times) >= 3
    assert min(b - a for a, b in pairwise(times)) >= pause_s


async def test_places_that_are_not_needed_any_more_are_given_up(autojump_clock: MockClock) -> None:
    world = World(2)
    async with keeping(world, [address(9)]):
        await trio.sleep(10)
        assert len(world.held) == 2
        for peer in world.peers:
            world.verdicts.add(peer, True, trio.current_time(), Reach.OFFICE)
        await trio.sleep(10)
        assert list(world.held) == [bytes([9]) * 32]


async def test_peers_that_came_through_a_relay_are_no_relays(autojump_clock: MockClock) -> None:
    world = World(1)
    info = next(iter(world.peers.values()))
    through = f"{address(5)}/p2p-circuit/p2p/{peer_id(info.peer)}"
    world.peers[info.peer] = PeerInfo(info.peer, up=True, outbound=True, address=through)
    async with keeping(world):
        await trio.sleep(60)
    assert not world.asked
    assert not world.dialled_back_at
