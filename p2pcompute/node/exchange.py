"""Blobs between peers: verified chunk by chunk, from several sources at once, resumed where a transfer broke off.

    request   frame: [root, size in bytes, first chunk, number of chunks, whether the nodes are wanted]
    answer    frame: the blob's chunk nodes, 32 bytes each (not wanted: one zero byte; refused: empty);
              then one frame per chunk, in order; an empty one ends them where the rest is not given until it is paid

Pieces of blobs have requests of their own (pieces.py), over the same protocol.

One stream per request. The nodes are checked against the root before the first chunk, each chunk against its node
before it is kept: a wrong byte is noticed within 256 KiB, costs its source the rest of this blob, and what others sent
stays.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Annotated, Final

import msgspec
import trio

from p2pcompute.errors import HomeError, LocalError, RemoteError
from p2pcompute.node import pieces
from p2pcompute.node.sources import NO_NODES, STALL_S, CorruptError, PaymentDueError, Source, opened
from p2pcompute.storage.blobs import BlobStore
from p2pcompute.storage.partial import PartialBlob
from p2pcompute.transport.allowance import Allowances
from p2pcompute.transport.channels import FrameReader, pack_frame
from p2pcompute.transport.mux import Stream
from p2pcompute.wire import limits, merkle

REQUEST_BYTES_MAX: Final = 4 * limits.KIB
"""The largest names 256 runs of leaves."""
NODES_BYTES_MAX: Final = merkle.HASH_BYTES * (limits.BUFFER_BYTES_MAX // limits.BLOB_CHUNK_BYTES)
SPAN_CHUNKS_MIN: Final = 16
"""4 MiB: what a source is asked for at least in one go."""
SPANS_PER_SOURCE: Final = 4
"""A blob is cut so that each source gets about this many spans: a slow one then holds up little."""
STREAMS_PER_PEER_MAX: Final = 4
FRAMES_MAX: Final = 32
"""Sent at once, to all peers together; more wait their turn."""
STREAMS_PER_SOURCE: Final = 2
"""Spans under way from one source: while one stream begins, the other fills the line."""
SERVINGS_MAX: Final = 4
"""How often one peer gets one blob whole within SERVINGS_S: enough for every honest try again."""
SERVINGS_CHUNKS_MIN: Final = 64
"""What a peer may ask for of a small blob, 16 MiB."""
SERVINGS_S: Final = 3_600.0
SERVED_MAX: Final = 16_384
"""(peer, blob) pairs whose servings are counted; the oldest are forgotten first."""
SERVED_SECONDS_BURST: Final = 0.25
"""What a peer may have at once, in seconds of its rate: small inputs and outputs never wait."""
BANS_MAX: Final = 16_384
NODES_CACHED_BYTES_MAX: Final = 8 * limits.MIB

MayRead = Callable[[bytes, bytes], int | None]
"""(peer, root) -> how many chunks of the blob, from its beginning, the peer may have; None when it was granted none."""
ALL_CHUNKS: Final = 2**32
MayHave = Callable[[bytes, bytes, int], bool]
"""(peer, root, leaves) -> whether the peer may have so many more leaves of the blob; if so, they are counted."""


class Bans:
    """Who sent wrong bytes of which blob, and is not asked for that blob again. The oldest are forgotten first."""

    def __init__(self) -> None:
        self._pairs: OrderedDict[tuple[bytes, bytes], None] = OrderedDict()

    def __contains__(self, pair: tuple[bytes, bytes]) -> bool:
        return pair in self._pairs

    def add(self, peer: bytes, root: bytes) -> None:
        self._pairs[peer, root] = None
        while len(self._pairs) > BANS_MAX:
            self._pairs.popitem(last=False)


class BlobRequest(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """What a peer asks for."""

    root: Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
    size_bytes: Annotated[int, msgspec.Meta(ge=0, le=limits.BUFFER_BYTES_MAX)]
    first: Annotated[int, msgspec.Meta(ge=0, lt=2**32)]
    count: Annotated[int, msgspec.Meta(ge=0, lt=2**32)]
    nodes: bool


_requests: Final[dict[bytes, msgspec.msgpack.Decoder[BlobRequest | pieces.PieceRequest]]] = {
    b"\x95": msgspec.msgpack.Decoder(BlobRequest),
    b"\x93": msgspec.msgpack.Decoder(pieces.PieceRequest),
}
"""By their first byte: arrays of five and of three."""
_off_loop = trio.to_thread.run_sync


class BlobServer:
    """Answers requests for blobs of one store. Nobody gets more than a few streams at a time, and so many bytes a
    second on all of them together."""

    def __init__(
        self,
        store: BlobStore,
        may_read: MayRead,
        bytes_per_s: int,
        may_have: MayHave = lambda peer, root, leaves: False,
    ) -> None:
        """`bytes_per_s`: to each peer, in the long run. `may_have` is asked for pieces of what a peer may not read."""
        self._store, self._may_read, self._may_have = store, may_read, may_have
        self._rates = Allowances(bytes_per_s, int(SERVED_SECONDS_BURST * bytes_per_s))
        self._all = trio.CapacityLimiter(FRAMES_MAX)
        self._peers: dict[bytes, int] = {}
        self._nodes: OrderedDict[bytes, bytes] = OrderedDict()
        self._nodes_bytes = 0
        self._served: OrderedDict[tuple[bytes, bytes], tuple[float, int]] = OrderedDict()
        """(peer, root) -> when the count began, and chunks given since."""

    async def serve(self, peer: bytes, stream: Stream) -> None:
        """Answer one request on an inbound stream. Raises RemoteError for one that nobody understands."""
        if self._peers.get(peer, 0) >= STREAMS_PER_PEER_MAX:
            raise RemoteError("has too many transfers under way")
        self._peers[peer] = self._peers.get(peer, 0) + 1
        try:
            await self._answer(peer, stream)
        finally:
            self._peers[peer] -= 1
            if not self._peers[peer]:
                del self._peers[peer]

    async def _answer(self, peer: bytes, stream: Stream) -> None:
        with trio.fail_after(STALL_S):
            frame = await FrameReader(stream).next(REQUEST_BYTES_MAX)
        try:
            request = _requests[frame[:1]].decode(frame)
        except (KeyError, msgspec.MsgspecError):
            raise RemoteError("asked for a blob in a way nobody understands") from None
        if isinstance(request, pieces.PieceRequest):
            await self._answer_pieces(peer, stream, request)
        else:
            await self._answer_blob(peer, stream, request)

    async def _answer_pieces(self, peer: bytes, stream: Stream, request: pieces.PieceRequest) -> None:
        root, size, leaves = request.root, request.size_bytes, request.leaves()
        if not self._store.has(root) or self._store.size(root) != size:
            await stream.send_all(pack_frame(b""))
            return
        readable = self._may_read(peer, root)
        if readable is not None and readable >= merkle.chunk_count(size):
            if not self._charge(peer, root, size, len({leaf // pieces.FRAME_LEAVES for leaf in leaves})):
                raise RemoteError("asks for the same blob again and again")
        elif not self._may_have(peer, root, len(leaves)):
            await stream.send_all(pack_frame(b""))
            return
        view = self._store.mapped(root)
        nodes = await self._nodes_of(root, view)
        row = [nodes[i : i + merkle.HASH_BYTES] for i in range(0, len(nodes), merkle.HASH_BYTES)]
        proof = await _off_loop(merkle.prove_leaves, view, row, leaves)
        await self._give(peer, stream, b"".join(proof) or NO_NODES)
        for frame in pieces.frames(view, leaves):
            await self._give(peer, stream, frame)

    async def _answer_blob(self, peer: bytes, stream: Stream, request: BlobRequest) -> None:
        root, size = request.root, request.size_bytes
        readable = self._may_read(peer, root)
        if readable is None or not self._store.has(root) or self._store.size(root) != size:
            await stream.send_all(pack_frame(b""))
            return
        asked = range(min(request.first, merkle.chunk_count(size)), merkle.chunk_count(size))[: request.count]
        numbers = range(asked.start, max(asked.start, min(asked.stop, readable)))
        if not self._charge(peer, root, size, len(numbers)):
            raise RemoteError("asks for the same blob again and again")
        view = self._store.mapped(root)
        head = await self._nodes_of(root, view) if request.nodes else NO_NODES
        await self._give(peer, stream, head)
        for number in numbers:
            at = number * limits.BLOB_CHUNK_BYTES
            await self._give(peer, stream, bytes(view[at : at + limits.BLOB_CHUNK_BYTES]))
        if len(numbers) < len(asked):
            await self._give(peer, stream, b"")

    async def _give(self, peer: bytes, stream: Stream, frame: bytes) -> None:
        """Send one frame, as soon as the peer has earned what it had before."""
        while pause_s := self._rates.of(peer, trio.current_time()).spend(0, trio.current_time()):
            await trio.sleep(pause_s)
        async with self._all:
            self._rates.of(peer, trio.current_time()).spend(len(frame), trio.current_time())
            with trio.fail_after(STALL_S):
                await stream.send_all(pack_frame(frame))

    def _charge(self, peer: bytes, root: bytes, size: int, chunks: int) -> bool:
        """Count chunks of a blob that a peer asks for; False when it has had the whole often enough for now."""
        now = trio.current_time()
        since, given = self._served.pop((peer, root), (now, 0))
        if now - since > SERVINGS_S:
            since, given = now, 0
        fair = given + chunks <= max(SERVINGS_CHUNKS_MIN, SERVINGS_MAX * merkle.chunk_count(size))
        self._served[peer, root] = since, given + chunks if fair else given
        while len(self._served) > SERVED_MAX:
            self._served.popitem(last=False)
        return fair

    async def _nodes_of(self, root: bytes, view: memoryview) -> bytes:
        """The blob's nodes, remembered: hashing a whole blob for every request would be a peer's lever on us."""
        known = self._nodes.get(root)
        if known is not None:
            self._nodes.move_to_end(root)
            return known
        nodes = b"".join(await _off_loop(merkle.chunk_nodes, view)) or merkle.EMPTY_TOP
        if root not in self._nodes:
            self._nodes[root] = nodes
            self._nodes_bytes += len(nodes)
        while self._nodes_bytes > NODES_CACHED_BYTES_MAX and len(self._nodes) > 1:
            self._nodes_bytes -= len(self._nodes.popitem(last=False)[1])
        return nodes


async def fetch_blob(store: BlobStore, sources: Sequence[Source], root: bytes, size: int, bans: Bans) -> None:
    """Bring one blob into the store from sources that all hold it. Raises RemoteError when none of them gives the
    whole; what arrived until then is kept for the next try. Who sends a wrong byte goes into `bans`."""
    with store.partial(root, size) as partial:
        if partial is None:
            return
        await _Transfer(partial, sources, bans).run()
        await _off_loop(partial.finish)


class _Transfer:
    """One blob on its way in: its nodes once known, the spans still to come, the sources still trusted with it."""

    def __init__(self, partial: PartialBlob, sources: Sequence[Source], bans: Bans) -> None:
        self._partial, self._bans = partial, bans
        self._sources = [source for source in sources if (source.peer, partial.root) not in bans]
        self._first = sources[0] if sources else None
        self._spans = _spans(partial.missing(), len(self._sources))
        self._nodes: list[bytes] | None = None
        self._is_due = False
        self._fault = f"nobody is left who could be trusted with blob {partial.root.hex()[:16]}"

    async def run(self) -> None:
        """The nodes and the first span from the first source that has them, the rest from all in parallel."""
        span = self._spans.popleft() if self._spans else range(0)
        while self._nodes is None and self._sources:
            await self._try(self._sources[0], span, nodes=True)
        if self._nodes is not None:
            await self._recheck(self._nodes)
        while self._spans and self._sources:  # a source that fails leaves its span to the others
            async with trio.open_nursery() as nursery:
                for source in self._sources * STREAMS_PER_SOURCE:
                    nursery.start_soon(self._work, source)
        if self._is_due and self._partial.missing():
            size, chunk = self._partial.size, limits.BLOB_CHUNK_BYTES
            missing = sum(min(chunk, size - number * chunk) for number in self._partial.missing())
            raise PaymentDueError(self._fault, size - missing)
        if self._nodes is None or self._partial.missing():
            raise RemoteError(self._fault)

    async def _recheck(self, nodes: list[bytes]) -> None:
        """What an earlier try left is read once more; what the disk altered is fetched again."""
        before = set(self._partial.missing())
        await _off_loop(self._partial.recheck, lambda number, chunk: merkle.chunk_node(chunk) == nodes[number])
        self._spans.extend(_spans([n for n in self._partial.missing() if n not in before], 1))

    async def _work(self, source: Source) -> None:
        while self._spans and source in self._sources:
            await self._try(source, self._spans.popleft(), nodes=False)

    async def _try(self, source: Source, span: range, *, nodes: bool) -> None:
        """Have one span from one source. A source that fails is dropped, and what it did not give goes back in line."""
        name = self._partial.root.hex()[:16]
        request = BlobRequest(self._partial.root, self._partial.size, span.start, len(span), nodes)
        try:
            async with opened(source) as stream:
                with trio.fail_after(STALL_S):
                    await stream.send_all(pack_frame(msgspec.msgpack.encode(request)))
                await self._read(FrameReader(stream), span, nodes=nodes)
                return
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError) as error:
            self._fault = f"the transfer of blob {name} broke off ({type(error).__name__})"
        except PaymentDueError as error:
            self._fault, self._is_due = str(error), self._is_due or source is self._first
        except CorruptError as error:
            self._fault = str(error)
            self._bans.add(source.peer, self._partial.root)
        except HomeError:
            raise
        except (RemoteError, LocalError) as error:
            self._fault = str(error)
        if source in self._sources:
            self._sources.remove(source)
        if self._nodes is not None:
            self._spans.extend(_spans([n for n in self._partial.missing() if n in span], 1))

    async def _read(self, reader: FrameReader, span: range, *, nodes: bool) -> None:
        partial, name = self._partial, self._partial.root.hex()[:16]
        with trio.fail_after(STALL_S):
            head = await reader.next(NODES_BYTES_MAX)
        if not head:
            raise RemoteError(f"the peer does not give blob {name}")
        if nodes:
            self._nodes = _checked_nodes(head, partial.root, partial.size)
        assert self._nodes is not None
        for number in span:
            with trio.fail_after(STALL_S):
                chunk = await reader.next(limits.BLOB_CHUNK_BYTES)
            if not chunk:
                raise PaymentDueError(f"the peer gives no more of blob {name} until it is paid", 0)
            if merkle.chunk_node(chunk) != self._nodes[number]:  # 0.2 ms: a thread would cost more
                raise CorruptError(f"chunk {number} of blob {name} is corrupt")
            partial.write_at(number * limits.BLOB_CHUNK_BYTES, chunk, checked=True)


def _spans(missing: list[int], sources: int) -> deque[range]:
    """Runs of missing chunks, cut into pieces for this many sources."""
    length = max(SPAN_CHUNKS_MIN, len(missing) // max(1, sources * SPANS_PER_SOURCE))
    spans: deque[range] = deque()
    for number in missing:
        if spans and spans[-1].stop == number and len(spans[-1]) < length:
            spans[-1] = range(spans[-1].start, number + 1)
        else:
            spans.append(range(number, number + 1))
    return spans


def _checked_nodes(frame: bytes, root: bytes, size: int) -> list[bytes]:
    count = merkle.chunk_count(size)
    nodes = [frame[i : i + merkle.HASH_BYTES] for i in range(0, merkle.HASH_BYTES * count, merkle.HASH_BYTES)]
    if len(frame) != merkle.HASH_BYTES * max(count, 1) or merkle.blob_root_of_nodes(size, nodes) != root:
        raise CorruptError(f"the peer's description of blob {root.hex()[:16]} is wrong")
    return nodes
