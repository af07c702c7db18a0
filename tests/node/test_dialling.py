"""Reaching peers: attempts are shared, and outlive who asked."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
from trio.testing import MockClock

from p2pcompute.errors import RemoteError
from p2pcompute.node.dialling import Dialler

PEER, ADDRESS = b"p" * 32, ("/ip4/192.0.2.1/tcp/1",)


class Slow:
    """A network and a DHT where each dial takes a second."""

    def __init__(self, *, there: Sequence[str] = ADDRESS, known: Sequence[str] = ()) -> None:
        self.dialled: list[str] = []
        self.connected = 0
        self._there, self._known = there, known

    async def connect(self, address: str, *, timeout_s: float) -> bytes:
        self.dialled.append(address)
        await trio.sleep(1)
        if address not in self._there:
            raise RemoteError("nobody there")
        self.connected += 1
        return PEER

    async def find_peer(self, peer: bytes) -> Sequence[str]:
        return self._known


async def test_an_attempt_goes_on_when_who_asked_gives_up(autojump_clock: MockClock) -> None:
    slow = Slow()
    async with trio.open_nursery() as nursery:
        dialler = Dialler(slow, slow, nursery.start_soon)
        with trio.move_on_after(0.5) as patience:
            await dialler.reach(PEER, ADDRESS)
        assert patience.cancelled_caught
    assert slow.connected == 1


async def test_who_asks_meanwhile_shares_the_attempt(autojump_clock: MockClock) -> None:
    slow, answers = Slow(), list[bool]()
    async with trio.open_nursery() as nursery:
        dialler = Dialler(slow, slow, nursery.start_soon)

        async def ask() -> None:
            answers.append(await dialler.reach(PEER, ADDRESS))

        for _ in range(3):
            nursery.start_soon(ask)
    assert answers == [True, True, True]
    assert slow.dialled == [*ADDRESS]


@pytest.mark.parametrize("there", [True, False])
async def test_where_the_addresses_lead_nowhere_the_dht_is_asked_for_others(
    autojump_clock: MockClock, there: bool
) -> None:
    other = "/ip4/192.0.2.2/tcp/1"
    slow = Slow(there=[other] if there else [], known=[*ADDRESS, other])
    async with trio.open_nursery() as nursery:
        dialler = Dialler(slow, slow, nursery.start_soon)
        assert await dialler.reach(PEER, ADDRESS) is there
        assert slow.dialled == [*ADDRESS, other]
        assert not await dialler.reach(PEER, ())
        assert len(slow.dialled) == 2
