"""From a TCP socket to an authenticated, multiplexed connection: dialling, listening, and the handshake of both."""

from __future__ import annotations

import dataclasses
import errno
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import trio

from p2pcompute.errors import LocalError, RemoteError
from p2pcompute.identity.names import peer_id
from p2pcompute.transport import multistream, noise
from p2pcompute.transport.address import Address
from p2pcompute.transport.admission import Admission

log = logging.getLogger(__name__)

NOISE: Final = "/noise"
YAMUX: Final = "/yamux/1.0.0"
HANDSHAKE_S: Final = 10.0
"""From the first byte to a multiplexed connection."""
_READ_BYTES: Final = 64 * 1024


@dataclasses.dataclass(frozen=True, slots=True)
class Identity:
    """Our own key: the 32-byte public part, and what signs with it."""

    public: bytes
    sign: noise.Sign


@dataclasses.dataclass(frozen=True, slots=True)
class Secured:
    """A socket after the handshake. `early` is plaintext that came right behind it."""

    socket: trio.SocketStream
    session: noise.Session
    peer: bytes
    early: bytes


class _Reader:
    """Exact reads and multistream lines over `receive`, which gives b"" at the end."""

    def __init__(self, receive: Callable[[], Awaitable[bytes]]) -> None:
        self._receive = receive
        self.rest = b""

    async def _more(self) -> None:
        data = await self._receive()
        if not data:
            raise RemoteError("The peer closed the connection during the handshake.")
        self.rest += data

    async def exactly(self, size: int) -> bytes:
        while len(self.rest) < size:
            await self._more()
        data, self.rest = self.rest[:size], self.rest[size:]
        return data

    async def line(self) -> bytes:
        while (found := multistream.read_line(self.rest)) is None:
            await self._more()
        text, end = found
        self.rest = self.rest[end:]
        return text


async def _agree(reader: _Reader, send: Callable[[bytes], Awaitable[None]], protocol: str, *, initiator: bool) -> None:
    """multistream-select of the one protocol we speak at this layer."""
    if initiator:
        await send(multistream.request(protocol))
        for expected in (multistream.VERSION, protocol.encode()):
            if await reader.line() != expected:
                raise multistream.NegotiationError(f"The peer does not speak {protocol}.")
        return
    responder = multistream.Responder(lambda name: name == protocol)
    while responder.protocol is None:
        text = await reader.line()
        await send(responder.receive(multistream.line(text)))


async def secure(socket: trio.SocketStream, identity: Identity, *, initiator: bool, expect: bytes | None) -> Secured:
    """Noise, then yamux, on a fresh socket, within `HANDSHAKE_S`. Closes the socket when that fails.

    Raises RemoteError, OSError, trio.BrokenResourceError or trio.TooSlowError.
    """
    try:
        with trio.fail_after(HANDSHAKE_S):
            return await _secure(socket, identity, initiator, expect)
    except BaseException:
        await trio.aclose_forcefully(socket)
        raise


async def _secure(socket: trio.SocketStream, identity: Identity, initiator: bool, expect: bytes | None) -> Secured:
    reader = _Reader(lambda: socket.receive_some(_READ_BYTES))
    await _agree(reader, socket.send_all, NOISE, initiator=initiator)
    handshake = noise.Handshake(initiator=initiator, public=identity.public, sign=identity.sign)
    if initiator:
        await socket.send_all(handshake.start())
    while handshake.session is None:
        answer = handshake.receive(await _handshake_message(reader))
        if expect is not None and handshake.peer and handshake.peer != expect:
            found, wanted = peer_id(handshake.peer), peer_id(expect)
            raise RemoteError(f"The peer at this address is {found}, not {wanted}.")
        if answer:
            await socket.send_all(answer)
    session, pending = handshake.session, reader.rest

    async def receive() -> bytes:
        nonlocal pending
        data, pending = pending, b""
        while True:
            if plain := b"".join(session.open(data)):
                return plain
            data = await socket.receive_some(_READ_BYTES)
            if not data:
                return b""

    sealed = _Reader(receive)
    await _agree(sealed, lambda data: socket.send_all(bytes(session.seal(data))), YAMUX, initiator=initiator)
    return Secured(socket, session, handshake.peer, sealed.rest)


