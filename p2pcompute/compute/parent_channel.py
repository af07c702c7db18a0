"""The parent's end of a child's channel, on trio (framing: channel.py).

The parent trusts nothing that comes back: a frame longer than the limit ends the channel before a byte of it is read.
"""

from __future__ import annotations

import array
import socket
from collections.abc import Sequence

import trio

from p2pcompute.compute.channel import LENGTH, PIECE_BYTES_MAX, ChannelClosedError


class ParentChannel:
    """The parent's end. One sender and one receiver at a time. A cancelled `send` tears the channel: kill the child."""

    def __init__(self, connection: socket.socket, frame_bytes_max: int) -> None:
        self._socket = trio.socket.from_stdlib_socket(connection)
        self._frame_bytes_max = frame_bytes_max
        self._incoming = bytearray()

    async def send(self, frame: bytes, descriptors: Sequence[int] = ()) -> None:
        """Raises ChannelClosedError."""
        data = memoryview(LENGTH.pack(len(frame)) + frame)
        try:
            if descriptors:
                rights = array.array("i", descriptors).tobytes()
                sent = await self._socket.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
                data = data[sent:]
            while data:
                data = data[await self._socket.send(data) :]
        except (OSError, trio.ClosedResourceError) as error:
            raise ChannelClosedError(str(error)) from error

    async def receive(self) -> bytes:
        """The next frame; a cancelled call loses nothing. Raises ChannelClosedError at the end of the stream, or when
        the child announces too long a frame."""
        await self._fill(LENGTH.size)
        (length,) = LENGTH.unpack_from(self._incoming)
        if length > self._frame_bytes_max:
            raise ChannelClosedError(f"the child announced {length} bytes; the limit is {self._frame_bytes_max}")
        await self._fill(LENGTH.size + length)
        frame = bytes(self._incoming[LENGTH.size : LENGTH.size + length])
        del self._incoming[: LENGTH.size + length]
        return frame

    async def _fill(self, count: int) -> None:
        while len(self._incoming) < count:
            try:
                piece = await self._socket.recv(PIECE_BYTES_MAX)
            except (OSError, trio.ClosedResourceError) as error:
                raise ChannelClosedError(str(error)) from error
            if not piece:
                raise ChannelClosedError("the child closed the channel")
            self._incoming += piece

    def close(self) -> None:
        self._socket.close()
