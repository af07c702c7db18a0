"""Streams between two nodes of one process, without a network."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from p2pcompute.errors import RemoteError
from p2pcompute.node.sources import Source

PEER = b"p" * 32
"""Who asks, and whom."""


class Pipe:
    """Both ends of a stream, in memory: what `serve` answers to the one request."""

    def __init__(self, serve: Callable[[Pipe], Awaitable[None]]) -> None:
        self._serve, self._request, self._answer = serve, b"", bytearray()
        self.was_reset = False
        self.frames: list[bytes] = []

    @property
    def end(self) -> ServerEnd:
        return ServerEnd(self)

    async def send_all(self, data: bytes) -> None:
        self._request = bytes(data)
        try:
            await self._serve(self)
        except RemoteError:
            self.was_reset = True

    async def receive_some(self, size: int | None = None) -> bytes:
        if self.was_reset and not self._answer:
            raise trio.BrokenResourceError
        data = bytes(self._answer)
        self._answer.clear()
        return data

    def reset(self) -> None: ...


class ServerEnd:
    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe

    async def receive_some(self, size: int | None = None) -> bytes:
        return self._pipe._request

    async def send_all(self, data: bytes) -> None:
        self._pipe.frames.append(bytes(data))
        self._pipe._answer += data


def source(serve: Callable[[Pipe], Awaitable[None]]) -> tuple[Source, list[Pipe]]:
    opened: list[Pipe] = []

    async def open_stream() -> Pipe:
        opened.append(Pipe(serve))
        return opened[-1]

    return Source(PEER, open_stream), opened  # type: ignore[arg-type]
