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
    """The parent's end. One frame at a time in each direction; a cancelled call leaves the channel torn, and the child
    must then be killed."""

    def __init__(self, connection: socket.socket, frame_bytes_max: int) -> None:
        self._socket = trio.socket.from_stdlib_socket(connection)
        self._frame_bytes_max = frame_bytes_max

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
        except OSError as error:
            raise ChannelClosedError(str(error)) from error

    async def receive(self) -> bytes:
        """Raises ChannelClosedError at the end of the stream, or when the child announces too long a frame."""
        (length,) = LENGTH.unpack(await self._exactly(LENGTH.size))
        if length > self._frame_bytes_max:
            raise ChannelClosedError(f"the child announced {length} bytes; the limit is {self._frame_bytes_max}")
        return await self._exactly(length)

    async def _exactly(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            try:
                piece = await self._socket.recv(min(count - len(data), PIECE_BYTES_MAX))
            except OSError as error:
                raise ChannelClosedError(str(error)) from error
            if not piece:
                raise ChannelClosedError("the child closed the channel")
            data += piece
        return bytes(data)

    def close(self) -> None:
        self._socket.close()
