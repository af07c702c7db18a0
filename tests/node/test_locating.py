"""Where two providers' buffers differ, found by leaves that either proves: V26 of docs/spec/verification.md."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio
import trio.testing

from p2pcompute.node.config import BLOB_BYTES_PER_S
from p2pcompute.node.engines import Engines
from p2pcompute.node.locating import Located, locate
from p2pcompute.node.ports import SystemClock
from p2pcompute.node.sources import Source
from p2pcompute.node.workshop import Workshop
from p2pcompute.protocol.machine import Grant, Locate, Side
from p2pcompute.storage.blobs import BlobStore
from p2pcompute.wire import limits, merkle
from p2pcompute.wire.manifest import Argument, Launch, Manifest, Role, encode_manifest
from tests.node.inspecting import Input, task_of
from tests.node.pipes import PEER, Pipe

LEAF = limits.BLOB_LEAF_BYTES
SIZE = 200 * LEAF + 12
NAMES = (b"l" * 32, b"r" * 32)


@dataclasses.dataclass
class Provider:
    """One that keeps a buffer and shows so many leaves of it."""

    peer: bytes
    data: bytes
    shop: Workshop
    asked: int = 0
    serve: Callable[[Pipe], Awaitable[None]] | None = None

    @property
    def root(self) -> bytes:
        return merkle.blob_root(self.data)

    def source(self) -> Source:
        async def open_stream() -> Pipe:
            self.asked += 1
            return Pipe(self.serve or (lambda pipe: self.shop.serve(PEER, pipe.end)))  # type: ignore[arg-type]

        return Source(self.peer, open_stream)  # type: ignore[arg-type]


def provider(root: Path, peer: bytes, data: bytes, leaves: int = 100) -> Provider:
    root.mkdir()
    blobs = BlobStore(root, merkle.blob_root)
    stored, _ = blobs.put(data, "job")
    shop = Workshop(blobs, Engines([]), BLOB_BYTES_PER_S)
    shop.grant(Grant("dispute", PEER, (stored,), SystemClock().now().wall_ms + 3_600_000, leaves))
    return Provider(peer, data, shop)


def manifest() -> Manifest:
    launch = Launch("k", (1, 1, 1), (1, 1, 1), (Argument("y"),))
    return task_of(b"// no kernel", {"y": Input(Role.OUT, dtype="u8", count=SIZE)}, [launch])[0]


async def between(left: Provider, right: Provider, timeout_ms: int = 60_000) -> Located:
    sides = (Side(p.peer, (), p.root) for p in (left, right))
    effect = Locate("j", encode_manifest(manifest()), 0, *sides, timeout_ms)
    return await locate(effect, left.source(), right.source())


def pair(root: Path, *places: int, leaves: int = 100) -> tuple[Provider, Provider]:
    """Two whose buffers differ in these bytes."""
    data = bytes(i % 251 for i in range(SIZE))
    bent = bytearray(data)
    for place in places:
        bent[place] ^= 4
    left, right = (provider(root / name.decode()[:1], name, bytes(d), leaves) for name, d in zip(NAMES, (data, bent)))
    return left, right


@pytest.mark.parametrize("place", [0, LEAF - 1, 77 * LEAF + 5, 64 * LEAF, SIZE - 1])
async def test_the_byte_is_found_by_a_few_leaves_of_either(tmp_path: Path, place: int) -> None:
    left, right = pair(tmp_path, place)
    assert await between(left, right) == (place, ())
    assert left.asked == right.asked <= 9


async def test_no_more_is_asked_for_than_a_provider_gives_for_a_dispute(tmp_path: Path) -> None:
    """Nine levels are all that 201 leaves have."""
    left, right = pair(tmp_path, *range(3, SIZE, 3 * LEAF), leaves=9)
    byte, silent = await between(left, right)
    assert silent == ()
    assert byte is not None
    assert left.data[byte] != right.data[byte]


async def test_who_gives_nothing_is_named(tmp_path: Path) -> None:
    left, right = pair(tmp_path, 5 * LEAF)
    right.shop.grant(Grant("dispute", PEER, (), 0))
    assert await between(left, right) == (None, (right.peer,))
    left.shop.grant(Grant("dispute", PEER, (), 0))
    assert await between(left, right) == (None, (left.peer, right.peer))


async def test_who_gives_another_leaf_is_named(tmp_path: Path) -> None:
    left, right = pair(tmp_path, 5 * LEAF)

    async def bend(pipe: Pipe) -> None:
        await left.shop.serve(PEER, pipe.end)  # type: ignore[arg-type]
        pipe._answer[-1] ^= 1

    left.serve = bend
    assert await between(left, right) == (None, (left.peer,))


async def test_who_is_not_done_in_time_is_named(tmp_path: Path, mock_clock: trio.testing.MockClock) -> None:
    left, right = pair(tmp_path, 5 * LEAF)
    served = trio.Event()

    async def serve(pipe: Pipe) -> None:
        await left.shop.serve(PEER, pipe.end)  # type: ignore[arg-type]
        served.set()

    async def rest(pipe: Pipe) -> None:
        await served.wait()
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(3)
        await trio.sleep_forever()

    left.serve, right.serve = serve, rest
    assert await between(left, right, timeout_ms=2_000) == (None, (right.peer,))


async def test_what_does_not_differ_has_no_byte(tmp_path: Path) -> None:
    left, right = pair(tmp_path)
    assert await between(left, right) == (None, ())
