"""Single leaves of a blob that a peer has, proven against its root, for whoever needs little of it.

    request   frame: [root, size in bytes, [[first leaf, leaves], …]]: runs ascending, none meets another
    answer    frame: the nodes of the proof, 32 bytes each (none needed: one zero byte; refused: empty);
              then the leaves in order, 64 in a frame, the last frame of an answer shorter

A request of another length than a blob's: both come over one protocol (exchange.py serves them).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Final

import msgspec
import trio

from p2pcompute.errors import RemoteError
from p2pcompute.node.sources import STALL_S, CorruptError, Source, opened
from p2pcompute.transport.channels import FrameReader, pack_frame
from p2pcompute.wire import limits, merkle
from p2pcompute.wire.fraud import Piece

LEAF: Final = limits.BLOB_LEAF_BYTES
FRAME_LEAVES: Final = limits.BLOB_CHUNK_BYTES // LEAF
Count = Annotated[int, msgspec.Meta(ge=1, le=limits.PIECE_LEAVES_MAX)]
Place = Annotated[int, msgspec.Meta(ge=0, lt=2**32)]


class PieceRequest(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """What a peer asks for."""

    root: Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
    size_bytes: Annotated[int, msgspec.Meta(ge=0, le=limits.BUFFER_BYTES_MAX)]
    ranges: Annotated[tuple[tuple[Place, Count], ...], msgspec.Meta(min_length=1, max_length=limits.PIECE_RANGES_MAX)]

    def leaves(self) -> list[int]:
        """The leaves' numbers, ascending. Raises RemoteError for runs that nobody asks for in this way."""
        found: list[int] = []
        for first, count in self.ranges:
            if (found and first <= found[-1]) or first + count > merkle.leaf_count(self.size_bytes):
                raise RemoteError("asked for leaves out of order or outside of their blob")
            found.extend(range(first, first + count))
        if len(found) > limits.PIECE_LEAVES_MAX:
            raise RemoteError(f"asked for {len(found)} leaves at once; {limits.PIECE_LEAVES_MAX} are given")
        return found


def frames(data: memoryview, leaves: Sequence[int]) -> Iterator[bytes]:
    """These leaves as they travel."""
    for start in range(0, len(leaves), FRAME_LEAVES):
        yield b"".join(data[n * LEAF : (n + 1) * LEAF] for n in leaves[start : start + FRAME_LEAVES])


async def fetch_pieces(source: Source, root: bytes, size: int, leaves: Sequence[int]) -> list[Piece]:
    """These leaves of a blob (ascending, no two alike), each proven. Raises RemoteError when the source does not give
    all of them, CorruptError when it sends others; LocalError when it cannot be reached.
    """
    found: list[Piece] = []
    for portion in portions(leaves):
        request = PieceRequest(root, size, tuple(_ranges(portion)))
        try:
            async with opened(source) as stream:
                with trio.fail_after(STALL_S):
                    await stream.send_all(pack_frame(msgspec.msgpack.encode(request)))
                found.append(await _answer(FrameReader(stream), request))
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError) as error:
            raise RemoteError(f"pieces of blob {root.hex()[:16]} did not come ({type(error).__name__})") from error
    return found


async def _answer(reader: FrameReader, request: PieceRequest) -> Piece:
    """All of it is read before any of it is believed: 4 MiB at most."""
    name, size, leaves = request.root.hex()[:16], request.size_bytes, request.leaves()
    nodes = len(merkle.proof_places(merkle.leaf_count(size), leaves))
    with trio.fail_after(STALL_S):
        head = await reader.next(max(1, merkle.HASH_BYTES * nodes))
    if not head:
        raise RemoteError(f"the peer gives no pieces of blob {name}")
    data: list[bytes] = []
    for start in range(0, len(leaves), FRAME_LEAVES):
        wanted = sum(min(LEAF, size - n * LEAF) for n in leaves[start : start + FRAME_LEAVES])
        with trio.fail_after(STALL_S):
            data.append(await reader.next(wanted))
        if len(data[-1]) != wanted:
            raise CorruptError(f"a piece of blob {name} has another size")
    proof = tuple(head[i : i + merkle.HASH_BYTES] for i in range(0, merkle.HASH_BYTES * nodes, merkle.HASH_BYTES))
    piece = Piece(request.root, size, tuple(leaves), proof, b"".join(data))
    if len(head) != max(1, merkle.HASH_BYTES * nodes) or not piece.is_proven:
        raise CorruptError(f"a piece of blob {name} is corrupt")
    return piece


def portions(leaves: Sequence[int]) -> Iterator[Sequence[int]]:
    """Leaves (ascending), cut into what one request may ask for."""
    start = runs = 0
    for place, leaf in enumerate(leaves):
        begins_run = place == start or leaf != leaves[place - 1] + 1
        if place - start == limits.PIECE_LEAVES_MAX or (begins_run and runs == limits.PIECE_RANGES_MAX):
            yield leaves[start:place]
            start, runs, begins_run = place, 0, True
        runs += begins_run
    if leaves:
        yield leaves[start:]


def _ranges(leaves: Sequence[int]) -> list[tuple[int, int]]:
    """(first, count) of each run."""
    ranges: list[tuple[int, int]] = []
    for leaf in leaves:
        if ranges and sum(ranges[-1]) == leaf:
            ranges[-1] = ranges[-1][0], ranges[-1][1] + 1
        else:
            ranges.append((leaf, 1))
    return ranges
