"""Frames over streams: a varint length, then the bytes. One persistent stream per peer, channel and direction."""

from __future__ import annotations

import enum
import functools
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import trio

from p2pcompute.errors import RemoteError
from p2pcompute.protocol.machine import Priority
from p2pcompute.transport.memory import Memory
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


def frame_length(data: bytes | bytearray, at: int, frame_bytes_max: int) -> tuple[int, int] | None:
    """Length and start of the frame at `at`; None while its length is not complete. Raises FrameError."""
    size = shift = 0
    while at < len(data):
        byte = data[at]
        at += 1
        size |= (byte & 127) << shift
        if byte < 128:
            if size > frame_bytes_max:
                raise FrameError(f"a frame of {size} bytes, where {frame_bytes_max} are allowed")
            return size, at
        shift += 7
        if shift >= _LENGTH_BITS_MAX:
            raise FrameError("a frame length of more than four bytes")
    return None


def frame_bounds(data: bytes | bytearray, at: int, frame_bytes_max: int) -> tuple[int, int] | None:
    """Start and end of the frame at `at`; None while it is not complete. Raises FrameError."""
    head = frame_length(data, at, frame_bytes_max)
    if head is None or head[0] + head[1] > len(data):
        return None
    return head[1], head[0] + head[1]


class Framer:
    """Cuts a stream into frames, right in the connection's reader. Raises FrameError, which resets the stream."""

    __slots__ = ("_deliver", "_frame_bytes_max", "_rest")

    def __init__(self, frame_bytes_max: int, deliver: Callable[[bytes], None]) -> None:
        self._frame_bytes_max, self._deliver = frame_bytes_max, deliver
        self._rest = bytearray()
        """The beginning of a frame. It grows in place: copied for each piece, a frame that comes a byte at a time
        would cost the square of its length."""

    def __call__(self, data: bytes) -> None:
        rest = self._rest
        if rest:
            rest += data
            if frame_bounds(rest, 0, self._frame_bytes_max) is None:
                return
            data, self._rest = bytes(rest), bytearray()
        at = 0
        while (bounds := frame_bounds(data, at, self._frame_bytes_max)) is not None:
            start, at = bounds
            self._deliver(data[start:at])
        if at < len(data):
            self._rest += data[at:]


