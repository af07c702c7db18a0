"""Blobs between peers: one stream per blob, verified chunk by chunk.

    request   frame: [root, size in bytes, first chunk, number of chunks]
    answer    frame: the blob's chunk nodes, 32 bytes each (empty: refused), then one frame per chunk, in order

The nodes are checked against the root before the first chunk, each chunk against its node before it is kept: a wrong
byte is noticed within 256 KiB, and the rest of an interrupted transfer can come from anyone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final

import msgspec
import trio

from p2pcompute.errors import HomeError, LocalError, RemoteError
from p2pcompute.storage.blobs import BlobStore
from p2pcompute.storage.partial import PartialBlob
from p2pcompute.transport.channels import FrameReader, pack_frame
from p2pcompute.transport.mux import Stream
from p2pcompute.wire import limits, merkle

PROTOCOL: Final = "/p2pcompute/blob/1"
REQUEST_BYTES_MAX: Final = 128
NODES_BYTES_MAX: Final = merkle.HASH_BYTES * (limits.BUFFER_BYTES_MAX // limits.BLOB_CHUNK_BYTES)
STALL_S: Final = 30.0
"""A transfer in which nothing moves for so long is over."""

MayRead = Callable[[bytes, bytes], bool]
"""(peer, root) -> whether the peer was granted the blob."""


class BlobRequest(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """What a peer asks for."""

    root: Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
    size_bytes: Annotated[int, msgspec.Meta(ge=0, le=limits.BUFFER_BYTES_MAX)]
    first: Annotated[int, msgspec.Meta(ge=0, lt=2**32)]
    count: Annotated[int, msgspec.Meta(ge=0, lt=2**32)]


_requests = msgspec.msgpack.Decoder(BlobRequest)
_off_loop = trio.to_thread.run_sync


async def serve_blob(store: BlobStore, may_read: MayRead, peer: bytes, stream: Stream) -> None:
    """Answer one request on an inbound stream."""
    with trio.fail_after(STALL_S):
        frame = await FrameReader(stream).next(REQUEST_BYTES_MAX)
    try:
        request = _requests.decode(frame)
    except msgspec.MsgspecError:
        raise RemoteError("asked for a blob in a way nobody understands") from None
    root, size = request.root, request.size_bytes
    if not may_read(peer, root) or not store.has(root) or store.size(root) != size:
        await stream.send_all(pack_frame(b""))
        return
    view = store.mapped(root)
    nodes = await _off_loop(merkle.chunk_nodes, view)
    with trio.fail_after(STALL_S):
        await stream.send_all(pack_frame(b"".join(nodes) or merkle.EMPTY_TOP))
    last = min(request.first + request.count, len(nodes))
    for number in range(request.first, last):
        at = number * limits.BLOB_CHUNK_BYTES
        with trio.fail_after(STALL_S):
            await stream.send_all(pack_frame(bytes(view[at : at + limits.BLOB_CHUNK_BYTES])))


async def fetch_blob(store: BlobStore, stream: Stream, root: bytes, size: int) -> None:
    """Bring one blob into the store over a fresh stream. Raises RemoteError when the peer refuses, lies or breaks off;
    what arrived until then is kept for the next try."""
    with store.partial(root, size) as partial:
        if partial is None:
            return
        missing = partial.missing()
        first, count = (missing[0], missing[-1] - missing[0] + 1) if missing else (0, 0)
        request = BlobRequest(root, size, first, count)
        try:
            with trio.fail_after(STALL_S):
                await stream.send_all(pack_frame(msgspec.msgpack.encode(request)))
            reader = FrameReader(stream)
            nodes = await _read_nodes(reader, root, size)
            await _read_chunks(reader, partial, nodes, first, count)
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError) as error:
            raise RemoteError(f"the transfer of blob {root.hex()[:16]} broke off: {error!r}") from error
        await _off_loop(partial.finish)


async def _read_nodes(reader: FrameReader, root: bytes, size: int) -> list[bytes]:
    with trio.fail_after(STALL_S):
        frame = await reader.next(NODES_BYTES_MAX)
    count = merkle.chunk_count(size)
    if not frame:
        raise RemoteError(f"the peer does not give blob {root.hex()[:16]}")
    nodes = [frame[i : i + merkle.HASH_BYTES] for i in range(0, merkle.HASH_BYTES * count, merkle.HASH_BYTES)]
    if len(frame) != merkle.HASH_BYTES * max(count, 1) or merkle.blob_root_of_nodes(size, nodes) != root:
        raise RemoteError(f"the peer's description of blob {root.hex()[:16]} is wrong")
    return nodes


async def _read_chunks(reader: FrameReader, partial: PartialBlob, nodes: list[bytes], first: int, count: int) -> None:
    have = set(range(first, first + count)).difference(partial.missing())
    for number in range(first, first + count):
        with trio.fail_after(STALL_S):
            chunk = await reader.next(limits.BLOB_CHUNK_BYTES)
        if number in have:
            continue
        if await _off_loop(merkle.chunk_node, chunk) != nodes[number]:
            raise RemoteError(f"chunk {number} of blob {partial.root.hex()[:16]} is corrupt")
        try:
            partial.write_at(number * limits.BLOB_CHUNK_BYTES, chunk)
        except LocalError as error:
            if isinstance(error, HomeError):
                raise
            raise RemoteError(f"chunk {number} of blob {partial.root.hex()[:16]} has the wrong length") from error
