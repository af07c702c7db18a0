"""Sockets of a simulated internet: trio's own, in memory, with the world's latency between their ends.

Programs that open sockets through trio use these without knowing. Bytes travel by the wheel; a stream never loses any,
and a line that is cut holds them back until it is whole again, as TCP does.
"""

from __future__ import annotations

import contextlib
import errno
import socket as stdlib
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

import trio

from simnet.network import DIAL_MS
from simnet.wheel import Phase

if TYPE_CHECKING:
    from simnet.node import Node

READ_BYTES: Final = 64 * 1024
WINDOW_BYTES: Final = 1024 * 1024
"""On the way at once in one direction of a connection."""
BACKLOG: Final = 128
_FIRST_PORT: Final = 32_768

here: ContextVar[Node] = ContextVar("here")
"""The node whose program runs."""
Name = tuple[str, int]


class Internet(trio.abc.SocketFactory):
    """Who listens where, and the lines between. It is trio's socket factory while a world runs."""

    def __init__(self, nursery: trio.Nursery, reaches: Callable[[Node, Node], bool]) -> None:
        """`reaches`: whether the first node gets a connection to the second at the moment."""
        self.nursery, self._reaches = nursery, reaches
        self.listening: dict[Name, tuple[Node, trio.MemorySendChannel[VirtualSocket]]] = {}
        self._ports = _FIRST_PORT
        self.lines = 0

    def socket(self, family: int = 0, type: int = 0, proto: int = 0) -> VirtualSocket:
        """trio.abc.SocketFactory."""
        return VirtualSocket(self, here.get())

    def next_port(self) -> int:
        """For the near end of a connection."""
        self._ports += 1
        return self._ports

    async def connect(self, source: Node, name: Name) -> tuple[trio.socket.SocketType, Name]:
        """Dial; the near end, and its own name. Raises OSError as a kernel does."""
        wheel = source.network.wheel
        target, door = self.listening.get(name, (None, None))
        reached = target is not None and self._reaches(source, target)
        wait_ms = 2 * source.network.latency_ms(source, target) if target is not None and reached else DIAL_MS
        if target is None:
            wait_ms = 100
        await _sleep_until(wheel.now_ms + wait_ms)
        if target is None or door is None or not reached or not target.up or name not in self.listening:
            raise OSError(errno.ECONNREFUSED if target is None else errno.ETIMEDOUT, "nobody answers")
        mine = (name_of(source)[0], self.next_port())
        near, far = self._lay(source, target)
        try:
            door.send_nowait(VirtualSocket(self, target, far, name, mine))
        except (trio.WouldBlock, trio.BrokenResourceError):
            near.close()
            far.close()
            raise OSError(errno.ECONNREFUSED, "the queue of connections is full") from None
        return near, mine

    def _lay(self, source: Node, target: Node) -> tuple[trio.socket.SocketType, trio.socket.SocketType]:
        """Two socket ends with a line between them."""
        a, a_line = trio.socket.socketpair()
        b, b_line = trio.socket.socketpair()
        there, back = Way(self, source, target, a_line, b_line), Way(self, target, source, b_line, a_line)
        self.nursery.start_soon(_live, there, back)
        return a, b


def name_of(node: Node) -> Name:
    """Host and port of a node's address."""
    parts = node.address.split("/")
    return parts[2], int(parts[4])


async def _sleep_until(at_ms: int) -> None:
    await trio.sleep_until(at_ms / 1_000)


class Way:
    """One direction of a line: bytes are read at one end and come out at the other, later and in order."""

    def __init__(
        self,
        internet: Internet,
        source: Node,
        target: Node,
        entry: trio.socket.SocketType,
        exit: trio.socket.SocketType,
    ) -> None:
        internet.lines += 1
        self.number, self.source, self.target = internet.lines, source, target
        self.entry, self.exit = entry, exit
        self.waiting: deque[bytes] = deque()
        """What has arrived and the reader has not taken; b"" is the end."""
        self.flying_bytes = self._sent = 0
        self._last_ms = 0
        self.more, self.room = trio.Event(), trio.Event()

    def send(self, data: bytes) -> None:
        """Put bytes on the way."""
        network = self.source.network
        self._sent += 1
        now_ms = network.wheel.now_ms
        delay_ms = network.latency_ms(self.source, self.target) + network.dice.jitter_ms(self.number, self._sent)
        self._last_ms = max(self._last_ms, now_ms + delay_ms)
        self.flying_bytes += len(data)
        key = (self.number << 24) | (self._sent & 0xFFFFFF)
        network.wheel.bucket(self._last_ms, Phase.ARRIVE).append((key, self._arrive, (data,)))

    def _arrive(self, data: bytes) -> None:
        network = self.source.network
        if not network.passes(self.source, self.target):
            again_ms = network.wheel.now_ms + 200  # as a kernel sends again
            self._sent += 1
            key = (self.number << 24) | (self._sent & 0xFFFFFF)
            self._last_ms = max(self._last_ms, again_ms)
            network.wheel.bucket(again_ms, Phase.ARRIVE).append((key, self._arrive, (data,)))
            return
        self.waiting.append(data)
        self.more.set()
        self.more = trio.Event()