async def probe(address: Address, identity: Identity) -> None:
    """Whether the peer of `address` answers there: its key is checked, and no connection is made.

    Raises RemoteError with one sentence; the caller's deadline bounds it.
    """
    where = f"{address.host} port {address.port}"
    try:
        socket = await trio.open_tcp_stream(address.host, address.port)
        try:
            reader = _Reader(lambda: socket.receive_some(_READ_BYTES))
            await _agree(reader, socket.send_all, NOISE, initiator=True)
            handshake = noise.Handshake(initiator=True, public=identity.public, sign=identity.sign)
            await socket.send_all(handshake.start())
            handshake.receive(await _handshake_message(reader))
        finally:
            await trio.aclose_forcefully(socket)
    except (OSError, trio.BrokenResourceError) as error:
        raise RemoteError(f"Nobody answers at {where}.") from error
    if handshake.peer != address.peer:
        raise RemoteError(f"Another peer answers at {where}.")


async def _handshake_message(reader: _Reader) -> bytes:
    size = int.from_bytes(await reader.exactly(2), "big")
    if size > noise.HANDSHAKE_BYTES_MAX:
        raise noise.NoiseError("The peer's handshake message is too long.")
    return await reader.exactly(size)


async def dial(address: Address, identity: Identity) -> Secured:
    """Connect and secure. Raises RemoteError with one sentence; the caller's deadline bounds the connecting."""
    where = f"{address.host} port {address.port}"
    try:
        socket = await trio.open_tcp_stream(address.host, address.port)
    except OSError as error:
        reason = _root(error)
        raise RemoteError(f"Nobody answers at {where}: {reason.strerror or reason}.") from error
    try:
        return await secure(socket, identity, initiator=True, expect=address.peer)
    except trio.TooSlowError as error:
        raise RemoteError(f"The peer at {where} did not finish the handshake in {HANDSHAKE_S:.0f} s.") from error
    except (OSError, trio.BrokenResourceError) as error:
        raise RemoteError(f"The connection to {where} broke during the handshake.") from error


async def secure_relayed(socket: trio.SocketStream, identity: Identity, *, initiator: bool, expect: bytes) -> Secured:
    """As `secure`, over a relayed stream. Raises RemoteError with one sentence."""
    try:
        return await secure(socket, identity, initiator=initiator, expect=expect)
    except trio.TooSlowError as error:
        raise RemoteError(f"The peer did not finish the handshake in {HANDSHAKE_S:.0f} s.") from error
    except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
        raise RemoteError("The relayed connection broke during the handshake.") from error


def _root(error: OSError) -> OSError:
    """trio.open_tcp_stream wraps the errors of its attempts: the first one says why."""
    cause: BaseException | None = error.__cause__
    while isinstance(cause, BaseExceptionGroup) and cause.exceptions:
        cause = cause.exceptions[0]
    return cause if isinstance(cause, OSError) else error


async def listen(addresses: Sequence[Address]) -> list[trio.SocketListener]:
    """Listening sockets for all addresses. Raises LocalError with the port and the reason, leaving none open."""
    listeners: list[trio.SocketListener] = []
    for address in addresses:
        try:
            listeners += await trio.open_tcp_listeners(address.port, host=address.host)
        except OSError as error:
            for listener in listeners:
                await listener.aclose()
            if error.errno == errno.EADDRINUSE:
                raise LocalError(
                    f"Port {address.port} is in use on {address.host}: stop the process there or choose another port."
                ) from error
            raise LocalError(f"Cannot listen on {address}: {error.strerror or error}.") from error
    return listeners


async def accept(
    socket: trio.SocketStream,
    identity: Identity,
    admission: Admission,
    handle: Callable[[Secured, Address], Awaitable[None]],
) -> None:
    """One inbound socket: admission, handshake, then `handle` for the connection's life. Raises nothing of a peer's."""
    try:
        name = socket.socket.getpeername()
    except OSError:  # gone already
        await trio.aclose_forcefully(socket)
        return
    remote = Address(str(name[0]).partition("%")[0], int(name[1]))
    await admit(socket, remote, identity, admission, handle)


async def admit(
    socket: trio.SocketStream,
    remote: Address,
    identity: Identity,
    admission: Admission,
    handle: Callable[[Secured, Address], Awaitable[None]],
) -> None:
    """As `accept`, for a socket whose other end is known to be `remote`; the peer it names must answer there."""
    with trio.CancelScope() as scope:
        handshake = admission.begin(remote.host, scope.cancel)
        if handshake is None:
            log.debug("refused %s: too many connections", remote)
            await trio.aclose_forcefully(socket)
            return
        try:
            secured = await secure(socket, identity, initiator=False, expect=remote.peer)
        except (RemoteError, OSError, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError) as error:
            log.debug("handshake with %s: %r", remote, error)
            return
        finally:
            admission.end(handshake)
    if scope.cancelled_caught:
        log.debug("handshake with %s gave way to a newer one", remote)
        return
    await handle(secured, remote)
