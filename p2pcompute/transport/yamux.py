"""yamux (/yamux/1.0.0), without input or output: `receive` takes plaintext, `out` collects what is to be written.

Source: hashicorp/yamux `spec.md` and the libp2p specification `yamux/README.md`. Every stream starts with 256 KiB of
credit in each direction; a stream whose reader keeps up grows its window, so that bulk transfer does not wait for
window updates.
"""

from __future__ import annotations

import dataclasses
import enum
import logging
import struct
from collections import deque
from collections.abc import Callable
from typing import Final

from p2pcompute.errors import RemoteError
from p2pcompute.transport.allowance import CONTROL_COST_BYTES, STREAM_COST_BYTES

log = logging.getLogger(__name__)

HEADER: Final = struct.Struct(">BBHII")
WINDOW_BYTES: Final = 256 * 1024
"""Initial window of a stream, fixed by the protocol."""
FRAME_BYTES: Final = 65_535 - 16 - 12
"""Payload of one frame: with its header it fills exactly one Noise message."""
SMALL_BYTES: Final = 1024
"""Pieces are joined up to here while they wait to be read: a byte in an object of its own takes fifty."""
WINDOW_BYTES_END: Final = 0xFFFF_FFFF
STREAM_ID_END: Final = 0xFFFF_FFF0

_pack, _unpack_from = HEADER.pack, HEADER.unpack_from


class Kind(enum.IntEnum):
    DATA = 0
    WINDOW = 1
    PING = 2
    GO_AWAY = 3


class Flag(enum.IntFlag):
    SYN = 1
    ACK = 2
    FIN = 4
    RST = 8


_DATA, _WINDOW, _PING, _GO_AWAY = (int(kind) for kind in Kind)
_SYN, _ACK, _FIN, _RST = (int(flag) for flag in Flag)


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """What one peer may make us hold, per connection."""

    streams_max: int = 256
    """Streams the peer has open; more are reset."""
    backlog_max: int = 128
    """Streams the peer opened that were not accepted yet; more are reset."""
    frame_bytes_max: int = 1 << 20
    window_bytes_max: int = 1 << 20
    """What the window of a busy stream may grow to."""
    window_bytes_total: int = 16 << 20
    """Sum of what windows grew beyond their start."""
    unread_bytes_max: int = 24 << 20
    """Received and not yet read, over all streams; the stream that goes beyond is reset."""
    out_bytes_max: int = 2 << 20
    """Queued for a peer that reads nothing; data stops long before, so what goes beyond is answers to a flood."""
    control_per_read_max: int = 4_096
    """Pings and window updates in one `receive`."""
    pings_max: int = 4
    """Of our own pings, waiting for an answer."""


class YamuxError(RemoteError):
    """The peer broke the protocol; the connection must end."""


