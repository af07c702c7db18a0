"""Trees against the definition in RFC 6962, section 2.1, written down independently."""

from __future__ import annotations

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pcompute.wire import limits, merkle


def reference_top(leaves: list[bytes]) -> bytes:
    """MTH(D[n]) with our tags and hash: split at the largest power of two below n."""
    if not leaves:
        return bytes(32)
    if len(leaves) == 1:
        return blake3(b"\x00" + leaves[0]).digest()
    k = 1 << (len(leaves) - 1).bit_length() - 1
    return blake3(b"\x01" + reference_top(leaves[:k]) + reference_top(leaves[k:])).digest()


def reference_root(data: bytes) -> bytes:
    leaves = [data[i : i + 4096] for i in range(0, len(data), 4096)]
    return blake3(b"\x02" + len(data).to_bytes(8, "little") + reference_top(leaves)).digest()


def pattern(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


@pytest.mark.parametrize("leaves", range(40))
def test_the_shape_is_that_of_rfc_6962(leaves: int) -> None:
    data = [bytes([i]) for i in range(leaves)]
    assert merkle.top_of([merkle.leaf_hash(x) for x in data]) == reference_top(data)


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 262_143, 262_144, 262_145, 3 * 262_144 + 5_000])
def test_a_blob_root_is_the_reference_root(size: int) -> None:
    assert merkle.blob_root(pattern(size)) == reference_root(pattern(size))


@settings(max_examples=25)
@given(st.integers(0, 900_000))
def test_chunk_nodes_prove_each_chunk_alone(size: int) -> None:
    data = pattern(size)
    nodes = merkle.chunk_nodes(data)
    assert len(nodes) == merkle.chunk_count(size)
    step = limits.BLOB_CHUNK_BYTES
    assert nodes == [merkle.chunk_node(data[i : i + step]) for i in range(0, size, step)]
    assert merkle.blob_root_of_nodes(size, nodes) == merkle.blob_root(data)


def test_a_changed_byte_changes_the_node_of_its_chunk_only() -> None:
    data = bytearray(pattern(600_000))
    before = merkle.chunk_nodes(bytes(data))
    data[300_000] ^= 1
    after = merkle.chunk_nodes(bytes(data))
    assert [a == b for a, b in zip(before, after)] == [True, False, True]


def test_the_root_is_bound_to_the_length() -> None:
    top = merkle.top_of([merkle.leaf_hash(b"x")])
    assert merkle.root_of_top(1, top) != merkle.root_of_top(2, top)
    assert merkle.blob_root(b"") != merkle.blob_root(b"\x00")


def test_a_leaf_cannot_pass_as_a_node() -> None:
    left, right = merkle.leaf_hash(b"l"), merkle.leaf_hash(b"r")
    assert merkle.leaf_hash(left + right) != merkle.node_hash(left, right)


def test_a_memoryview_of_any_item_size_gives_the_bytes_root() -> None:
    data = pattern(8_192)
    assert merkle.blob_root(memoryview(data).cast("I")) == merkle.blob_root(data)


fields = st.lists(st.binary(max_size=6), min_size=2, max_size=6)


@given(fields, st.data())
def test_fields_cannot_trade_places(row: list[bytes], data: st.DataObject) -> None:
    order = data.draw(st.permutations(row))
    assert (merkle.fields_root(order) == merkle.fields_root(row)) == (order == row)


@given(fields)
def test_fields_cannot_be_added_dropped_or_merged(row: list[bytes]) -> None:
    root = merkle.fields_root(row)
    assert root not in (
        merkle.fields_root([*row, b""]),
        merkle.fields_root(row[:-1]),
        merkle.fields_root([row[0] + row[1], *row[2:]]),
    )


@given(fields)
def test_each_field_is_bound_to_its_index(row: list[bytes]) -> None:
    top = reference_top([i.to_bytes(4, "little") + field for i, field in enumerate(row)])
    assert merkle.fields_root(row) == blake3(b"\x02" + len(row).to_bytes(8, "little") + top).digest()


def leaves_of(data: bytes, numbers: list[int]) -> dict[int, bytes]:
    return {n: data[n * 4096 : (n + 1) * 4096] for n in numbers}


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 900_000))
def test_leaves_are_proven_by_the_fewest_nodes(data: st.DataObject, size: int) -> None:
    blob, count = pattern(size), merkle.leaf_count(size)
    numbers = sorted(data.draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=9)))
    proof = merkle.prove_leaves(blob, merkle.chunk_nodes(blob), numbers)
    assert merkle.root_of_leaves(size, leaves_of(blob, numbers), proof) == merkle.blob_root(blob)
    assert len(proof) <= len(numbers) * (count - 1).bit_length()
    assert len(set(merkle.proof_places(count, numbers))) == len(proof)


def test_all_leaves_need_no_proof() -> None:
    blob = pattern(50_000)
    numbers = list(range(merkle.leaf_count(len(blob))))
    assert merkle.prove_leaves(blob, merkle.chunk_nodes(blob), numbers) == []
    assert merkle.root_of_leaves(len(blob), leaves_of(blob, numbers), []) == merkle.blob_root(blob)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_proof_holds_for_nothing_else(data: st.DataObject) -> None:
    size = 700_001
    blob, count = pattern(size), merkle.leaf_count(size)
    numbers = sorted(data.draw(st.sets(st.integers(0, count - 2), min_size=1, max_size=5)))
    proof = merkle.prove_leaves(blob, merkle.chunk_nodes(blob), numbers)
    leaves, root = leaves_of(blob, numbers), merkle.blob_root(blob)
    one, bit = data.draw(st.sampled_from(numbers)), data.draw(st.integers(0, 8 * 4096 - 1))
    changed = bytearray(leaves[one])
    changed[bit // 8] ^= 1 << bit % 8
    assert merkle.root_of_leaves(size, {**leaves, one: bytes(changed)}, proof) != root
    node = data.draw(st.integers(0, len(proof) - 1))
    assert merkle.root_of_leaves(size, leaves, [*proof[:node], bytes(32), *proof[node + 1 :]]) != root
    assert merkle.root_of_leaves(size + 1, leaves, proof) != root
    with pytest.raises(ValueError, match="zip"):
        merkle.root_of_leaves(size, leaves, proof[:-1])
    with pytest.raises(ValueError, match="zip"):
        merkle.root_of_leaves(size, leaves, [*proof, bytes(32)])


def test_leaves_do_not_pass_for_their_neighbours() -> None:
    blob = bytes(range(200)) * 4096
    proof = merkle.prove_leaves(blob, merkle.chunk_nodes(blob), [7])
    leaf = leaves_of(blob, [7])[7]
    found = [n for n in range(64) if len(merkle.proof_places(200, [n])) == len(proof)]
    assert [n for n in found if merkle.root_of_leaves(len(blob), {n: leaf}, proof) == merkle.blob_root(blob)] == [7]
