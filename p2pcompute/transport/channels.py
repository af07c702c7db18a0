"""Frames over streams: a varint length, then the bytes. One persistent stream per peer, channel and direction."""

from __future__ import annotations

import enum
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from p2pcompute.errors import RemoteError
from p2pcompute.protocol.machine import Priority
from p2pcompute.transport.mux import Connection, Stream

log = logging.getLogger(__name__)

QUEUE_BYTES_MAX: Final = {Priority.LOW: 512 * 1024, Priority.NORMAL: 1024 * 1024, Priority.HIGH: 4 * 1024 * 1024}
"""What may wait for one peer on one channel before a frame of that priority is dropped."""
WRITE_BYTES: Final = 256 * 1024
"""How much of the queue goes into one write."""
_LENGTH_BITS_MAX: Final = 28


class FrameError(RemoteError):
    """The peer sent a frame that is longer than its channel allows, or a bad length."""


def pack_frame(frame: bytes) -> bytes:
    size, prefix = len(frame), bytearray()
    while size > 127:
        prefix.append(size & 127 | 128)
        size >>= 7
    prefix.append(size)
    return bytes(prefix) + frame


def frame_bounds(data: bytes | bytearray, at: int, frame_bytes_max: int) -> tuple[int, int] | None:
    """Start and end of the frame at `at`; None while it is not complete. Raises FrameError."""
    size = shift = 0
    position = at
    while position < len(data):
        byte = data[position]
        position += 1
        size |= (byte & 127) << shift
        if byte < 128:
            if size > frame_bytes_max:
                raise FrameError(f"a frame of {size} bytes, where {frame_bytes_max} are allowed")
            return (position, position + size) if position + size <= len(data) else None
        shift += 7
        if shift >= _LENGTH_BITS_MAX:
            raise FrameError("a frame length of more than four bytes")
    return None


class Framer:
    """Cuts a stream into frames, right in the connection's reader. Raises FrameError, which resets the stream."""

    __slots__ = ("_deliver", "_frame_bytes_max", "_rest")

    def __init__(self, frame_bytes_max: int, deliver: Callable[[bytes], None]) -> None:
        self._frame_bytes_max, self._deliver = frame_bytes_max, deliver
        self._rest = b""

    def __call__(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        at = 0
        while (bounds := frame_bounds(data, at, self._frame_bytes_max)) is not None:
            start, at = bounds
            self._deliver(data[start:at])
        self._rest = data[at:]


class FrameReader:
    """Frames one after the other from a stream that is read by one task."""

    __slots__ = ("_data", "_stream")

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._data = bytearray()

    async def next(self, frame_bytes_max: int) -> bytes:
        """The next frame. Raises FrameError or trio.BrokenResourceError."""
        while (bounds := frame_bounds(self._data, 0, frame_bytes_max)) is None:
            more = await self._stream.receive_some()
            if not more:
                raise FrameError("the stream ended before its frame was complete")
            self._data += more
        frame = bytes(self._data[bounds[0] : bounds[1]])
        del self._data[: bounds[1]]
        return frame


async def read_frame(stream: Stream, frame_bytes_max: int) -> bytes:
    """The one frame that comes on a stream of a request. Raises FrameError or trio.BrokenResourceError."""
    return await FrameReader(stream).next(frame_bytes_max)


class Sent(enum.Enum):
    """What became of a frame."""

    TAKEN = "taken"
    FULL = "full"
    """The peer reads too slowly."""
    UNWANTED = "unwanted"
    """There is no connection, or the peer does not speak the channel."""


class Outbox:
    """Our frames to one peer on one channel. Frames leave at once while there is room, and wait here otherwise."""

    def __init__(
        self,
        channel: str,
        connection: Callable[[], Connection | None],
        start: Callable[[Callable[[], Awaitable[None]]], None],
    ) -> None:
        self._channel, self._connection, self._start = channel, connection, start
        self._stream: Stream | None = None
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._draining = False
        self._refused: Connection | None = None

    def send(self, frame: bytes, priority: Priority) -> Sent:
        """Send or queue a frame; it is dropped when its priority's share of the queue is full."""
        stream = self._current()
        if stream is None:
            return Sent.UNWANTED
        data = pack_frame(frame)
        if not self._queue and not self._draining and stream.send_now(data):
            return Sent.TAKEN
        if self._queued_bytes + len(data) > QUEUE_BYTES_MAX[priority]:
            return Sent.FULL
        self._queue.append(data)
        self._queued_bytes += len(data)
        if not self._draining:
            self._draining = True
            self._start(self._drain)
        return Sent.TAKEN

    def leave(self, connection: Connection) -> None:
        """End our stream on a connection that is being given up, unless frames still wait for it."""
        stream = self._stream
        if stream is not None and stream.connection is connection and not self._queue:
            self._stream = None
            stream.finish()

    def _current(self) -> Stream | None:
        connection = self._connection()
        stream = self._stream
        if stream is not None and stream.is_writable and (stream.connection is connection or self._queue):
            return stream
        if stream is not None:
            if stream.was_refused:
                self._refused = stream.connection
            self._stream = None
            stream.finish()
        if connection is None or connection is self._refused:
            return None
        try:
            stream = self._stream = connection.open_protocol(self._channel)
        except RemoteError:
            return None
        stream.expect_only_consent()
        return stream

    async def _drain(self) -> None:
        try:
            while self._queue:
                stream = self._current()
                if stream is None:
                    break
                await stream.send_all(self._next())
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            log.debug("frames on %s are lost: %r", self._channel, error)
        finally:
            self._draining = False
            self._queue.clear()
            self._queued_bytes = 0

    def _next(self) -> bytes:
        parts, size = [], 0
        while self._queue and size < WRITE_BYTES:
            part = self._queue.popleft()
            parts.append(part)
            size += len(part)
        self._queued_bytes -= size
        return b"".join(parts)
