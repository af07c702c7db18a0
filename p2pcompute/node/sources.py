"""Peers that hold a blob, and how to ask them: what whole blobs (exchange.py) and pieces (pieces.py) share."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from p2pcompute.errors import RemoteError
from p2pcompute.transport.mux import Stream

PROTOCOL: Final = "/p2pcompute/blob/1"
NO_NODES: Final = b"\x00"
"""Stands for a list of nodes that is empty or was not wanted; an empty frame refuses."""
STALL_S: Final = 30.0
"""A transfer in which nothing moves for so long is over."""

OpenStream = Callable[[], Awaitable[Stream]]
"""A fresh stream to one source. Raises RemoteError or LocalError when it cannot be reached."""


@dataclasses.dataclass(frozen=True)
class Source:
    """A peer that is said to hold a blob, and how to reach it."""

    peer: bytes
    open: OpenStream


class CorruptError(RemoteError):
    """A source sent bytes that are not the blob's."""


class PaymentDueError(RemoteError):
    """A source gives no more of a blob until what was given is paid. `held_bytes`: what is here."""

    def __init__(self, reason: str, held_bytes: int) -> None:
        super().__init__(reason)
        self.held_bytes = held_bytes


@contextlib.asynccontextmanager
async def opened(source: Source) -> AsyncIterator[Stream]:
    """A stream to the source for as long as the block runs."""
    stream = await source.open()
    try:
        yield stream
    finally:
        stream.reset()  # nothing, where both ends have ended
