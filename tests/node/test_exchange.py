"""Blobs over real streams between nodes: whole, resumed, from several sources, from bad ones."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest
import trio
from trio.testing import MockClock

from p2pcompute.errors import HomeError, RemoteError
from p2pcompute.node import exchange
from p2pcompute.node.config import BLOB_BYTES_PER_S, BLOB_BYTES_PER_S_MIN
from p2pcompute.node.engines import Engines
from p2pcompute.node.sources import PROTOCOL, STALL_S, PaymentDueError
from p2pcompute.node.sources import Source as BlobSource
from p2pcompute.node.workshop import Workshop
from p2pcompute.protocol.machine import Grant, Now, PeerInfo
from p2pcompute.storage.blobs import BlobStore
from p2pcompute.transport.channels import FrameReader, pack_frame
from p2pcompute.transport.libp2p import Libp2pTransport
from p2pcompute.transport.mux import Stream
from p2pcompute.wire import limits, merkle

CHUNK = limits.BLOB_CHUNK_BYTES


def blob(chunks: float) -> bytes:
    return random.Random(chunks).randbytes(int(chunks * CHUNK))


async def fetch(
    store: BlobStore, sources: list[BlobSource], root: bytes, size: int, bans: exchange.Bans | None = None
) -> None:
    await exchange.fetch_blob(store, sources, root, size, bans or exchange.Bans())


@dataclasses.dataclass
class Source:
    """A peer that serves blobs; `bend` may spoil its answers, and it remembers what it was asked."""

    store: BlobStore
    readers: set[bytes]
    bend: Callable[[Stream], Stream] | None = None
    asked: int = 0
    chunks: int = exchange.ALL_CHUNKS

    def __post_init__(self) -> None:
        self.server = exchange.BlobServer(self.store, self.may_read, BLOB_BYTES_PER_S)

    def may_read(self, peer: bytes, root: bytes) -> int | None:
        return self.chunks if peer in self.readers else None

    def on_peer(self, info: PeerInfo) -> None: ...
    def on_frame(self, peer: bytes, channel: str, frame: bytes) -> None: ...
    async def on_request(self, peer: bytes, channel: str, frame: bytes) -> bytes | None: ...

    async def on_stream(self, peer: bytes, protocol: str, stream: Stream) -> None:
        self.asked += 1
        await self.server.serve(peer, stream if self.bend is None else self.bend(stream))


class Bent:
    """A stream that spoils or stops what is sent through it, from the n-th frame on."""

    def __init__(self, stream: Stream, after: int, *, stop: bool) -> None:
        self._stream, self._left, self._stop = stream, after, stop

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    async def send_all(self, data: bytes) -> None:
        self._left -= 1
        if self._left >= 0:
            await self._stream.send_all(data)
        elif self._stop:
            self._stream.reset()
            raise trio.BrokenResourceError
        else:
            await self._stream.send_all(data[:-1] + bytes([data[-1] ^ 1]))


@contextlib.asynccontextmanager
async def peers(tmp_path: Path, count: int) -> AsyncIterator[tuple[BlobStore, list[Source], list[BlobSource]]]:
    """A store to fetch into, sources, and how to open a stream to each."""
    async with trio.open_nursery() as nursery:
        me = await _start(nursery, _source(tmp_path / "me"), 0)
        sources, opens = [], []
        for i in range(count):
            source = _source(tmp_path / f"source{i}")
            transport = await _start(nursery, source, i + 1)
            source.readers.add(me.peer)
            await me.connect(transport.addresses()[0])
            sources.append(source)
            opens.append(BlobSource(transport.peer, functools.partial(me.open_stream, transport.peer, PROTOCOL)))
        store = BlobStore(_directory(tmp_path / "mine"), merkle.blob_root)
        with trio.fail_after(20):
            yield store, sources, opens
        nursery.cancel_scope.cancel()


def _directory(path: Path) -> Path:
    path.mkdir()
    return path


def _source(path: Path) -> Source:
    return Source(BlobStore(_directory(path), merkle.blob_root), set())


async def _start(nursery: trio.Nursery, events: Source, number: int) -> Libp2pTransport:
    transport = Libp2pTransport(
        bytes([number + 1]) * 32,
        listen=("/ip4/127.0.0.1/tcp/0",),
        events=events,
        streams=(PROTOCOL,),
        libp2p_host=False,
    )
    await nursery.start(transport.run)
    return transport


@pytest.mark.parametrize("chunks", [0, 0.001, 1, 1.5, 40.3])
async def test_a_blob_of_any_size_arrives_whole(tmp_path: Path, chunks: float) -> None:
    data = blob(chunks)
    async with peers(tmp_path, 1) as (store, (source,), opens):
        root, size = source.store.put(data)
        await fetch(store, opens, root, size)
        assert store.read(root) == data
        await fetch(store, opens, root, size)
        assert source.asked <= 1 + 40 // exchange.SPAN_CHUNKS_MIN + 1


async def test_several_sources_share_a_blob(tmp_path: Path) -> None:
    data = blob(100)
    async with peers(tmp_path, 3) as (store, sources, opens):
        (root, size), *_ = [source.store.put(data) for source in sources]
        await fetch(store, opens, root, size)
        assert store.read(root) == data
        assert all(source.asked for source in sources)


@pytest.mark.parametrize("stop", [True, False])
async def test_a_source_that_breaks_off_or_lies_is_replaced_by_another(tmp_path: Path, stop: bool) -> None:
    data = blob(60)
    async with peers(tmp_path, 2) as (store, sources, opens):
        (root, size), *_ = [source.store.put(data) for source in sources]
        sources[0].bend = lambda stream: Bent(stream, 3, stop=stop)  # type: ignore[assignment,return-value]
        await fetch(store, opens, root, size)
        assert store.read(root) == data
        assert sources[0].asked == 1


async def test_a_broken_transfer_goes_on_where_it_stopped(tmp_path: Path) -> None:
    data = blob(30)
    async with peers(tmp_path, 1) as (store, (source,), opens):
        root, size = source.store.put(data)
        source.bend = lambda stream: Bent(stream, 11, stop=True)  # type: ignore[assignment,return-value]
        with pytest.raises(RemoteError, match="broke off"):
            await fetch(store, opens, root, size)
        source.bend = None
        with store.partial(root, size) as partial:
            assert partial is not None
            missing = partial.missing()
        assert 0 < missing[0] <= 10  # a reset overtakes what is still under way
        assert missing == list(range(missing[0], 30))
        await fetch(store, opens, root, size)
        assert store.read(root) == data


async def test_a_source_that_waits_to_be_paid_gives_a_beginning_and_later_only_the_rest(tmp_path: Path) -> None:
    data = blob(40.3)
    async with peers(tmp_path, 1) as (store, (source,), opens):
        root, size = source.store.put(data)
        for chunks in (0, 1, 10, 10, 35):
            source.chunks = chunks
            with pytest.raises(PaymentDueError) as due:
                await fetch(store, opens, root, size)
            assert due.value.held_bytes == chunks * CHUNK
        source.chunks = 41
        await fetch(store, opens, root, size)
        assert store.read(root) == data
        ((_, given),) = source.server._served.values()
        assert given == 41


async def test_what_is_held_is_told_to_the_byte(tmp_path: Path) -> None:
    async with peers(tmp_path, 1) as (store, (source,), opens):
        root, size = source.store.put(blob(2.5))
        source.chunks = 2
        with pytest.raises(PaymentDueError) as due:
            await fetch(store, opens, root, size)
        assert due.value.held_bytes == 2 * CHUNK


async def test_a_corrupt_chunk_is_never_kept(tmp_path: Path) -> None:
    data = blob(5)
    async with peers(tmp_path, 1) as (store, (source,), opens):
        root, size = source.store.put(data)
        source.bend = lambda stream: Bent(stream, 2, stop=False)  # type: ignore[assignment,return-value]
        with pytest.raises(RemoteError, match=r"chunk 1 of blob .* is corrupt"):
            await fetch(store, opens, root, size)
        with store.partial(root, size) as partial:
            assert partial is not None
            assert 1 in partial.missing()


async def test_a_blob_that_was_not_granted_or_is_not_there_is_refused(tmp_path: Path) -> None:
    async with peers(tmp_path, 1) as (store, (source,), opens):
        root, size = source.store.put(blob(1))
        with pytest.raises(RemoteError, match="does not give"):
            await fetch(store, opens, merkle.blob_root(b"x"), 1)
        source.readers.clear()
        with pytest.raises(RemoteError, match="does not give"):
            await fetch(store, opens, root, size)


async def test_wrong_nodes_are_told_before_a_chunk_is_read(tmp_path: Path) -> None:
    async with peers(tmp_path, 1) as (store, (source,), opens):
        root, size = source.store.put(blob(2))
        source.bend = lambda stream: Bent(stream, 0, stop=False)  # type: ignore[assignment,return-value]
        with pytest.raises(RemoteError, match="description"):
            await fetch(store, opens, root, size)


class SetClock:
    """node.ports.Clock that stands where the test wants."""

    def __init__(self) -> None:
        self.wall_ms = 1_000_000

    def now(self) -> Now:
        return Now(0, self.wall_ms)

    def deadline(self, mono_ms: int) -> float:
        raise AssertionError


OTHER = bytes([9]) * 32
UNTIL_MS = 2_000_000
REFUSED: dict[str, Callable[[bytes, bytes], Grant | None]] = {
    "no grant": lambda me, root: None,
    "a grant for another root": lambda me, root: Grant("token", me, (bytes(32),), UNTIL_MS),
    "a grant for another peer": lambda me, root: Grant("token", OTHER, (root,), UNTIL_MS),
    "a grant that ran out": lambda me, root: Grant("token", me, (root,), 1_000_000),
    "a grant that was taken back": lambda me, root: Grant("token", me, (), UNTIL_MS),
    "a part of another blob": lambda me, root: Grant("token", me, (), UNTIL_MS, part=(bytes(32), 9)),
    "a part that ran out": lambda me, root: Grant("token", me, (), 1_000_000, part=(root, 9)),
    "single leaves, and those used up": lambda me, root: Grant("token", me, (root,), UNTIL_MS, leaves_max=1),
}


async def answer(source: BlobSource, *request: object) -> bytes:
    """All that comes back for a request."""
    stream, said = await source.open(), b""
    await stream.send_all(pack_frame(msgspec.msgpack.encode(request)))
    try:
        while some := await stream.receive_some():
            said += some
    except trio.BrokenResourceError:
        said += b"reset"
    return said


@pytest.mark.parametrize("case", REFUSED)
async def test_who_was_granted_nothing_gets_nothing_and_cannot_tell_what_is_there(tmp_path: Path, case: str) -> None:
    async with peers(tmp_path, 1) as (_, (source,), (asked,)):
        (me,) = source.readers
        clock = SetClock()
        shop = Workshop(source.store, Engines([]), BLOB_BYTES_PER_S, clock)
        source.server = shop  # type: ignore[assignment]
        here, size = source.store.put(blob(3))
        nothing, _ = source.store.put(b"")
        grant = REFUSED[case](me, here)
        if grant is not None:
            shop.grant(grant)
        if grant is not None and grant.leaves_max:
            assert len(await answer(asked, here, size, [[0, 1]])) > limits.BLOB_LEAF_BYTES
        there = merkle.blob_root(b"is nowhere")
        said = {
            await answer(asked, root, n, *rest)
            for root, n in ((here, size), (here, size - 1), (there, size), (nothing, 0), (nothing, 1))
            for rest in ((0, 9, True), (0, 9, False), (2, 1, True))
        }
        pieces = {await answer(asked, root, size, [[first, 2]]) for root in (here, there) for first in (0, 1, 100)}
        assert said == pieces == {pack_frame(b"")}


@pytest.mark.parametrize("frame", [b"", b"\xff", msgspec.msgpack.encode([b"short", 1, 0, 1, True])])
async def test_a_request_that_nobody_understands_costs_its_stream(tmp_path: Path, frame: bytes) -> None:
    async with peers(tmp_path, 1) as (store, (source,), opens):
        root, size = source.store.put(blob(1))
        stream = await opens[0].open()
        await stream.send_all(pack_frame(frame))
        with pytest.raises((RemoteError, trio.BrokenResourceError)):
            await FrameReader(stream).next(CHUNK)
        await fetch(store, opens, root, size)


async def test_a_peer_has_few_transfers_at_a_time(tmp_path: Path) -> None:
    async with peers(tmp_path, 1) as (store, (source,), opens):
        root, size = source.store.put(blob(1))
        idle = [await opens[0].open() for _ in range(exchange.STREAMS_PER_PEER_MAX)]
        for stream in idle:
            await stream.send_all(b"\x7f")  # a frame that never becomes complete
        while source.asked < len(idle):
            await trio.lowlevel.checkpoint()
        with pytest.raises(RemoteError):
            await fetch(store, opens, root, size)
        for stream in idle:
            stream.reset()


async def test_who_sent_a_wrong_byte_is_not_asked_for_that_blob_again(tmp_path: Path) -> None:
    bans = exchange.Bans()
    async with peers(tmp_path, 1) as (store, (source,), opens):
        root, size = source.store.put(blob(3))
        other, other_size = source.store.put(blob(1))
        source.bend = lambda stream: Bent(stream, 2, stop=False)  # type: ignore[assignment,return-value]
        with pytest.raises(RemoteError, match="corrupt"):
            await fetch(store, opens, root, size, bans)
        source.bend = None
        asked = source.asked
        with pytest.raises(RemoteError, match="nobody is left"):
            await fetch(store, opens, root, size, bans)
        assert source.asked == asked
        await fetch(store, opens, other, other_size, bans)


async def test_a_chunk_that_the_disk_altered_after_an_interruption_is_fetched_again(tmp_path: Path) -> None:
    data = blob(20)
    async with peers(tmp_path, 1) as (store, (source,), opens):
        root, size = source.store.put(data)
        source.bend = lambda stream: Bent(stream, 15, stop=True)  # type: ignore[assignment,return-value]
        with pytest.raises(RemoteError, match="broke off"):
            await fetch(store, opens, root, size)
        source.bend = None
        left = next((tmp_path / "mine" / "partial").glob(f"{root.hex()}.{size}"))
        with left.open("r+b") as file:
            file.write(b"not what was sent")
        await fetch(store, opens, root, size)
        assert store.read(root) == data


async def test_a_peer_that_reads_nothing_keeps_no_other_from_its_blob(tmp_path: Path) -> None:
    data = blob(40)
    async with peers(tmp_path, 1) as (store, (source,), opens), trio.open_nursery() as nursery:
        root, size = source.store.put(data)
        greedy = await _start(nursery, _source(tmp_path / "greedy"), 9)
        source.readers.add(greedy.peer)
        await greedy.connect((await opens[0].open()).connection.address)
        request = msgspec.msgpack.encode(exchange.BlobRequest(root, size, 0, 40, True))
        for _ in range(2 * exchange.STREAMS_PER_PEER_MAX):
            stream = await greedy.open_stream(opens[0].peer, PROTOCOL)
            await stream.send_all(pack_frame(request))
        await fetch(store, opens, root, size)
        assert store.read(root) == data
        nursery.cancel_scope.cancel()


async def test_a_peer_gets_the_same_blob_a_few_times_an_hour_and_others_too(tmp_path: Path) -> None:
    async with peers(tmp_path, 1) as (store, (source,), opens):
        root, size = source.store.put(blob(exchange.SERVINGS_CHUNKS_MIN))
        other, other_size = source.store.put(blob(1))
        for _ in range(exchange.SERVINGS_MAX):
            await fetch(store, opens, root, size)
            store.delete(root)
        with pytest.raises(RemoteError):
            await fetch(store, opens, root, size)
        await fetch(store, opens, other, other_size)


async def test_a_blob_that_has_no_room_is_not_asked_for(tmp_path: Path) -> None:
    async with peers(tmp_path, 1) as (_, (source,), opens):
        root, size = source.store.put(blob(3))
        small = BlobStore(_directory(tmp_path / "small"), merkle.blob_root, quota_bytes=2 * CHUNK)
        with pytest.raises(HomeError, match="full"):
            await fetch(small, opens, root, size)
        assert source.asked == 0


def test_bans_are_bounded() -> None:
    bans = exchange.Bans()
    for i in range(exchange.BANS_MAX + 1):
        bans.add(i.to_bytes(32, "big"), bytes(32))
    assert (bytes(32), bytes(32)) not in bans
    assert (exchange.BANS_MAX.to_bytes(32, "big"), bytes(32)) in bans


RATE = 4 * CHUNK
"""Bytes a second: four chunks."""


class Asking:
    """A stream on which one blob is asked for; what comes back is counted, with the time of each frame."""

    def __init__(self, root: bytes, size: int) -> None:
        request = exchange.BlobRequest(root, size, 0, merkle.chunk_count(size), False)
        self._request, self.times = pack_frame(msgspec.msgpack.encode(request)), list[float]()

    async def receive_some(self, size: int | None = None) -> bytes:
        return self._request

    async def send_all(self, data: bytes) -> None:
        self.times.append(trio.current_time())


@pytest.fixture
def limited(tmp_path: Path) -> tuple[exchange.BlobServer, bytes, int]:
    """A server that gives RATE bytes a second to each peer, and a blob of 16 chunks: 4 seconds."""
    store = BlobStore(_directory(tmp_path / "limited"), merkle.blob_root)
    return exchange.BlobServer(store, lambda peer, root: exchange.ALL_CHUNKS, RATE), *store.put(blob(16))


async def _served(server: exchange.BlobServer, peer: bytes, root: bytes, size: int) -> float:
    """When the last chunk left; more than one transfer of one peer may run."""
    stream = Asking(root, size)
    await server.serve(peer, stream)  # type: ignore[arg-type]
    assert len(stream.times) == 17
    return stream.times[-1]


async def test_a_peer_is_served_at_a_bounded_rate_and_another_is_not_slowed_by_it(
    limited: tuple[exchange.BlobServer, bytes, int], autojump_clock: MockClock
) -> None:
    server, root, size = limited
    begin, ends = trio.current_time(), dict[tuple[bytes, int], float]()

    async def serve(peer: bytes, number: int) -> None:
        ends[peer, number] = await _served(server, peer, root, size) - begin

    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(serve, b"greedy", number)
        nursery.start_soon(serve, b"modest", 0)
    assert 3 < ends[b"modest", 0] < 4.5
    assert 11 < max(ends.values()) < 12.5


async def test_what_a_peer_had_is_remembered_and_earned_again(
    limited: tuple[exchange.BlobServer, bytes, int], autojump_clock: MockClock
) -> None:
    server, root, size = limited
    begin = trio.current_time()
    await _served(server, b"peer", root, size)
    again = Asking(root, size)
    await server.serve(b"peer", again)  # type: ignore[arg-type]
    assert again.times[-1] - begin > 7
    await trio.sleep(60)
    later = Asking(root, size)
    await server.serve(b"peer", later)  # type: ignore[arg-type]
    assert later.times[1] == later.times[0]
    assert later.times[-1] - later.times[0] > 3


async def test_a_rate_as_low_as_may_be_set_stalls_no_transfer(tmp_path: Path, autojump_clock: MockClock) -> None:
    store = BlobStore(_directory(tmp_path / "slow"), merkle.blob_root)
    root, size = store.put(blob(4))
    server = exchange.BlobServer(store, lambda peer, root: exchange.ALL_CHUNKS, BLOB_BYTES_PER_S_MIN)
    streams = [Asking(root, size) for _ in range(exchange.STREAMS_PER_PEER_MAX)]
    async with trio.open_nursery() as nursery:
        for stream in streams:
            nursery.start_soon(server.serve, b"peer", stream)
    for stream in streams:
        assert max(b - a for a, b in itertools.pairwise(stream.times)) < STALL_S / 2


async def test_peers_that_wait_for_their_rate_keep_nobody_from_theirs(
    limited: tuple[exchange.BlobServer, bytes, int], autojump_clock: MockClock
) -> None:
    server, root, size = limited
    async with trio.open_nursery() as nursery:
        for number in range(2 * exchange.FRAMES_MAX):
            nursery.start_soon(server.serve, bytes([number // exchange.STREAMS_PER_PEER_MAX]), Asking(root, size))
        await trio.sleep(1)
        late = Asking(root, size)
        await server.serve(b"late", late)  # type: ignore[arg-type]
        assert late.times[-1] - late.times[0] < 4.5
        nursery.cancel_scope.cancel()
