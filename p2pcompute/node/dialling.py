"""Reaching peers by their keys: at the addresses that are known, else at those that the DHT has."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import trio

from p2pcompute.errors import P2PComputeError

log = logging.getLogger(__name__)

DIAL_S: Final = 5.0


class Connecting(Protocol):
    """Of the transport."""

    async def connect(self, address: str, *, timeout_s: float) -> bytes: ...


class Finding(Protocol):
    """Of the DHT."""

    async def find_peer(self, peer: bytes) -> Sequence[str]: ...


@dataclasses.dataclass(slots=True)
class _Attempt:
    over: trio.Event = dataclasses.field(default_factory=trio.Event)
    reached: bool = False


class Dialler:
    """One attempt at a time for each peer, which all who asked share. It goes on when they lose patience: what a
    handshake cost is not thrown away, and who asks next finds the connection. Otherwise a node that is too busy to
    answer in time would be made busier by everybody who tries again."""

    def __init__(self, network: Connecting, dht: Finding | None, spawn: Callable[..., None]) -> None:
        self._network, self._dht, self._spawn = network, dht, spawn
        self._attempts: dict[bytes, _Attempt] = {}

    async def reach(self, peer: bytes, addresses: tuple[str, ...]) -> bool:
        """Whether the peer is connected now. Addresses that lead to someone else do not count; when none leads to it,
        the DHT is asked for others. Without any, nobody is dialled: that is how machines ask for no dial at all."""
        if not addresses:
            return False
        attempt = self._attempts.get(peer)
        if attempt is None:
            attempt = self._attempts[peer] = _Attempt()
            self._spawn(self._try, peer, addresses, attempt)
        await attempt.over.wait()
        return attempt.reached

    async def _try(self, peer: bytes, addresses: tuple[str, ...], attempt: _Attempt) -> None:
        try:
            attempt.reached = await self._dial(peer, addresses)
            if not attempt.reached and self._dht is not None:
                others = await self._dht.find_peer(peer)
                attempt.reached = await self._dial(peer, tuple(one for one in others if one not in addresses))
        finally:
            del self._attempts[peer]
            attempt.over.set()

    async def _dial(self, peer: bytes, addresses: Sequence[str]) -> bool:
        for address in addresses:
            try:
                if await self._network.connect(address, timeout_s=DIAL_S) == peer:
                    return True
            except P2PComputeError as error:
                log.debug("cannot reach %s: %s", address, error)
        return False
