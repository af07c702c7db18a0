"""The trio driver of one connection: Noise and yamux over a socket, streams for the rest of the transport.

Small frames leave in the call that makes them, without a task switch, as long as the kernel takes them; what a batch
of input causes leaves in one write per connection (`Cork`). No exception of a peer's making, nor of a handler, leaves
`Connection.run`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from types import TracebackType
from typing import Final, Protocol

import trio

from p2pcompute.errors import RemoteError
from p2pcompute.transport import multistream, yamux
from p2pcompute.transport.allowance import Allowance
from p2pcompute.transport.memory import Memory
from p2pcompute.transport.noise import Session
from p2pcompute.wire.multiaddr import is_relayed

log = logging.getLogger(__name__)

QUEUE_BYTES: Final = 256 * 1024
"""Plaintext queued for a connection before writers wait."""
READ_BYTES_MIN: Final = 16 * 1024
READ_BYTES_MAX: Final = 512 * 1024
WRITE_STALL_S: Final = 30.0
"""A peer whose kernel takes no byte of ours for so long is disconnected."""
STREAM_STALL_S: Final = 60.0
"""A stream whose reader gives no credit for so long is reset."""
NEGOTIATE_S: Final = 10.0
"""What a new inbound stream has to name its protocol."""


class Owner(Protocol):
    """Whom a connection asks about inbound streams."""

    def speaks(self, protocol: str) -> bool: ...

    async def serve(self, connection: Connection, stream: Stream, protocol: str) -> None:
        """Handle the stream to its end. Whatever this raises resets the stream."""


class Cork:
    """While held, connections collect what is to be written; on release each writes once."""

    __slots__ = ("_depth", "_waiting")

    def __init__(self) -> None:
        self._depth = 0
        self._waiting: dict[Connection, None] = {}

    def holds(self, connection: Connection) -> bool:
        """Whether the connection must wait; it is then written on release."""
        if self._depth:
            self._waiting[connection] = None
        return self._depth > 0

    def __enter__(self) -> None:
        self._depth += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._depth -= 1
        if self._depth == 0 and self._waiting:
            waiting, self._waiting = self._waiting, {}
            for connection in waiting:
                connection.flush()


class Connection:
    """One authenticated, multiplexed connection to `peer` (a 32-byte ed25519 public key)."""

    def __init__(
        self,
        socket: trio.SocketStream,
        session: Session,
        *,
        peer: bytes,
        outbound: bool,
        address: str,
        owner: Owner,
        cork: Cork,
        early: bytes = b"",
        limits: yamux.Limits | None = None,
        allowance: Allowance | None = None,
        memory: Memory | None = None,
    ) -> None:
        self.peer, self.outbound, self.address = peer, outbound, address
        self.mux = yamux.Yamux(client=outbound, limits=limits)
        self.closed = trio.Event()
        self.heard_at = trio.current_time()
        """When the last byte came in, on trio's clock."""
        self.pinged_at: float | None = None
        self.retired_at: float | None = None
        self._socket, self._fd, self._session = socket, socket.socket.fileno(), session
        self._owner, self._cork, self._early = owner, cork, early
        self._allowance = allowance or Allowance(self.heard_at)
        self._memory = memory or Memory()
        self._left: bytes | memoryview = b""  # ciphertext that the kernel did not take yet
        self._wake, self._room = trio.Event(), trio.Event()
        self._scope = trio.CancelScope()
        self._read_bytes = READ_BYTES_MIN

    @property
    def is_closed(self) -> bool:
        return self.closed.is_set()

    @property
    def is_relayed(self) -> bool:
        return is_relayed(self.address)

    @property
    def takes_streams(self) -> bool:
        return not (self.is_closed or self.mux.remote_going or self.mux.local_going)

    @property
    def is_full(self) -> bool:
        """Whether writers should wait for `room`."""
        return len(self.mux.out) >= QUEUE_BYTES

    async def run(self) -> None:
        """The connection's life, until either side closes it or breaks a rule. Raises nothing but Cancelled."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write)
                    await self._read(nursery)
        except* (RemoteError, OSError, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError) as group:
            log.debug("connection to %s ends: %r", self.address, group.exceptions)
        except* Exception:
            log.exception("a defect ended the connection to %s", self.address)
        finally:
            self.closed.set()
            self.mux.lost()
            self._left = b""
            self.mux.out = bytearray()
            self._memory.holds(self, 0)
            self._wake.set()
            self._room.set()
            with trio.CancelScope(shield=True):
                await self._socket.aclose()

    def shed(self) -> None:
        """End the connection at once, with all that it buffers (memory.Holder)."""
        self._scope.cancel()
        self.mux.lost()

    def _account(self) -> None:
        self._memory.holds(self, self.mux.unread_bytes + len(self.mux.out) + len(self._left))

    def close(self) -> None:
        """End the connection now; what the kernel takes at once still leaves."""
        if not self.is_closed:
            self.mux.go_away()
            self._write_now()
            self._scope.cancel()

    def retire(self) -> None:
        """Open no more streams here; those that are open end in peace."""
        if self.retired_at is None and not self.is_closed:
            self.retired_at = trio.current_time()
            self.mux.go_away()
            self.flush()

    def ping(self) -> None:
        self.pinged_at = trio.current_time()
        self.mux.ping()
        self.flush()

    def open_stream(self) -> Stream:
        """A new raw stream: its opening leaves with its first data. Raises RemoteError on a connection that ends."""
        if self.is_closed:
            raise RemoteError("The connection to the peer is closed.")
        return Stream(self, self.mux.open())

    def open_protocol(self, protocol: str) -> Stream:
        """A new stream for a protocol that the peer is believed to speak: negotiation travels with the first data.

        If the peer refuses the protocol, the first read says so.
        """
        stream = self.open_stream()
        stream.propose(multistream.request(protocol))
        return stream

    async def room(self) -> None:
        while self.is_full and not self.is_closed:
            await self._room.wait()

    # Out -------------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Write all queued frames now, or on the cork's release; the writer task goes on when the kernel is full."""
        if not self._cork.holds(self):
            self._write_now()

    def _write_now(self) -> None:
        out = self.mux.out
        if not out or self.is_closed:
            return
        if len(self._left):
            self._account()
            return
        self.mux.out = bytearray()
        sealed = self._session.seal(out)
        try:
            count = os.write(self._fd, sealed)  # trio's sockets do not block
        except BlockingIOError:
            count = 0
        except OSError as error:
            log.debug("connection to %s ends: %r", self.address, error)
            self._scope.cancel()
            return
        if count < len(sealed):
            self._left = memoryview(sealed)[count:]
            self._wake.set()
            self._account()

    async def _write(self) -> None:
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            while len(self._left):
                with trio.fail_after(WRITE_STALL_S):
                    await self._socket.send_all(self._left)
                self._left = b""
                self._write_now()
                self._account()
                if not self.is_full:
                    self._room.set()
                    self._room = trio.Event()

    # In --------------------------------------------------------------------------------------------------------

    async def _read(self, nursery: trio.Nursery) -> None:
        early, self._early = self._early, b""
        parts = [early] if early else []
        while True:
            with self._cork:
                for part in parts:
                    self.mux.receive(part)
                while self.mux.backlog:
                    nursery.start_soon(self._inbound, Stream(self, self.mux.backlog.popleft()))
                if self.mux.out:
                    self.flush()
            self._account()
            unasked, self.mux.unasked_bytes = self.mux.unasked_bytes, 0
            pause_s = self._allowance.spend(unasked, self.heard_at)
            if pause_s:
                await trio.sleep(pause_s)
            parts = self._session.open(await self._receive())
            self.heard_at = trio.current_time()
            self.pinged_at = None

    async def _receive(self) -> bytes:
        """One read after one wake; its size follows the traffic, so that small messages need no large buffers."""
        while True:
            await trio.lowlevel.wait_readable(self._fd)
            try:
                data = os.read(self._fd, self._read_bytes)
            except BlockingIOError:
                continue
            if not data:
                raise trio.BrokenResourceError("the peer closed the connection")
            if len(data) == self._read_bytes:
                self._read_bytes = min(4 * self._read_bytes, READ_BYTES_MAX)
            elif len(data) < self._read_bytes >> 3 and self._read_bytes > READ_BYTES_MIN:
                self._read_bytes >>= 1
            return data

    async def _inbound(self, stream: Stream) -> None:
        """Negotiate and serve a stream of the peer's. Contains whatever goes wrong: it costs the stream only."""
        protocol = "?"
        try:
            with trio.fail_after(NEGOTIATE_S):
                protocol = await self._negotiate(stream)
            await self._owner.serve(self, stream, protocol)
            await stream.aclose()
        except (RemoteError, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError) as error:
            log.debug("stream %s of %s: %r", protocol, self.address, error)
            stream.reset()
        except Exception:
            log.exception("the handler of %s failed; the stream is reset", protocol)
            stream.reset()
        except BaseException:
            stream.reset()
            raise

    async def _negotiate(self, stream: Stream) -> str:
        responder = multistream.Responder(self._owner.speaks)
        while True:
            data = await stream.receive_some()
            if not data:
                raise multistream.NegotiationError("the stream ended before it named a protocol")
            answer = responder.receive(data)
            protocol = responder.protocol
            if protocol is not None and responder.rest:  # an optimistic dialler reads it together with the reply
                stream.send_later(answer)
                stream.put_back(responder.rest)
                return protocol
            await stream.send_all(answer)
            if protocol is not None:
                return protocol


