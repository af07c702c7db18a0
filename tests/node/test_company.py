from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from p2pcompute.identity.names import peer_id
from p2pcompute.node.company import JITTER, RECHECK_S, REDIAL_S_MAX, REDIAL_S_MIN, SEARCH_S, Backoff, Company
from p2pcompute.node.peers_file import PeersFile
from p2pcompute.node.reachability import Sightings
from p2pcompute.protocol.core import NEIGHBOURS_MIN
from p2pcompute.protocol.kademlia import Contact
from p2pcompute.protocol.machine import PeerInfo
from p2pcompute.transport.address import parse_address

ADDRESS = "/ip4/127.0.0.1/tcp/1"


def test_an_address_is_due_until_it_fails() -> None:
    backoff = Backoff(random.Random(1))
    assert backoff.is_due(ADDRESS, 0.0)
    assert backoff.failed(ADDRESS, 0.0) == 1
    assert not backoff.is_due(ADDRESS, REDIAL_S_MIN)
    assert backoff.is_due(ADDRESS, 2 * REDIAL_S_MIN * (1 + JITTER))


def test_pauses_grow_to_a_bound() -> None:
    backoff, now = Backoff(random.Random(2)), 0.0
    for _ in range(100):
        backoff.failed(ADDRESS, now)
    assert not backoff.is_due(ADDRESS, now + REDIAL_S_MAX * (1 - JITTER) - 0.001)
    assert backoff.is_due(ADDRESS, now + REDIAL_S_MAX * (1 + JITTER))


def test_success_clears_the_record() -> None:
    backoff = Backoff(random.Random(3))
    backoff.failed(ADDRESS, 0.0)
    backoff.succeeded(ADDRESS)
    assert backoff.is_due(ADDRESS, 0.0)
    assert backoff.failed(ADDRESS, 0.0) == 1


def test_pauses_of_two_nodes_differ() -> None:
    pauses = set()
    for seed in range(8):
        backoff = Backoff(random.Random(seed))
        backoff.failed(ADDRESS, 0.0)
        pauses.add(next(t / 1_000 for t in range(10_000) if backoff.is_due(ADDRESS, t / 1_000)))
    assert len(pauses) > 4


class Directory:
    """A DHT that knows what it was told."""

    def __init__(self, contacts: Sequence[Contact]) -> None:
        self._contacts, self.asked = list(contacts), 0

    async def find_providers(self, topic: str, count: int = 20) -> list[Contact]:
        self.asked += 1
        return self._contacts[:count]


class Network:
    """A transport whose every dial succeeds, and the core that hears of it."""

    topics = ("/topic",)

    def __init__(self, tmp_path: Path) -> None:
        self.peers: dict[bytes, PeerInfo] = {}
        self.book: dict[bytes, object] = {}
        self.dialled: list[str] = []
        self.told: dict[bytes, tuple[str, ...]] = {}
        self.post = SimpleNamespace(env=SimpleNamespace(me=bytes(32)))
        self._known = PeersFile(tmp_path / "peers.txt")

    async def connect(self, address: str, *, timeout_s: float) -> bytes:
        self.dialled.append(address)
        key = parse_address(address).peer
        assert key is not None
        self.peers[key] = PeerInfo(key, up=True, outbound=True, address=address)
        return key

    async def observed_by(self, peer: bytes) -> str | None:
        return None

    def told_by(self, peer: bytes) -> tuple[str, ...]:
        return self.told.get(peer, ())

    def company(self, bootstrap: Sequence[str], directory: Directory) -> Company:
        core: Any = self
        return Company(self, core, bootstrap, self._known, Sightings(), random.Random(1), directory)


def member(index: int) -> Contact:
    peer = bytes([index]) * 32
    return Contact(peer, (f"/ip4/10.0.0.{index}/tcp/1/p2p/{peer_id(peer)}",))


async def test_a_lonely_node_asks_the_dht_for_company_until_it_has_enough(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    bootstrap, others = member(1), [member(index) for index in range(2, 20)]
    network, directory = Network(tmp_path), Directory(others)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(network.company(bootstrap.addresses, directory).run)
        await trio.sleep(2 * SEARCH_S)
        nursery.cancel_scope.cancel()
    assert network.dialled == [one.addresses[0] for one in (bootstrap, *others)][:NEIGHBOURS_MIN]
    assert directory.asked == 1


async def test_nobody_is_asked_before_somebody_is_met(tmp_path: Path, autojump_clock: MockClock) -> None:
    network, directory = Network(tmp_path), Directory([member(2)])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(network.company([], directory).run)
        await trio.sleep(4 * SEARCH_S)
        nursery.cancel_scope.cancel()
    assert not directory.asked


@pytest.mark.parametrize(
    ("outbound", "told", "kept"),
    [
        (False, True, "10.9.9.9"),
        (False, False, "10.0.0.1"),
        (True, True, "10.0.0.1"),  # it was dialled just there
    ],
    ids=["it moved", "it says nothing", "it is proven"],
)
async def test_a_peer_of_the_file_is_kept_where_it_is_now(
    tmp_path: Path, autojump_clock: MockClock, outbound: bool, told: bool, kept: str
) -> None:
    peer, address = member(1).peer, member(1).addresses[0]
    network = Network(tmp_path)
    network._known.remember(address)
    network.peers[peer] = PeerInfo(peer, up=True, outbound=outbound, address=address)
    if told:
        network.told[peer] = (f"/ip4/10.9.9.8/tcp/1/p2p/{peer_id(peer)}", f"/ip4/10.9.9.9/tcp/1/p2p/{peer_id(peer)}")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(network.company([], Directory([])).run)
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert PeersFile(tmp_path / "peers.txt").addresses() == (f"/ip4/{kept}/tcp/1/p2p/{peer_id(peer)}",)


async def test_a_peer_that_comes_for_a_moment_is_not_kept_in_the_file(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    guest, friend = member(1), member(2)
    network = Network(tmp_path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(network.company([], Directory([])).run)
        for one in (guest, friend):
            network.peers[one.peer] = PeerInfo(one.peer, up=True, outbound=True, address=one.addresses[0])
        await trio.sleep(RECHECK_S / 2)
        del network.peers[guest.peer]
        await trio.sleep(2 * RECHECK_S)
        nursery.cancel_scope.cancel()
    assert PeersFile(tmp_path / "peers.txt").addresses() == friend.addresses
