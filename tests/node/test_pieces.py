"""Pieces of blobs over real streams: proven, bounded by their grant, from bad sources."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from p2pcompute.errors import RemoteError
from p2pcompute.node import exchange, pieces
from p2pcompute.node.config import BLOB_BYTES_PER_S
from p2pcompute.node.engines import Engines
from p2pcompute.node.ports import SystemClock
from p2pcompute.node.sources import CorruptError, Source
from p2pcompute.node.workshop import Workshop
from p2pcompute.protocol.machine import Grant, Now
from p2pcompute.storage.blobs import BlobStore
from p2pcompute.transport.channels import FrameReader, pack_frame
from p2pcompute.wire import limits, merkle
from tests.node.pipes import PEER, Pipe, source

LEAF = limits.BLOB_LEAF_BYTES
DATA = bytes(n % 251 for n in range(300 * LEAF - 100))
ROOT, SIZE = merkle.blob_root(DATA), len(DATA)
Leaves = list[int]


async def fetch_leaves(source: Source, root: bytes, size: int, leaves: list[int]) -> dict[int, bytes]:
    """Leaf -> its bytes."""
    found = await pieces.fetch_pieces(source, root, size, leaves)
    return {number: data for piece in found for number, data in piece.contents().items()}


def expected(leaves: Leaves) -> dict[int, bytes]:
    return {n: DATA[n * LEAF : (n + 1) * LEAF] for n in leaves}


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    store = BlobStore(tmp_path, merkle.blob_root)
    store.put(DATA)
    return store


def serving(store: BlobStore, leaves_max: int = 10_000) -> tuple[Source, list[Pipe], Workshop]:
    shop = Workshop(store, Engines([]), BLOB_BYTES_PER_S)
    grant(shop, leaves_max)
    return *source(lambda pipe: shop.serve(PEER, pipe.end)), shop  # type: ignore[arg-type]


def grant(shop: Workshop, leaves_max: int, roots: tuple[bytes, ...] = (ROOT,), token: str = "inspect:1") -> None:
    shop.grant(Grant(token, PEER, roots, SystemClock().now().wall_ms + 60_000, leaves_max))


@pytest.mark.parametrize(
    "leaves", [[0], [299], [0, 1, 2, 63, 64, 65, 298, 299], list(range(300)), list(range(0, 300, 2))]
)
async def test_pieces_come_with_their_proof(store: BlobStore, leaves: Leaves) -> None:
    asked, pipes, _ = serving(store)
    assert await fetch_leaves(asked, ROOT, SIZE, leaves) == expected(leaves)
    assert len(pipes) == 1


async def test_many_pieces_are_asked_for_in_several_requests(store: BlobStore) -> None:
    data = bytes(3000 * LEAF)
    root, size = store.put(data)
    asked, pipes, shop = serving(store)
    grant(shop, 10_000, (root,))
    apart = await fetch_leaves(asked, root, size, list(range(0, 1000, 2)))
    assert len(apart) == 500
    assert len(pipes) == 2
    together = await fetch_leaves(asked, root, size, list(range(3000)))
    assert len(together) == 3000
    assert len(pipes) == 5


def bent(store: BlobStore, change: Callable[[list[bytes]], list[bytes]]) -> Source:
    """A source whose frames are changed before they are sent."""
    shop = Workshop(store, Engines([]), BLOB_BYTES_PER_S)
    grant(shop, 10_000)

    async def serve(pipe: Pipe) -> None:
        await shop.serve(PEER, pipe.end)  # type: ignore[arg-type]
        reader = FrameReader(pipe)  # type: ignore[arg-type]
        frames = [await reader.next(limits.BLOB_CHUNK_BYTES) for _ in pipe.frames]
        pipe._answer += b"".join(pack_frame(frame) for frame in change(frames))
        pipe.was_reset = True  # nothing comes behind it

    return source(serve)[0]


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


HOSTILE: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "wrong leaf": lambda f: [f[0], flip(f[1], 0), *f[2:]],
    "wrong last leaf": lambda f: [*f[:-1], flip(f[-1], -1 + len(f[-1]))],
    "wrong proof": lambda f: [flip(f[0], 40), *f[1:]],
    "short proof": lambda f: [f[0][:-32], *f[1:]],
    "no proof": lambda f: [b"\x00", *f[1:]],
    "overlong proof": lambda f: [f[0] + bytes(32), *f[1:]],
    "leaves exchanged": lambda f: [f[0], f[1][LEAF : 2 * LEAF] + f[1][:LEAF] + f[1][2 * LEAF :], *f[2:]],
    "a leaf twice": lambda f: [f[0], f[1][:LEAF] + f[1][:LEAF] + f[1][2 * LEAF :], *f[2:]],
    "another range": lambda f: [f[0], DATA[50 * LEAF : 50 * LEAF + len(f[1])], *f[2:]],
    "overlong": lambda f: [f[0], f[1] + b"\x00", *f[2:]],
    "short": lambda f: [f[0], f[1][:-1], *f[2:]],
    "broken off": lambda f: f[:-1],
    "nothing": lambda f: [],
    "refused": lambda f: [b""],
}
LIES = set(HOSTILE) - {"overlong proof", "overlong", "broken off", "nothing", "refused"}
"""What can be told from a fault of the line."""


@pytest.mark.parametrize("name", HOSTILE)
async def test_no_byte_of_a_wrong_answer_is_used(store: BlobStore, name: str) -> None:
    asked = bent(store, HOSTILE[name])
    with pytest.raises(RemoteError) as caught:
        await fetch_leaves(asked, ROOT, SIZE, list(range(10, 90)))
    assert isinstance(caught.value, CorruptError) == (name in LIES)


@pytest.mark.parametrize(
    "ranges",
    [
        [],
        [(3, 0)],
        [(0, 2), (1, 1)],
        [(5, 1), (4, 1)],
        [(4, 1), (4, 1)],
        [(299, 2)],
        [(300, 1)],
        [(0, limits.PIECE_LEAVES_MAX + 1)],
        [(-1, 1)],
        [(2 * n, 1) for n in range(limits.PIECE_RANGES_MAX + 1)],
    ],
)
async def test_a_request_that_nobody_makes_costs_its_stream(store: BlobStore, ranges: list[tuple[int, int]]) -> None:
    asked, pipes, _ = serving(store, 8)
    stream = await asked.open()
    await stream.send_all(pack_frame(msgspec.msgpack.encode([ROOT, SIZE, ranges])))
    assert pipes[0].was_reset
    assert pipes[0].frames == []
    assert await fetch_leaves(asked, ROOT, SIZE, list(range(8))) == expected(list(range(8)))


async def test_leaves_of_all_requests_together_are_bounded(store: BlobStore) -> None:
    big = bytes(4 * limits.PIECE_LEAVES_MAX * LEAF)
    root, size = store.put(big)
    asked, pipes, shop = serving(store)
    grant(shop, 10_000, (root,))
    stream = await asked.open()
    half = limits.PIECE_LEAVES_MAX // 2
    await stream.send_all(pack_frame(msgspec.msgpack.encode([root, size, [(0, half), (half, half + 1)]])))
    assert pipes[0].was_reset


async def test_who_asks_beyond_its_grant_gets_one_refusal_and_no_leaf(store: BlobStore) -> None:
    asked, pipes, shop = serving(store, leaves_max=10)
    await fetch_leaves(asked, ROOT, SIZE, [0, 1, 2, 3, 4, 5])
    with pytest.raises(RemoteError, match="gives no pieces"):
        await fetch_leaves(asked, ROOT, SIZE, [6, 7, 8, 9, 10])
    assert pipes[-1].frames == [pack_frame(b"")]
    await fetch_leaves(asked, ROOT, SIZE, [0, 1, 2])  # a leaf asked for twice counts twice
    grant(shop, leaves_max=10)  # granting again gives nothing more
    with pytest.raises(RemoteError, match="gives no pieces"):
        await fetch_leaves(asked, ROOT, SIZE, [0, 1])
    assert len(await fetch_leaves(asked, ROOT, SIZE, [0])) == 1
    grant(shop, leaves_max=10, token="inspect:2")
    assert len(await fetch_leaves(asked, ROOT, SIZE, list(range(10)))) == 10


async def test_pieces_of_what_was_not_granted_are_refused(store: BlobStore) -> None:
    other, size = store.put(b"other")
    asked, _, shop = serving(store)
    for root, length in ((other, size), (ROOT, SIZE - 1), (bytes(32), 5)):
        with pytest.raises(RemoteError, match="gives no pieces"):
            await fetch_leaves(asked, root, length, [0])
    grant(shop, 10_000, ())
    with pytest.raises(RemoteError, match="gives no pieces"):
        await fetch_leaves(asked, ROOT, SIZE, [0])


async def test_a_grant_for_pieces_gives_no_blob(store: BlobStore, tmp_path: Path) -> None:
    asked, pipes, shop = serving(store)
    mine = BlobStore(tmp_path / "mine", merkle.blob_root)
    fetch = functools.partial(exchange.fetch_blob, mine, [asked], ROOT, SIZE)
    with pytest.raises(RemoteError, match="does not give"):
        await fetch(exchange.Bans())
    assert pipes[-1].frames == [pack_frame(b"")]
    shop.grant(Grant("outputs", PEER, (ROOT,), SystemClock().now().wall_ms + 60_000))
    await fetch(exchange.Bans())
    assert mine.read(ROOT) == DATA


async def test_pieces_of_a_blob_that_may_be_read_count_as_chunks_of_it(store: BlobStore) -> None:
    asked, pipes, shop = serving(store)
    shop.grant(Grant("inspect:1", PEER, (ROOT,), SystemClock().now().wall_ms + 60_000))
    for _ in range(exchange.SERVINGS_CHUNKS_MIN // 2):
        await fetch_leaves(asked, ROOT, SIZE, [0, 1, 64])
    with pytest.raises(RemoteError):
        await fetch_leaves(asked, ROOT, SIZE, [0])
    assert pipes[-1].was_reset


async def test_a_grant_that_ran_out_gives_nothing(store: BlobStore) -> None:
    class Late:
        def now(self) -> Now:
            return Now(0, 10)

        def deadline(self, mono_ms: int) -> float:
            return 0.0

    shop = Workshop(store, Engines([]), BLOB_BYTES_PER_S, Late())
    shop.grant(Grant("t", PEER, (ROOT,), 10, 5))
    asked, _ = source(lambda pipe: shop.serve(PEER, pipe.end))  # type: ignore[arg-type]
    with pytest.raises(RemoteError, match="gives no pieces"):
        await fetch_leaves(asked, ROOT, SIZE, [0])