class Stream(trio.abc.HalfCloseableStream):
    """One stream of a connection, as trio knows streams. A reset by the peer raises trio.BrokenResourceError."""

    def __init__(self, connection: Connection, state: yamux.Stream) -> None:
        self.connection = connection
        self._state = state
        self._event = trio.Event()
        self._lead = b""  # what must come first: the peer's consent to the protocol
        self._scope: trio.CancelScope | None = None
        state.on_change = self._changed

    @property
    def peer(self) -> bytes:
        return self.connection.peer

    @property
    def is_closed(self) -> bool:
        return self._state.reset or (self._state.received_end and self._state.sent_end)

    @property
    def is_writable(self) -> bool:
        return not (self._state.reset or self._state.sent_end)

    def propose(self, request: bytes) -> None:
        self._state.send(request)
        self._lead = request

    @property
    def was_refused(self) -> bool:
        """Whether the stream ended before the peer consented to the protocol, on a connection that lives on."""
        return bool(self._lead) and self._state.reset and not self.connection.is_closed

    def expect_only_consent(self) -> None:
        """For a stream on which only we send: the peer's consent is read as it comes, all else resets the stream."""

        def consent(data: bytes) -> None:
            count = min(len(data), len(self._lead))
            if data != self._lead[:count]:
                raise RemoteError("the peer does not speak the protocol")
            self._lead = self._lead[count:]
            if not self._lead:
                self._changed()

        self._state.sink = consent

    async def wait_consent(self) -> bool:
        """For a stream of `expect_only_consent`: wait for the peer's word on the protocol; whether it agreed."""
        while self._lead and not self._state.reset:
            await self._wait()
        return not self._lead

    def put_back(self, data: bytes) -> None:
        self._state.put_back(data)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Bytes, as soon as there are any; b"" when the peer sends no more."""
        state = self._state
        while True:
            while not state.received:
                if state.reset:
                    raise trio.BrokenResourceError("the peer reset the stream")
                if state.received_end:
                    if self._lead:
                        raise trio.BrokenResourceError("the peer does not speak the protocol")
                    await trio.lowlevel.checkpoint_if_cancelled()
                    return b""
                self.connection.flush()  # whoever waits for an answer has asked
                await self._wait()
            data = state.take(max_bytes)
            if self._lead:
                data = self._consent(data)
            self.connection.flush()  # new credit for the peer
            if data:
                await trio.lowlevel.checkpoint_if_cancelled()
                return data

    def _consent(self, data: bytes) -> bytes:
        count = min(len(data), len(self._lead))
        if data[:count] != self._lead[:count]:
            self.reset()
            raise trio.BrokenResourceError("the peer does not speak the protocol")
        self._lead = self._lead[count:]
        return data[count:]

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Queue everything, waiting for credit and room. Raises trio.BrokenResourceError when the peer reset the stream
        or reads nothing. Cancelled half-way, the stream is reset: half a message must not pass for a whole one."""
        state, connection, view = self._state, self.connection, memoryview(data)
        await trio.lowlevel.checkpoint_if_cancelled()
        at = 0
        try:
            while True:
                self._check_writable()
                if connection.is_full:
                    await connection.room()
                elif state.send_window == 0 and at < len(view):
                    await self._wait_for_credit()
                else:
                    at += state.send(view[at : at + QUEUE_BYTES])
                    connection.flush()
                    if at >= len(view):
                        return
        except BaseException:
            if at:
                self.reset()
            raise

    def send_now(self, data: bytes | bytearray) -> bool:
        """All of `data` at once and without waiting, or nothing: False when credit or the connection's queue is short.

        Raises trio.BrokenResourceError when the stream is gone.
        """
        self._check_writable()
        if self._state.send_window < len(data) or self.connection.is_full:
            return False
        self._state.send(data)
        self.connection.flush()
        return True

    def send_later(self, data: bytes) -> None:
        """A few bytes that leave with the next write."""
        self._check_writable()
        self._state.send(data)

    def set_sink(self, sink: Callable[[bytes], None]) -> None:
        """Give received data to `sink` right in the connection's reader. What `sink` raises resets the stream."""
        data = self._state.take()
        self._state.sink = sink
        if data:
            sink(data)

    async def wait_received_end(self) -> None:
        """Until the peer sends no more, for a stream with a sink."""
        while not (self._state.reset or self._state.received_end):
            await self._wait()

    async def wait_closed(self) -> None:
        while not self.is_closed:
            await self._wait()

    async def wait_send_all_might_not_block(self) -> None:
        while self.is_writable and (self._state.send_window == 0 or self.connection.is_full):
            await (self.connection.room() if self.connection.is_full else self._wait_for_credit())

    async def send_eof(self) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        self._end()

    def finish(self) -> None:
        """Send no more; for those who cannot wait."""
        self._end()

    async def aclose(self) -> None:
        """Close both directions. What was sent still arrives; what the peer goes on sending is refused."""
        self._end()
        self._state.discard()
        await trio.lowlevel.checkpoint_if_cancelled()

    def reset(self) -> None:
        self._state.abort()
        self._changed()
        self.connection.flush()

    def _end(self) -> None:
        self._state.end()
        self._changed()
        self.connection.flush()

    def _check_writable(self) -> None:
        if self._state.reset:
            raise trio.BrokenResourceError("the peer reset the stream")
        if self._state.sent_end:
            raise trio.ClosedResourceError("the stream is closed for writing")

    def cancel_on_reset(self, scope: trio.CancelScope) -> None:
        """Cancel `scope` when the stream is reset, by whichever side."""
        self._scope = scope
        self._changed()

    def _changed(self) -> None:
        self._event.set()
        if self._scope is not None and self._state.reset:
            self._scope.cancel()

    async def _wait(self) -> None:
        if self._event.is_set():
            self._event = trio.Event()
        await self._event.wait()

    async def _wait_for_credit(self) -> None:
        with trio.move_on_after(STREAM_STALL_S):
            while self._state.send_window == 0 and self.is_writable:
                await self._wait()
        if self._state.send_window or not self.is_writable:
            return
        self.reset()
        raise trio.BrokenResourceError("the peer stopped reading the stream")