class Stream:
    """One stream's state. `on_change` is called when data, credit, an end or a reset came in. With a `sink`, data goes
    there at once instead of waiting for `take`."""

    __slots__ = (
        "_consumed_bytes",
        "_credit",
        "_mux",
        "_window",
        "id",
        "inbound",
        "on_change",
        "received",
        "received_bytes",
        "received_end",
        "reset",
        "send_window",
        "sent_end",
        "sink",
    )

    def __init__(self, mux: Yamux, stream_id: int, *, inbound: bool) -> None:
        self._mux, self.id, self.inbound = mux, stream_id, inbound
        self.received: deque[bytes] = deque()
        self.received_bytes = 0
        self.received_end = self.sent_end = self.reset = False
        self.send_window = WINDOW_BYTES
        self.sink: Callable[[bytes], None] | None = None
        self.on_change: Callable[[], None] | None = None
        self._credit = WINDOW_BYTES  # what the peer may still send
        self._window = WINDOW_BYTES
        self._consumed_bytes = 0

    @property
    def is_writable(self) -> bool:
        return not (self.reset or self.sent_end)

    def send(self, data: bytes | bytearray | memoryview) -> int:
        """Queue as much of `data` as the peer's window allows, in whole frames; how many bytes that were."""
        assert self.is_writable, "the stream is closed for writing"
        size = min(len(data), self.send_window)
        out, view = self._mux.out, memoryview(data)
        for start in range(0, size, FRAME_BYTES):
            part = view[start : min(start + FRAME_BYTES, size)]
            out += _pack(0, _DATA, 0, self.id, len(part))
            out += part
        self.send_window -= size
        return size

    def take(self, size_max: int | None = None) -> bytes:
        """Up to `size_max` received bytes (all, when None); gives the peer new credit."""
        received = self.received
        if not received:
            return b""
        if size_max is None:
            data = received[0] if len(received) == 1 else b"".join(received)
            received.clear()
        elif len(received[0]) <= size_max:
            data = received.popleft()
        else:
            data = received[0][:size_max]
            received[0] = received[0][size_max:]
        self.received_bytes -= len(data)
        self._mux.unread_bytes -= len(data)
        self._consumed(len(data))
        return data

    def put_back(self, data: bytes) -> None:
        """Bytes taken too far, back to the front."""
        if data:
            self.received.appendleft(data)
            self.received_bytes += len(data)
            self._mux.unread_bytes += len(data)

    def discard(self) -> None:
        """Nobody reads any more: what came and what still comes is dropped, and charged to nobody."""
        self.take()
        self.sink = _nowhere

    def end(self) -> None:
        """Nothing more will be sent."""
        if not (self.sent_end or self.reset):
            self.sent_end = True
            self._mux.out += _pack(0, _WINDOW, _FIN, self.id, 0)
            self._mux.forget_ended(self)

    def abort(self) -> None:
        """End both directions at once, and tell the peer."""
        if not self.reset:
            if not (self.received_end and self.sent_end):
                self._mux.out += _pack(0, _WINDOW, _RST, self.id, 0)
            self._mux.kill(self)

    def change(self) -> None:
        if self.on_change is not None:
            self.on_change()

    def charge(self, size: int) -> None:
        """The peer sends `size` bytes. Raises YamuxError beyond its credit."""
        if size > self._credit:
            raise YamuxError("the peer sent more than its window")
        self._credit -= size

    def deliver(self, data: bytes) -> None:
        mux = self._mux
        if self.sink is not None:
            try:
                self.sink(data)
            except Exception as error:  # a frame it cannot take costs the stream, never the connection
                log.debug("stream %d: %r", self.id, error)
                self.abort()
                return
            self._consumed(len(data))
        elif mux.unread_bytes + len(data) > mux.limits.unread_bytes_max:
            self.abort()
        else:
            received = self.received
            if received and len(received[-1]) + len(data) <= SMALL_BYTES:
                received[-1] += data
            else:
                received.append(data)
            self.received_bytes += len(data)
            mux.unread_bytes += len(data)
            self.change()

    def give_back_window(self) -> int:
        """How far the window had grown, for the connection's account."""
        return self._window - WINDOW_BYTES

    def _consumed(self, size: int) -> None:
        self._consumed_bytes += size
        if self.received_end or self.reset:
            return
        window, mux = self._window, self._mux
        grant = window - self._credit - self.received_bytes
        if grant < window >> 1:
            return
        busy = self._consumed_bytes >= 2 * window
        if busy and window < mux.limits.window_bytes_max and mux.grown_bytes + window <= mux.limits.window_bytes_total:
            self._window = 2 * window
            mux.grown_bytes += window
            grant += window
        self._credit += grant
        mux.out += _pack(0, _WINDOW, 0, self.id, grant)


def _nowhere(data: bytes) -> None:
    pass


