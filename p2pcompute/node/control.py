"""A node's calls over its home's Unix socket: one connection per call.

    call     frame: [name, [arguments]]     then, for `put`, the bytes of the blob
    answer   frame: [0, value] or [exit code, error class, text]     then, for `read`, the bytes of the blob
    frame    length (4 bytes, big-endian), MessagePack

`events` answers with a frame per event until either side hangs up. The socket lies in the home (mode 0700): whoever can
open it is the owner, but what comes through it is still checked and bounded.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any, Final

import msgspec
import trio

from p2pcompute import errors
from p2pcompute.errors import HomeError, LocalError, P2PComputeError, UsageError
from p2pcompute.node.api import Event, JobResult, NodeApi
from p2pcompute.protocol.commands import Submit
from p2pcompute.wire import limits

log = logging.getLogger(__name__)

FRAME_BYTES_MAX: Final = 16 * limits.MIB
CALLS_AT_ONCE_MAX: Final = 64
SUBMIT_FIELDS: Final = tuple(f.name for f in dataclasses.fields(Submit))

_encode = msgspec.msgpack.Encoder().encode


class Call(msgspec.Struct, array_like=True, frozen=True):
    """A call as it stands on the socket."""

    name: str
    arguments: list[Any]


_calls = msgspec.msgpack.Decoder(Call)


class Pipe:
    """Frames and raw bytes over a socket."""

    def __init__(self, socket: trio.SocketStream) -> None:
        self._socket = socket
        self._data = bytearray()

    async def send(self, value: object) -> None:
        frame = _encode(value)
        if len(frame) > FRAME_BYTES_MAX:
            raise LocalError(f"an answer of {len(frame)} bytes is too long for the control socket")
        await self._socket.send_all(len(frame).to_bytes(4, "big") + frame)

    async def send_raw(self, data: bytes | memoryview) -> None:
        await self._socket.send_all(data)

    async def receive(self) -> bytes:
        """The next frame; empty at the end. Raises LocalError for a torn or overlong one."""
        head = await self.receive_raw(4, at_end_ok=True)
        if not head:
            return b""
        size = int.from_bytes(head, "big")
        if size > FRAME_BYTES_MAX:
            raise LocalError(f"a frame of {size} bytes on the control socket")
        return await self.receive_raw(size)

    async def receive_raw(self, size: int, *, at_end_ok: bool = False) -> bytes:
        while len(self._data) < size:
            more = await self._socket.receive_some(max(65536, size - len(self._data)))
            if not more:
                if at_end_ok and not self._data:
                    return b""
                raise LocalError("the control socket was closed in the middle of a message")
            self._data += more
        out = bytes(self._data[:size])
        del self._data[:size]
        return out

    async def aclose(self) -> None:
        await self._socket.aclose()


# The node's side ----------------------------------------------------------------------------------------------------


async def serve_control(node: NodeApi, path: Path, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
    """Serve calls on the socket until cancelled. The home's lock makes sure that nobody else does."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    socket = trio.socket.socket(trio.socket.AF_UNIX)
    try:
        await socket.bind(os.fspath(path))
        path.chmod(0o600)
        socket.listen(16)
        limiter = trio.CapacityLimiter(CALLS_AT_ONCE_MAX)

        async def one(stream: trio.SocketStream) -> None:
            async with limiter:
                await _serve_one(node, Pipe(stream))

        task_status.started()
        await trio.serve_listeners(one, [trio.SocketListener(socket)])
    finally:
        socket.close()
        with contextlib.suppress(FileNotFoundError):
            path.unlink()


async def _serve_one(node: NodeApi, pipe: Pipe) -> None:
    try:
        frame = await pipe.receive()
        if frame:
            await _answer(node, pipe, frame)
    except (trio.BrokenResourceError, trio.ClosedResourceError, LocalError) as error:
        log.debug("control: %r", error)
    finally:
        with trio.CancelScope(shield=True):
            await pipe.aclose()


async def _answer(node: NodeApi, pipe: Pipe, frame: bytes) -> None:
    try:
        call = _calls.decode(frame)
        if call.name == "events":
            await _stream_events(node, pipe)
            return
        value, raw = await _dispatch(node, pipe, call)
    except P2PComputeError as error:
        await pipe.send([error.exit_code, type(error).__name__, str(error)])
    except (msgspec.MsgspecError, TypeError, ValueError, IndexError) as error:
        await pipe.send([2, "UsageError", f"not a call: {error}"])
    else:
        await pipe.send([0, value])
        if raw is not None:
            await pipe.send_raw(raw)