class FrameReader:
    """Frames one after the other from a stream that is read by one task."""

    __slots__ = ("_at", "_data", "_stream")

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._data, self._at = b"", 0

    async def next(self, frame_bytes_max: int) -> bytes:
        """The next frame. Raises FrameError or trio.BrokenResourceError."""
        frame = await self.next_or_end(frame_bytes_max)
        if frame is None:
            raise FrameError("the stream ended before its frame came")
        return frame

    async def next_or_end(self, frame_bytes_max: int) -> bytes | None:
        """The next frame; None when the stream ended behind the last one."""
        while (head := frame_length(self._data, self._at, frame_bytes_max)) is None:
            more = await self._stream.receive_some()
            if not more and self._at == len(self._data):
                return None
            if not more:
                raise FrameError("the stream ended before its frame was complete")
            self._data, self._at = self._data[self._at :] + more, 0
        size, start = head
        end = start + size
        if end <= len(self._data):
            self._at = end
            return self._data[start:end]
        parts, missing = [self._data[start:]], end - len(self._data)
        while missing > 0:  # no more than the frame: it is joined once and never cut
            part = await self._stream.receive_some(missing)
            if not part:
                raise FrameError("the stream ended before its frame was complete")
            parts.append(part)
            missing -= len(part)
        self._data, self._at = b"", 0
        return b"".join(parts)

    def rest(self) -> bytes:
        """What came behind the frames that were taken."""
        return self._data[self._at :]


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
    """Our frames to one peer on one channel. Frames leave at once while there is room, and wait here otherwise.

    Of a channel's `versions` (protocol ids, best first) the first one that the peer speaks is used: when it refuses
    one, what was sent on it is sent again on the next.
    """

    def __init__(
        self,
        versions: Sequence[str],
        connection: Callable[[], Connection | None],
        start: Callable[[Callable[[], Awaitable[None]]], None],
        memory: Memory | None = None,
    ) -> None:
        self._versions, self._connection, self._start = tuple(versions), connection, start
        self._stream: Stream | None = None
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._memory = memory or Memory()
        self._draining = False
        self._refused: Connection | None = None
        self._spoken: tuple[Connection | None, int] = (None, 0)
        self._untaken: list[bytes] | None = None
        """What was sent on a version before the peer agreed to it; None when that is settled."""
        self._untaken_bytes = 0

    def send(self, frame: bytes, priority: Priority) -> Sent:
        """Send or queue a frame; it is dropped when its priority's share of the queue is full."""
        stream = self._current()
        if stream is None:
            return Sent.UNWANTED
        data = pack_frame(frame)
        if self._untaken is not None and self._untaken_bytes + len(data) > QUEUE_BYTES_MAX[priority]:
            return Sent.FULL
        if self._queue and not self._draining:  # what a refused version leaves behind goes first
            self._draining = True
            self._start(self._drain)
        if not self._queue and not self._draining and stream.send_now(data):
            self._keep(data)
            return Sent.TAKEN
        if self._queued_bytes + len(data) > QUEUE_BYTES_MAX[priority]:
            return Sent.FULL
        self._queue.append(data)
        self._hold(self._queued_bytes + len(data))
        if not self._draining:
            self._draining = True
            self._start(self._drain)
        return Sent.TAKEN

    def shed(self) -> None:
        """Let go of what waits, and of the connection that does not take it (memory.Holder)."""
        self._queue.clear()
        self._queued_bytes = 0
        if self._stream is not None:
            self._stream.connection.shed()

    def _hold(self, size: int) -> None:
        self._queued_bytes = size
        self._memory.holds(self, size)

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
            if stream.was_refused and not self._fall_back(stream):
                self._refuse(stream.connection)
            self._stream = None
            stream.finish()
        if connection is None or connection is self._refused:
            return None
        if self._spoken[0] is not connection:
            self._spoken = connection, 0
        at = self._spoken[1]
        try:
            stream = self._stream = connection.open_protocol(self._versions[at])
        except RemoteError:
            return None
        if at + 1 < len(self._versions):
            self._begin_trial(stream)
        stream.expect_only_consent()
        return stream

    # A version on trial ----------------------------------------------------------------------------------------

    def _begin_trial(self, stream: Stream) -> None:
        self._untaken, self._untaken_bytes = [], 0
        self._start(functools.partial(self._settle, stream))

    def _keep(self, data: bytes) -> None:
        if self._untaken is not None:
            self._untaken.append(data)
            self._untaken_bytes += len(data)

    async def _settle(self, stream: Stream) -> None:
        """Wait for the peer's word on a version; when it is no, go on with the next one."""
        taken = await stream.wait_consent()
        if self._stream is not stream:
            return
        if taken or not stream.was_refused:
            self._untaken = None
        elif self._fall_back(stream) and self._queue and not self._draining:
            self._draining = True
            self._start(self._drain)

    def _fall_back(self, stream: Stream) -> bool:
        """What was sent on a refused version goes to the front of the queue, for the next one."""
        if self._stream is not stream or self._untaken is None:
            return False
        sent, self._untaken = self._untaken, None
        self._stream = None
        self._refuse(stream.connection)
        self._queue.extendleft(reversed(sent))
        self._hold(self._queued_bytes + sum(map(len, sent)))
        return True

    def _refuse(self, connection: Connection) -> None:
        """The peer does not speak the version in use on this connection."""
        at = self._spoken[1] + 1
        if self._spoken[0] is connection and at < len(self._versions):
            self._spoken = connection, at
        else:
            self._refused = connection

    async def _drain(self) -> None:
        try:
            while self._queue:
                stream = self._current()
                if stream is None:
                    break
                data = self._next()
                self._keep(data)
                try:
                    await stream.send_all(data)
                except trio.BrokenResourceError:
                    if not (stream.was_refused and self._fall_back(stream)) and self._stream is stream:
                        raise
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            log.debug("frames on %s are lost: %r", self._versions[0], error)
        finally:
            self._draining = False
            self._queue.clear()
            self._hold(0)

    def _next(self) -> bytes:
        parts, size = [], 0
        while self._queue and size < WRITE_BYTES:
            part = self._queue.popleft()
            parts.append(part)
            size += len(part)
        self._hold(self._queued_bytes - size)
        return b"".join(parts)
