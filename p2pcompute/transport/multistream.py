"""multistream-select 1.0.0, without input or output: which protocol a connection or a stream will speak.

Source: multiformats/multistream-select. Lines are a varint length, the text, and a newline. The dialler of our own
protocols is optimistic: its header, the protocol's name and its first data leave together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from p2pcompute.errors import RemoteError

VERSION: Final = b"/multistream/1.0.0"
LINE_BYTES_MAX: Final = 1_024
ATTEMPTS_MAX: Final = 16
"""Names one side may propose before we give up."""
_NOT_AVAILABLE: Final = b"na"


class NegotiationError(RemoteError):
    """The peer does not speak multistream-select, or none of the protocols we do."""


def line(text: bytes) -> bytes:
    size = len(text) + 1
    assert size <= LINE_BYTES_MAX
    prefix = bytes((size,)) if size < 128 else bytes((size & 127 | 128, size >> 7))
    return prefix + text + b"\n"


HEADER: Final = line(VERSION)


def read_line(data: bytes, at: int = 0) -> tuple[bytes, int] | None:
    """The line at `at` without its newline, and the position behind it; None while it is not complete.

    Raises NegotiationError for a line that is too long or not one at all.
    """
    if at >= len(data):
        return None
    size, start = data[at], at + 1
    if size > 127:
        if start >= len(data):
            return None
        if data[start] > 127:
            raise NegotiationError("a protocol name is too long")
        size, start = size & 127 | data[start] << 7, start + 1
    if not 0 < size <= LINE_BYTES_MAX:
        raise NegotiationError("a protocol name is empty or too long")
    end = start + size
    if end > len(data):
        return None
    if data[end - 1] != 0x0A:
        raise NegotiationError("a protocol name has no end")
    return data[start : end - 1], end


def request(protocol: str) -> bytes:
    """What a dialler sends first, and what it must get back to the letter."""
    return HEADER + line(protocol.encode())


class Responder:
    """The listening side. `receive` gives bytes to write; `protocol` is set once agreed, `rest` is what came behind."""

    def __init__(self, speaks: Callable[[str], bool]) -> None:
        self.protocol: str | None = None
        self.rest = b""
        self._speaks = speaks
        self._greeted = False
        self._attempts = 0

    def receive(self, data: bytes) -> bytes:
        """Raises NegotiationError when the peer must be given up."""
        self.rest += data
        out = b""
        while self.protocol is None and (found := read_line(self.rest)) is not None:
            text, end = found
            self.rest = self.rest[end:]
            out += self._answer(text)
        return out

    def _answer(self, text: bytes) -> bytes:
        if not self._greeted:
            if text != VERSION:
                raise NegotiationError("the peer does not speak multistream-select")
            self._greeted = True
            return HEADER
        self._attempts += 1
        if self._attempts > ATTEMPTS_MAX:
            raise NegotiationError("the peer proposed too many protocols")
        name = text.decode("utf-8", "replace")  # a name that is not text is no name of ours
        if not self._speaks(name):
            return line(_NOT_AVAILABLE)
        self.protocol = name
        return line(text)
