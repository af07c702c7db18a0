"""Frames between a parent and one child process, over a Unix socket pair: 4-byte length, then the bytes.

This is the child's end, and what both share; the parent's is parent_channel.py, since a child never imports trio.
Descriptors travel with the first byte of a frame (SCM_RIGHTS), from parent to child only.
"""

from __future__ import annotations

import array
import socket
import struct
import threading
from typing import Final

LENGTH: Final = struct.Struct("<I")
PIECE_BYTES_MAX: Final = 256 * 1024
_DESCRIPTORS_MAX: Final = 4


class ChannelClosedError(Exception):
    """The other side is gone, or broke the framing; the text says which."""


class ChildChannel:
    """The child's end: blocking calls on an inherited descriptor. Any thread may send, one may receive."""

    def __init__(self, descriptor: int, frame_bytes_max: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._frame_bytes_max = frame_bytes_max
        self._sending = threading.Lock()

    def send(self, frame: bytes) -> None:
        with self._sending:
            self._socket.sendall(LENGTH.pack(len(frame)) + frame)

    def receive(self) -> tuple[bytes, list[int]]:
        """The next frame and the descriptors that came with it. Raises ChannelClosedError."""
        space = socket.CMSG_SPACE(_DESCRIPTORS_MAX * array.array("i").itemsize)
        head, ancillary, _, _ = self._socket.recvmsg(LENGTH.size, space)
        descriptors = array.array("i")
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
        (length,) = LENGTH.unpack(head + self._exactly(LENGTH.size - len(head)))
        if length > self._frame_bytes_max:
            raise ChannelClosedError(f"the parent announced {length} bytes")
        return self._exactly(length), descriptors.tolist()

    def close(self) -> None:
        self._socket.close()

    def _exactly(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            piece = self._socket.recv(min(count - len(data), PIECE_BYTES_MAX))
            if not piece:
                raise ChannelClosedError("the parent closed the channel")
            data += piece
        return bytes(data)
