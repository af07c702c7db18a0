"""Binary Merkle trees over BLAKE3, for blobs and for commitments.

    leaf(i)  = blake3(0x00 || bytes of leaf i)
    node     = blake3(0x01 || left || right)        the left child covers the largest power of two below n (RFC 6962)
    root     = blake3(0x02 || total length, 8 bytes little-endian || top node)

The tags keep a leaf from passing as a node; the length in the root fixes how many leaves there are. A blob's leaves
are 4 KiB; 64 of them form a chunk, the unit of transfer, and a chunk is always a complete subtree, so the list of
chunk nodes proves each chunk alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from blake3 import blake3

from p2pcompute.wire.limits import BLOB_CHUNK_BYTES, BLOB_LEAF_BYTES

HASH_BYTES: Final = 32
EMPTY_TOP: Final = bytes(HASH_BYTES)
"""Top node of a tree without leaves."""


def leaf_hash(data: bytes | memoryview) -> bytes:
    """32 bytes. In one piece: an `update` costs twice as much as the copy."""
    return blake3(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """32 bytes."""
    return blake3(b"\x01" + left + right).digest()


def top_of(hashes: Sequence[bytes]) -> bytes:
    """The node over a row of nodes, all but the last covering equally many leaves (a power of two).

    Pairing neighbours level by level and carrying an odd one up gives exactly RFC 6962's shape.
    """
    if not hashes:
        return EMPTY_TOP
    row = list(hashes)
    while len(row) > 1:
        above = [node_hash(row[i], row[i + 1]) for i in range(0, len(row) - 1, 2)]
        if len(row) % 2:
            above.append(row[-1])
        row = above
    return row[0]


def root_of_top(total_bytes: int, top: bytes) -> bytes:
    """The root that binds a top node to a length."""
    return blake3(b"\x02" + total_bytes.to_bytes(8, "little") + top).digest()


def chunk_node(chunk: bytes | memoryview) -> bytes:
    """The node over one chunk of a blob: up to 64 leaves of 4 KiB."""
    view = memoryview(chunk)
    return top_of([leaf_hash(view[i : i + BLOB_LEAF_BYTES]) for i in range(0, len(view), BLOB_LEAF_BYTES)])


def chunk_count(total_bytes: int) -> int:
    """How many chunks a blob of this length has."""
    return -(-total_bytes // BLOB_CHUNK_BYTES)


def chunk_nodes(data: bytes | memoryview) -> list[bytes]:
    """The chunk nodes of a whole blob, in order."""
    view = memoryview(data).cast("B") if memoryview(data).nbytes else memoryview(b"")
    return [chunk_node(view[i : i + BLOB_CHUNK_BYTES]) for i in range(0, len(view), BLOB_CHUNK_BYTES)]


def blob_root_of_nodes(total_bytes: int, nodes: Sequence[bytes]) -> bytes:
    """The blob's root, from its chunk nodes."""
    return root_of_top(total_bytes, top_of(nodes))


def blob_root(data: bytes | memoryview) -> bytes:
    """The 32-byte content address of a blob."""
    return blob_root_of_nodes(memoryview(data).nbytes, chunk_nodes(data))


def fields_root(fields: Sequence[bytes]) -> bytes:
    """Root of a tree with one leaf per field; each leaf is bound to its index, so that fields cannot trade places."""
    leaves = [leaf_hash(i.to_bytes(4, "little") + field) for i, field in enumerate(fields)]
    return root_of_top(len(fields), top_of(leaves))
