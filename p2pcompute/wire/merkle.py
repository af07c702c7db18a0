"""Binary Merkle trees over BLAKE3, for blobs and for commitments.

    leaf(i)  = blake3(0x00 || bytes of leaf i)
    node     = blake3(0x01 || left || right)        the left child covers the largest power of two below n (RFC 6962)
    root     = blake3(0x02 || total length, 8 bytes little-endian || top node)

The tags keep a leaf from passing as a node; the length in the root fixes how many leaves there are. A blob's leaves
are 4 KiB; 64 of them form a chunk, the unit of transfer, and a chunk is always a complete subtree, so the list of
chunk nodes proves each chunk alone. Single leaves are proven by the fewest nodes that lead from them to the top.

A node has a level (0: leaves) and a place in its level; where a level has an odd end, that node stands in the level
above too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from blake3 import blake3

from p2pcompute.wire.limits import BLOB_CHUNK_BYTES, BLOB_LEAF_BYTES

HASH_BYTES: Final = 32
EMPTY_TOP: Final = bytes(HASH_BYTES)
"""Top node of a tree without leaves."""
CHUNK_LEVELS: Final = (BLOB_CHUNK_BYTES // BLOB_LEAF_BYTES).bit_length() - 1
"""Chunk nodes are that level."""


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
    return _rows(hashes)[-1][0] if hashes else EMPTY_TOP


def _rows(hashes: Sequence[bytes]) -> list[list[bytes]]:
    """Level by level, the given one first, the top last."""
    rows = [list(hashes)]
    while len(rows[-1]) > 1:
        row = rows[-1]
        above = [node_hash(row[i], row[i + 1]) for i in range(0, len(row) - 1, 2)]
        if len(row) % 2:
            above.append(row[-1])
        rows.append(above)
    return rows


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


def leaf_count(total_bytes: int) -> int:
    """How many leaves a blob of this length has."""
    return -(-total_bytes // BLOB_LEAF_BYTES)


def proof_places(count: int, leaves: Sequence[int]) -> list[tuple[int, int]]:
    """(level, place) of the nodes that prove these leaves (ascending, no two alike) of a tree of `count`: the lowest
    level first, each from left to right. None is needed that follows from the leaves and the other nodes.
    """
    places: list[tuple[int, int]] = []
    row, width, level = list(leaves), count, 0
    while width > 1:
        known = set(row)
        places += [(level, place ^ 1) for place in row if place ^ 1 < width and place ^ 1 not in known]
        row, width, level = list(dict.fromkeys(place >> 1 for place in row)), (width + 1) // 2, level + 1
    return places


def prove_leaves(data: bytes | memoryview, nodes: Sequence[bytes], leaves: Sequence[int]) -> list[bytes]:
    """The nodes of `proof_places` for these leaves of a whole blob, whose chunk nodes are given. Hashes the chunks in
    which these leaves lie, and no other.
    """
    view, above = memoryview(data), _rows(nodes)
    chunks: dict[int, list[list[bytes]]] = {}
    proof = []
    for level, place in proof_places(leaf_count(view.nbytes), leaves):
        if level >= CHUNK_LEVELS:
            proof.append(above[level - CHUNK_LEVELS][place])
            continue
        chunk, inside = divmod(place, 1 << (CHUNK_LEVELS - level))
        if chunk not in chunks:
            part = view[chunk * BLOB_CHUNK_BYTES : (chunk + 1) * BLOB_CHUNK_BYTES]
            chunks[chunk] = _rows(
                [leaf_hash(part[i : i + BLOB_LEAF_BYTES]) for i in range(0, part.nbytes, BLOB_LEAF_BYTES)]
            )
        proof.append(chunks[chunk][level][inside])
    return proof


def root_of_leaves(total_bytes: int, leaves: Mapping[int, bytes], proof: Sequence[bytes]) -> bytes:
    """The root of a blob of this length that has these leaves (number -> content, not empty) by this proof. Raises
    ValueError when the proof has another number of nodes.
    """
    width = leaf_count(total_bytes)
    given = dict(zip(proof_places(width, sorted(leaves)), proof, strict=True))
    row, level = {number: leaf_hash(content) for number, content in leaves.items()}, 0
    while width > 1:
        row |= {place: node for (at, place), node in given.items() if at == level}
        row = {
            place >> 1: node_hash(node, row[place + 1]) if place + 1 < width else node
            for place, node in row.items()
            if place % 2 == 0
        }
        width, level = (width + 1) // 2, level + 1
    return root_of_top(total_bytes, row[0])


def fields_root(fields: Sequence[bytes]) -> bytes:
    """Root of a tree with one leaf per field; each leaf is bound to its index, so that fields cannot trade places."""
    leaves = [leaf_hash(i.to_bytes(4, "little") + field) for i, field in enumerate(fields)]
    return root_of_top(len(fields), top_of(leaves))