class Yamux:
    """One connection's state. `client` is the side that dialled: its streams have odd numbers."""

    def __init__(self, *, client: bool, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.out = bytearray()
        self.backlog: deque[Stream] = deque()
        self.streams: dict[int, Stream] = {}
        self.unread_bytes = self.grown_bytes = 0
        self.unasked_bytes = 0
        """What the peer sent unasked, by its cost (allowance.py); the driver takes it from here."""
        self.remote_going = self.local_going = False
        self._client, self._next_id, self._inbound = client, 1 if client else 2, 0
        self._pings: dict[int, None] = {}
        self._ping_token = 0
        self._rest = b""
        self._need = 0  # bytes of the current data frame that have not come yet
        self._current: Stream | None = None
        self._current_ends = False

    # What we do ------------------------------------------------------------------------------------------------

    def open(self) -> Stream:
        """A new stream. Raises YamuxError when either side is going away."""
        if self.remote_going or self.local_going or self._next_id > STREAM_ID_END:
            raise YamuxError("the connection takes no more streams")
        stream = self.streams[self._next_id] = Stream(self, self._next_id, inbound=False)
        self._next_id += 2
        self.out += _pack(0, _WINDOW, _SYN, stream.id, 0)
        return stream

    def ping(self) -> None:
        """Ask for a sign of life. Any byte that comes counts as the answer; the pong itself is not told."""
        if len(self._pings) < self.limits.pings_max:
            self._ping_token = (self._ping_token + 1) & 0xFFFF_FFFF
            self._pings[self._ping_token] = None
            self.out += _pack(0, _PING, _SYN, 0, self._ping_token)

    def go_away(self) -> None:
        """Ask the peer to open no more streams. Open ones live on, as do those it opens before it reads this."""
        if not self.local_going:
            self.local_going = True
            self.out += _pack(0, _GO_AWAY, 0, 0, 0)

    def lost(self) -> None:
        """The connection is gone: every stream is reset."""
        for stream in list(self.streams.values()):
            self.kill(stream)
        self.backlog.clear()

    def kill(self, stream: Stream) -> None:
        stream.reset = True
        self.unread_bytes -= stream.received_bytes
        stream.received.clear()
        stream.received_bytes = 0
        self._forget(stream)
        stream.change()

    def forget_ended(self, stream: Stream) -> None:
        if stream.received_end and stream.sent_end:
            self._forget(stream)

    def _forget(self, stream: Stream) -> None:
        if self.streams.pop(stream.id, None) is not None:
            self.grown_bytes -= stream.give_back_window()
            self._inbound -= stream.inbound

    # What comes in ---------------------------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Take plaintext in, in any pieces. Raises YamuxError when the connection must end."""
        if self._rest:
            data, self._rest = self._rest + data, b""
        at, size, control = 0, len(data), 0
        self.unasked_bytes += size
        while True:
            if self._need:
                at = self._payload(data, at, size)
                if self._need:
                    return
            if size - at < HEADER.size:
                self._rest = data[at:]
                return
            version, kind, flags, stream_id, length = _unpack_from(data, at)
            at += HEADER.size
            if version:
                raise YamuxError("the peer speaks another version of yamux")
            if kind == _DATA:
                self._data(flags, stream_id, length)
            else:
                self._control(kind, flags, stream_id, length)
                control += 1
                self.unasked_bytes += CONTROL_COST_BYTES
                if control > self.limits.control_per_read_max or len(self.out) > self.limits.out_bytes_max:
                    raise YamuxError("the peer floods us with control frames")

    def _payload(self, data: bytes, at: int, size: int) -> int:
        """Pass on what is here of the current data frame; the position behind it."""
        count = min(self._need, size - at)
        stream = self._current
        if stream is not None and not stream.inbound:
            self.unasked_bytes -= count
        if count and stream is not None and not stream.reset:
            stream.deliver(data if count == size else data[at : at + count])
        self._need -= count
        if not self._need:
            ends, self._current, self._current_ends = self._current_ends, None, False
            if ends and stream is not None:
                self._ended(stream)
        return at + count

    def _data(self, flags: int, stream_id: int, length: int) -> None:
        stream = self._syn(stream_id) if flags & _SYN else self.streams.get(stream_id)
        if length > self.limits.frame_bytes_max:
            raise YamuxError("the peer sent a frame that is too long")
        if stream is not None:
            stream.charge(length)
            if flags & _RST:
                self.kill(stream)
            elif flags & _FIN and not length:
                self._ended(stream)
        self._current, self._need, self._current_ends = stream, length, bool(flags & _FIN and length)

    def _control(self, kind: int, flags: int, stream_id: int, length: int) -> None:
        if kind == _WINDOW:
            stream = self._syn(stream_id) if flags & _SYN else self.streams.get(stream_id)
            if stream is not None:
                self._window(stream, flags, length)
        elif kind == _PING:
            if flags & _SYN:
                self.out += _pack(0, _PING, _ACK, 0, length)
            else:
                self._pings.pop(length, None)
        elif kind == _GO_AWAY:
            self.remote_going = True
            if length:
                raise YamuxError(f"the peer ends the connection with code {length}")
        else:
            raise YamuxError("the peer sent a frame of unknown kind")

    def _window(self, stream: Stream, flags: int, length: int) -> None:
        if length:
            stream.send_window += length
            if stream.send_window > WINDOW_BYTES_END:
                raise YamuxError("the peer's window is larger than any window")
            stream.change()
        if flags & _RST:
            self.kill(stream)
        elif flags & _FIN:
            self._ended(stream)

    def _ended(self, stream: Stream) -> None:
        if not (stream.received_end or stream.reset):
            stream.received_end = True
            stream.change()
            self.forget_ended(stream)

    def _syn(self, stream_id: int) -> Stream | None:
        if stream_id == 0 or stream_id in self.streams or bool(stream_id & 1) == self._client:
            raise YamuxError("the peer opened a stream with a number that is not free")
        self.unasked_bytes += STREAM_COST_BYTES
        full = self._inbound >= self.limits.streams_max or len(self.backlog) >= self.limits.backlog_max
        if full:
            self.out += _pack(0, _WINDOW, _RST, stream_id, 0)
            return None
        stream = self.streams[stream_id] = Stream(self, stream_id, inbound=True)
        self._inbound += 1
        self.out += _pack(0, _WINDOW, _ACK, stream_id, 0)
        self.backlog.append(stream)
        return stream