async def _live(there: Way, back: Way) -> None:
    """The life of a line: until both ends have ended."""
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_carry, there)
            nursery.start_soon(_carry, back)
    finally:
        there.entry.close()
        back.entry.close()


async def _carry(way: Way) -> None:
    """The life of one direction."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_deliver, way)
        data = b"?"
        while data:
            while way.flying_bytes > WINDOW_BYTES:
                await way.room.wait()
            data = await _received(way.entry)
            way.send(data)


async def _received(entry: trio.socket.SocketType) -> bytes:
    try:
        return await entry.recv(READ_BYTES)
    except (OSError, trio.ClosedResourceError):
        return b""


async def _deliver(way: Way) -> None:
    while True:
        while not way.waiting:
            await way.more.wait()
        data = way.waiting.popleft()
        if not data:
            _end(way)
            return
        try:
            view = memoryview(data)
            while view:
                view = view[await way.exit.send(view) :]
        except (OSError, trio.ClosedResourceError):
            way.entry.close()  # nobody reads: the sender is to notice
            return
        finally:
            way.flying_bytes -= len(data)
            way.room.set()
            way.room = trio.Event()


def _end(way: Way) -> None:
    """The sender has ended: so does what its peer reads."""
    try:
        way.exit.shutdown(stdlib.SHUT_WR)
    except OSError:
        way.exit.close()


class VirtualSocket(trio.socket.SocketType):
    """What trio's streams and listeners need of a TCP socket."""

    def __init__(
        self,
        internet: Internet,
        node: Node,
        inner: trio.socket.SocketType | None = None,
        mine: Name = ("", 0),
        theirs: Name = ("", 0),
    ) -> None:
        self._internet, self._node, self._inner = internet, node, inner
        self._mine, self._theirs = mine, theirs
        self._guests: trio.MemoryReceiveChannel[VirtualSocket] | None = None

    @property
    def _end(self) -> trio.socket.SocketType:
        if self._inner is None:
            raise OSError(errno.ENOTCONN, "not connected")
        return self._inner

    @property
    def family(self) -> stdlib.AddressFamily:
        return stdlib.AF_INET

    @property
    def type(self) -> stdlib.SocketKind:
        return stdlib.SOCK_STREAM

    @property
    def proto(self) -> int:
        return stdlib.IPPROTO_TCP

    @property
    def did_shutdown_SHUT_WR(self) -> bool:  # trio's name
        return self._end.did_shutdown_SHUT_WR

    # Listening -------------------------------------------------------------------------------------------------

    async def bind(self, address: Any) -> None:
        await trio.lowlevel.checkpoint()
        self._mine = (str(address[0]), int(address[1]) or self._internet.next_port())
        if self._mine in self._internet.listening:
            raise OSError(errno.EADDRINUSE, "the address is in use")

    def listen(self, backlog: int = BACKLOG) -> None:
        door, self._guests = trio.open_memory_channel[VirtualSocket](BACKLOG)
        self._internet.listening[self._mine] = self._node, door

    async def accept(self) -> tuple[trio.socket.SocketType, Any]:
        assert self._guests is not None
        guest = await self._guests.receive()
        return guest, guest.getpeername()

    # Connected -------------------------------------------------------------------------------------------------

    async def connect(self, address: Any) -> None:
        self._theirs = str(address[0]), int(address[1])
        self._inner, self._mine = await self._internet.connect(self._node, self._theirs)

    def fileno(self) -> int:
        return self._inner.fileno() if self._inner is not None else -1

    def getpeername(self) -> Any:
        self._end.getpeername()
        return self._theirs

    def getsockname(self) -> Any:
        return self._mine

    def getsockopt(self, level: int, optname: int, buflen: int | None = None) -> Any:
        return int(self._guests is not None) if optname == stdlib.SO_ACCEPTCONN else 0

    def setsockopt(self, level: int, optname: int, value: Any, optlen: int | None = None) -> None:
        """A simulated line has no options."""

    def recv(self, buflen: int, flags: int = 0, /) -> Any:
        return self._end.recv(buflen, flags)

    def send(self, bytes: Any, flags: int = 0, /) -> Any:
        return self._end.send(bytes, flags)

    async def wait_writable(self) -> None:
        await self._end.wait_writable()

    def shutdown(self, flag: int) -> None:
        self._end.shutdown(flag)

    def close(self) -> None:
        if self._guests is not None:
            self._internet.listening.pop(self._mine, None)
            with contextlib.suppress(trio.WouldBlock, trio.EndOfChannel):
                while True:
                    self._guests.receive_nowait().close()
            self._guests.close()
        if self._inner is not None:
            self._inner.close()
