"""The control socket against a node that only remembers what it was asked."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import trio

from p2pcompute.errors import HomeError, NoPeersError
from p2pcompute.node.api import Event, JobResult
from p2pcompute.node.control import FRAME_BYTES_MAX, RemoteNode, serve_control
from p2pcompute.protocol.commands import Submit
from p2pcompute.protocol.matching import Needs
from p2pcompute.wire.policy import Policy


@dataclasses.dataclass
class Recorder:
    """A node in name only."""

    submitted: list[Submit] = dataclasses.field(default_factory=list)
    blobs: dict[bytes, bytes] = dataclasses.field(default_factory=dict)

    async def put(self, data: bytes | memoryview) -> bytes:
        root = bytes(data[:4]).ljust(32, b"\0")
        self.blobs[root] = bytes(data)
        return root

    async def submit(self, command: Submit) -> None:
        self.submitted.append(command)

    async def stop_job(self, job: bytes) -> None:
        raise NoPeersError("nobody is there")

    async def result(self, job: bytes) -> JobResult:
        return JobResult(job, 0, "", ((b"r" * 32, 5),), 7, (b"x" * 32,))

    async def read(self, root: bytes, size: int) -> bytes:
        return self.blobs[root]

    async def status(self) -> dict[str, object]:
        return {"peers": 3, "addresses": ["/ip4/127.0.0.1/tcp/1"]}

    async def table(self, name: str) -> list[dict[str, object]]:
        return [{"name": name}]

    async def bundle(self, job: bytes) -> tuple[bytes, ...]:
        return (job, b"document")

    async def act(self, name: str, argument: str) -> str:
        return f"{name} {argument}"

    @contextlib.asynccontextmanager
    async def events(self) -> AsyncIterator[AsyncIterator[Event]]:
        async def stream() -> AsyncIterator[Event]:
            yield Event("one", {"peer": b"p"})
            yield Event("two", {"n": 2})

        async with contextlib.aclosing(stream()) as events:
            yield events


@contextlib.asynccontextmanager
async def serving(tmp_path: Path) -> AsyncIterator[tuple[Recorder, RemoteNode]]:
    node, path = Recorder(), tmp_path / "control.sock"
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_control, node, path)
        with trio.fail_after(10):
            yield node, RemoteNode(path)
        nursery.cancel_scope.cancel()
    assert not path.exists()


async def test_every_call_arrives_and_answers(tmp_path: Path) -> None:
    async with serving(tmp_path) as (node, remote):
        data = bytes(range(256)) * 5000
        root = await remote.put(data)
        assert await remote.read(root, len(data)) == data
        command = Submit(
            b"j" * 16,
            b"manifest",
            policy=Policy(replicas=3),
            budget=9,
            needs=Needs(engine="cpu", operators=(b"o" * 32,)),
        )
        await remote.submit(command)
        assert node.submitted == [command]
        assert (await remote.result(b"j")).outputs == ((b"r" * 32, 5),)
        assert (await remote.status())["peers"] == 3
        assert await remote.table("book") == [{"name": "book"}]
        assert await remote.bundle(b"j") == (b"j", b"document")
        assert await remote.act("ban", "x") == "ban x"


async def test_errors_keep_their_class_and_sentence(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, remote):
        with pytest.raises(NoPeersError, match="nobody is there"):
            await remote.stop_job(b"j")


async def test_events_are_streamed(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, remote), remote.events() as events:
        first = await anext(events)
        assert (first.name, first.fields) == ("one", {"peer": b"p"})


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff\xff\xff",
        (FRAME_BYTES_MAX + 1).to_bytes(4, "big"),
        b"\x00\x00\x00\x03abc",
        b"\x00\x00\x00\x05\x92\xa3put",
        len(f := msgspec.msgpack.encode(["put", [-1]])).to_bytes(4, "big") + f,
        len(f := msgspec.msgpack.encode(["submit", ["x"]])).to_bytes(4, "big") + f,
        len(f := msgspec.msgpack.encode(["nonsense", []])).to_bytes(4, "big") + f,
        len(f := msgspec.msgpack.encode(["read", []])).to_bytes(4, "big") + f,
    ],
)
async def test_garbage_costs_its_own_connection_only(tmp_path: Path, data: bytes) -> None:
    async with serving(tmp_path) as (_, remote):
        socket = await trio.open_unix_socket(str(remote.path))
        await socket.send_all(data)
        await socket.send_eof()
        while await socket.receive_some(65536):
            pass
        await socket.aclose()
        assert (await remote.status())["peers"] == 3


async def test_no_node_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(HomeError, match="p2pcompute serve"):
        await RemoteNode(tmp_path / "control.sock").status()