async def _dispatch(node: NodeApi, pipe: Pipe, call: Call) -> tuple[object, bytes | None]:
    a = call.arguments
    match call.name:
        case "put":
            size = msgspec.convert(a[0], int)
            if not 0 <= size <= limits.BUFFER_BYTES_MAX:
                raise UsageError(f"a blob of {size} bytes")
            return await node.put(await pipe.receive_raw(size)), None
        case "submit":
            await node.submit(msgspec.convert(dict(zip(SUBMIT_FIELDS, a)), Submit))
            return None, None
        case "stop_job":
            await node.stop_job(msgspec.convert(a[0], bytes))
            return None, None
        case "result":
            return await node.result(msgspec.convert(a[0], bytes)), None
        case "read":
            raw = await node.read(msgspec.convert(a[0], bytes), msgspec.convert(a[1], int))
            return len(raw), raw
        case "status":
            return await node.status(), None
        case "table":
            return await node.table(msgspec.convert(a[0], str)), None
        case "bundle":
            return await node.bundle(msgspec.convert(a[0], bytes)), None
        case "frauds":
            return await node.frauds(msgspec.convert(a[0], bytes)), None
        case "act":
            return await node.act(msgspec.convert(a[0], str), msgspec.convert(a[1], str)), None
        case _:
            raise UsageError(f"no call {call.name[:32]!r}")


async def _stream_events(node: NodeApi, pipe: Pipe) -> None:
    await pipe.send([0, None])
    async with node.events() as events, trio.open_nursery() as nursery:

        async def until_hang_up() -> None:
            await pipe.receive()
            nursery.cancel_scope.cancel()

        nursery.start_soon(until_hang_up)
        async for event in events:
            await pipe.send(event)


# The caller's side --------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class RemoteNode:
    """The node behind a control socket. Every call raises what the node raised, or HomeError when nobody answers."""

    path: Path

    async def _open(self) -> Pipe:
        try:
            return Pipe(await trio.open_unix_socket(os.fspath(self.path)))
        except OSError as error:
            raise HomeError(f"no node answers at {self.path}: start one with p2pcompute serve") from error

    async def _call(self, name: str, *arguments: object, raw: bytes | memoryview = b"") -> tuple[Any, Pipe]:
        pipe = await self._open()
        try:
            await pipe.send([name, arguments])
            if len(raw):
                await pipe.send_raw(raw)
            answer = await self._receive(pipe)
        except BaseException:
            with trio.CancelScope(shield=True):
                await pipe.aclose()
            raise
        return answer, pipe

    @staticmethod
    async def _receive(pipe: Pipe) -> Any:
        try:
            frame = await pipe.receive()
        except (trio.BrokenResourceError, LocalError) as error:
            raise HomeError("the node went away in the middle of a call") from error
        if not frame:
            raise HomeError("the node went away in the middle of a call")
        answer = msgspec.msgpack.decode(frame)
        if answer[0]:
            kind = getattr(errors, str(answer[1]), P2PComputeError)
            raise kind(str(answer[2]))
        return answer[1]

    async def _simple(self, name: str, *arguments: object) -> Any:
        value, pipe = await self._call(name, *arguments)
        await pipe.aclose()
        return value

    async def put(self, data: bytes | memoryview) -> bytes:
        view = memoryview(data).cast("B") if memoryview(data).nbytes else memoryview(b"")
        root, pipe = await self._call("put", view.nbytes, raw=view)
        await pipe.aclose()
        return msgspec.convert(root, bytes)

    async def submit(self, command: Submit) -> None:
        await self._simple("submit", *(getattr(command, name) for name in SUBMIT_FIELDS))

    async def stop_job(self, job: bytes) -> None:
        await self._simple("stop_job", job)

    async def result(self, job: bytes) -> JobResult:
        return msgspec.convert(await self._simple("result", job), JobResult)

    async def read(self, root: bytes, size: int) -> bytes:
        length, pipe = await self._call("read", root, size)
        data = await pipe.receive_raw(msgspec.convert(length, int))
        await pipe.aclose()
        return data

    async def status(self) -> dict[str, object]:
        return msgspec.convert(await self._simple("status"), dict[str, object])

    async def table(self, name: str) -> list[dict[str, object]]:
        return msgspec.convert(await self._simple("table", name), list[dict[str, object]])

    async def bundle(self, job: bytes) -> tuple[bytes, ...]:
        return msgspec.convert(await self._simple("bundle", job), tuple[bytes, ...])

    async def frauds(self, job: bytes) -> tuple[tuple[bytes, int], ...]:
        return msgspec.convert(await self._simple("frauds", job), tuple[tuple[bytes, int], ...])

    async def act(self, name: str, argument: str) -> str:
        return msgspec.convert(await self._simple("act", name, argument), str)

    @contextlib.asynccontextmanager
    async def events(self) -> AsyncIterator[AsyncIterator[Event]]:
        _, pipe = await self._call("events")

        async def stream() -> AsyncGenerator[Event, None]:
            while frame := await pipe.receive():
                yield msgspec.msgpack.decode(frame, type=Event)

        try:
            async with contextlib.aclosing(stream()) as events:
                yield events
        finally:
            with trio.CancelScope(shield=True):
                await pipe.aclose()
