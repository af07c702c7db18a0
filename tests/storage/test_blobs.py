from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from pathlib import Path

import numpy
import pytest
from blake3 import blake3
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from p2pcompute.errors import HomeError, LocalError, UsageError, VerificationError
from p2pcompute.storage import blobs as blobs_module
from p2pcompute.storage import partial as partial_module
from p2pcompute.storage.blobs import BlobStore
from p2pcompute.wire.limits import BLOB_CHUNK_BYTES, BUFFER_BYTES_MAX

BLOCK = blobs_module.DISK_BLOCK_BYTES


def root_of(data: bytes | memoryview) -> bytes:
    return blake3(data).digest()


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs", root_of)


def _file(directory: Path, root: bytes) -> Path:
    return directory / "blobs" / root.hex()[:2] / root.hex()


@pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 5000])
def test_a_blob_comes_back_from_a_new_process(tmp_path: Path, store: BlobStore, data: bytes) -> None:
    root, size = store.put(data)
    assert (root, size) == (root_of(data), len(data))
    again = BlobStore(tmp_path / "blobs", root_of)
    assert again.has(root)
    assert again.size(root) == len(data)
    assert again.read(root) == data
    assert bytes(again.mapped(root)) == data
    assert again.read_range(root, len(data) // 2, len(data) - len(data) // 2) == data[len(data) // 2 :]


def test_any_contiguous_memory_can_be_put(store: BlobStore) -> None:
    array = numpy.arange(1000, dtype=numpy.float32).reshape(10, 100)
    root, size = store.put(array.data)
    assert size == 4000
    assert store.read(root) == array.tobytes()


def test_putting_twice_keeps_one(store: BlobStore) -> None:
    assert store.put(b"same") == store.put(bytearray(b"same"))
    assert len(store) == 1
    assert store.used_bytes == BLOCK


def test_ranges_outside_are_refused(store: BlobStore) -> None:
    root, _ = store.put(b"abc")
    for offset, length in [(-1, 1), (0, 4), (3, 1), (0, -1)]:
        with pytest.raises(UsageError, match="lie outside"):
            store.read_range(root, offset, length)


def test_a_large_range_is_read_in_several_calls(store: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs_module, "_PREAD_BYTES_MAX", 7)
    root, _ = store.put(bytes(range(100)))
    assert store.read_range(root, 3, 50) == bytes(range(3, 53))


def test_an_absent_blob_is_named(store: BlobStore) -> None:
    root = root_of(b"absent")
    for call in (store.read, store.size, store.mapped):
        with pytest.raises(LocalError, match=root.hex()[:16]):
            call(root)
    assert not store.has(root)
    assert not store.delete(root)


def test_a_deleted_blob_is_gone_and_its_memory_lives_on(tmp_path: Path, store: BlobStore) -> None:
    root, _ = store.put(b"data")
    view = store.mapped(root)
    assert store.delete(root)
    assert not _file(tmp_path, root).exists()
    assert bytes(view) == b"data"
    assert store.used_bytes == 0


def test_damage_on_the_disk_is_found_and_the_blob_dropped(tmp_path: Path, store: BlobStore) -> None:
    root, _ = store.put(b"good content")
    _file(tmp_path, root).write_bytes(b"evil content")
    with pytest.raises(HomeError, match="was damaged on the disk"):
        store.read(root)
    assert not store.has(root)


def test_a_truncated_file_is_damage_for_every_reader(tmp_path: Path, store: BlobStore) -> None:
    for read in (lambda root: store.read_range(root, 0, 4), store.mapped, store.read):
        root, _ = store.put(b"data")
        _file(tmp_path, root).write_bytes(b"da")
        with pytest.raises(HomeError, match="was damaged on the disk"):
            read(root)
        assert not store.has(root)


def test_a_file_removed_behind_our_back_can_be_put_again(tmp_path: Path, store: BlobStore) -> None:
    root, _ = store.put(b"data")
    _file(tmp_path, root).unlink()
    store.put(b"data")
    assert store.read(root) == b"data"


def test_what_a_crash_left_half_written_is_removed(tmp_path: Path, store: BlobStore) -> None:
    (tmp_path / "blobs" / "new" / "leftover").write_bytes(b"half")
    BlobStore(tmp_path / "blobs", root_of)
    assert not list((tmp_path / "blobs" / "new").iterdir())


def test_files_that_are_no_blobs_are_left_alone(tmp_path: Path, store: BlobStore) -> None:
    shelf = tmp_path / "blobs" / "ab"
    shelf.mkdir()
    (shelf / "README").write_text("not a blob")
    assert len(BlobStore(tmp_path / "blobs", root_of)) == 0
    assert (shelf / "README").exists()


def test_a_full_disk_is_reported_and_leaves_nothing(
    tmp_path: Path, store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(HomeError, match="No space left"):
        store.put(b"data")
    assert not list((tmp_path / "blobs" / "new").iterdir())
    assert store.used_bytes == 0


# Quota ----------------------------------------------------------------------------------------------------------------


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    store = BlobStore(tmp_path / "blobs", root_of, quota_bytes=3 * BLOCK)
    first, second, third = (store.put(bytes([n]))[0] for n in range(3))
    store.read(first)
    store.put(b"fourth")
    assert [store.has(root) for root in (first, second, third)] == [True, False, True]


def test_the_order_of_use_outlives_the_process(tmp_path: Path) -> None:
    store = BlobStore(tmp_path / "blobs", root_of, quota_bytes=2 * BLOCK)
    first, second = store.put(b"1")[0], store.put(b"2")[0]
    os.utime(_file(tmp_path, second), (1, 1))
    again = BlobStore(tmp_path / "blobs", root_of, quota_bytes=2 * BLOCK)
    again.put(b"3")
    assert again.has(first)
    assert not again.has(second)


def test_pinned_blobs_stay_until_the_last_pin_goes(tmp_path: Path) -> None:
    store = BlobStore(tmp_path / "blobs", root_of, quota_bytes=BLOCK)
    root, _ = store.put(b"1")
    store.pin(root, "task-1")
    store.pin(root, "task-2")
    store.unpin("task-1")
    with pytest.raises(HomeError, match="the blob store is full"):
        store.put(b"2")
    store.unpin("task-2", root)
    store.put(b"2")
    assert not store.has(root)


def test_a_blob_may_be_pinned_before_it_comes(tmp_path: Path) -> None:
    store = BlobStore(tmp_path / "blobs", root_of, quota_bytes=BLOCK)
    store.pin(root_of(b"1"), "task")
    store.put(b"1")
    with pytest.raises(HomeError, match="full"):
        store.put(b"2")


def test_a_blob_can_be_pinned_as_it_is_put(tmp_path: Path) -> None:
    store = BlobStore(tmp_path / "blobs", root_of, quota_bytes=BLOCK)
    store.put(b"1", token="task")
    with pytest.raises(HomeError, match="full"):
        store.put(b"2", token="other")
    store.unpin("task")
    store.put(b"2")
    store.put(b"3")
    assert store.has(root_of(b"3"))


def test_pins_are_bounded(store: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs_module, "PINS_PER_BLOB_MAX", 1)
    monkeypatch.setattr(blobs_module, "PINNED_BLOBS_MAX", 1)
    store.pin(bytes(32), "a")
    store.pin(bytes(32), "a")
    for root, token in [(bytes(32), "b"), (b"\x01" * 32, "a")]:
        with pytest.raises(HomeError, match="too many"):
            store.pin(root, token)


def test_too_large_blobs_are_refused_before_any_work(store: BlobStore) -> None:
    with pytest.raises(UsageError, match="the limit is"), store.partial(bytes(32), BUFFER_BYTES_MAX + 1):
        pass
    with pytest.raises(UsageError, match="32 bytes, not 3"), store.partial(b"abc", 1):
        pass


# Partial blobs --------------------------------------------------------------------------------------------------------

TWO_CHUNKS_AND_A_BIT = os.urandom(1024) * (2 * BLOB_CHUNK_BYTES // 1024) + b"bit"


def _chunk(number: int) -> bytes:
    return TWO_CHUNKS_AND_A_BIT[number * BLOB_CHUNK_BYTES : (number + 1) * BLOB_CHUNK_BYTES]


def test_chunks_in_any_order_make_the_blob(store: BlobStore) -> None:
    root = root_of(TWO_CHUNKS_AND_A_BIT)
    with store.partial(root, len(TWO_CHUNKS_AND_A_BIT)) as partial:
        assert partial is not None
        for number in (2, 0, 1):
            assert number in partial.missing()
            partial.write_at(number * BLOB_CHUNK_BYTES, _chunk(number))
        partial.finish()
    assert store.read(root) == TWO_CHUNKS_AND_A_BIT
    with store.partial(root, len(TWO_CHUNKS_AND_A_BIT)) as again:
        assert again is None


def test_an_empty_blob_needs_no_chunk(store: BlobStore) -> None:
    with store.partial(root_of(b""), 0) as partial:
        assert partial is not None
        partial.finish()
    assert store.read(root_of(b"")) == b""


def test_a_broken_fetch_goes_on_where_it_stopped(tmp_path: Path, store: BlobStore) -> None:
    root, size = root_of(TWO_CHUNKS_AND_A_BIT), len(TWO_CHUNKS_AND_A_BIT)
    with contextlib.suppress(ConnectionError), store.partial(root, size) as partial:
        assert partial is not None
        partial.write_at(BLOB_CHUNK_BYTES, _chunk(1))
        raise ConnectionError
    again = BlobStore(tmp_path / "blobs", root_of)
    with again.partial(root, size) as partial:
        assert partial is not None
        assert partial.missing() == [0, 2]
        for number in partial.missing():
            partial.write_at(number * BLOB_CHUNK_BYTES, _chunk(number))
        partial.finish()
    assert again.read(root) == TWO_CHUNKS_AND_A_BIT
    assert not list((tmp_path / "blobs" / "partial").iterdir())


@pytest.mark.parametrize("content", [b"\x02\x00\x01", b"\x01", b"\x01" * 50])
def test_a_spoilt_map_means_starting_over(tmp_path: Path, store: BlobStore, content: bytes) -> None:
    root, size = root_of(TWO_CHUNKS_AND_A_BIT), len(TWO_CHUNKS_AND_A_BIT)
    with store.partial(root, size) as partial:
        assert partial is not None
        partial.write_at(0, _chunk(0))
    (spoilt,) = (tmp_path / "blobs" / "partial").glob("*.map")
    spoilt.write_bytes(content)
    with store.partial(root, size) as partial:
        assert partial is not None
        assert partial.missing() == [0, 1, 2]


def test_wrong_content_never_becomes_a_blob(tmp_path: Path, store: BlobStore) -> None:
    root = root_of(b"right")
    with store.partial(root, 5) as partial:
        assert partial is not None
        partial.write_at(0, b"wrong")
        with pytest.raises(VerificationError, match="has another content"):
            partial.finish()
    assert not store.has(root)
    assert not list((tmp_path / "blobs" / "partial").iterdir())
    assert store.used_bytes == 0


def test_an_unfinished_blob_cannot_be_finished(store: BlobStore) -> None:
    with store.partial(root_of(b"x"), 1) as partial:
        assert partial is not None
        with pytest.raises(LocalError, match="1 of 1 chunks"):
            partial.finish()


@pytest.mark.parametrize(
    ("offset", "length"), [(1, 10), (0, 9), (0, 11), (-BLOB_CHUNK_BYTES, 10), (BLOB_CHUNK_BYTES, 0)]
)
def test_only_whole_chunks_in_their_place_are_taken(store: BlobStore, offset: int, length: int) -> None:
    with store.partial(root_of(b"x"), 10) as partial:
        assert partial is not None
        with pytest.raises(UsageError, match="are not a chunk"):
            partial.write_at(offset, bytes(length))


def test_one_fetch_per_blob_at_a_time(store: BlobStore) -> None:
    with store.partial(root_of(b"x"), 1), pytest.raises(LocalError, match="being fetched already"):
        with store.partial(root_of(b"x"), 1):
            pass
    with store.partial(root_of(b"x"), 1) as partial:
        assert partial is not None


def test_a_blob_put_while_it_is_fetched_is_counted_once(store: BlobStore) -> None:
    with store.partial(root_of(b"x"), 1) as partial:
        assert partial is not None
        store.put(b"x")
        partial.write_at(0, b"x")
        partial.finish()
    assert store.used_bytes == BLOCK
    assert store.read(root_of(b"x")) == b"x"


def test_room_is_held_while_a_blob_comes_in(tmp_path: Path) -> None:
    store = BlobStore(tmp_path / "blobs", root_of, quota_bytes=2 * BLOCK)
    with store.partial(root_of(b"x"), 2 * BLOCK), pytest.raises(HomeError, match="full"):
        store.put(b"other")
    store.put(b"other")


def test_old_interrupted_fetches_are_forgotten(tmp_path: Path, store: BlobStore) -> None:
    names = []
    for number in range(3):
        data = bytes([number]) * BLOCK
        with store.partial(root_of(data), 2 * BLOB_CHUNK_BYTES) as partial:
            assert partial is not None
            partial.write_at(0, os.urandom(BLOB_CHUNK_BYTES))
        names.append(f"{root_of(data).hex()}.{2 * BLOB_CHUNK_BYTES}")
    directory = tmp_path / "blobs" / "partial"
    for age, name in enumerate(names):
        os.utime(directory / name, (1000 + age, 1000 + age))
    partial_module.forget_oldest(directory, 2 * BLOB_CHUNK_BYTES + 64 * 1024)
    assert [(directory / name).exists() for name in names] == [False, True, True]


# Against a model ------------------------------------------------------------------------------------------------------

CONTENTS = st.integers(min_value=0, max_value=9).map(lambda n: bytes([n]) * (n * 1500))


class StoreAgainstModel(RuleBasedStateMachine):
    """Any order of calls and restarts: what the store has is what it was given and did not evict, within the quota."""

    def __init__(self) -> None:
        super().__init__()
        self.temporary = tempfile.TemporaryDirectory()
        self.pinned: set[bytes] = set()
        self.given: dict[bytes, bytes] = {}
        self.restart()

    def teardown(self) -> None:
        self.temporary.cleanup()

    @rule()
    def restart(self) -> None:
        self.store = BlobStore(Path(self.temporary.name), root_of, quota_bytes=6 * BLOCK)
        for root in self.pinned:
            self.store.pin(root, "pin")

    @rule(data=CONTENTS)
    def put(self, data: bytes) -> None:
        try:
            root, _ = self.store.put(data)
        except HomeError:
            assert self.pinned
            return
        self.given[root] = data
        assert self.store.read(root) == data

    @precondition(lambda self: self.given)
    @rule(data=st.data())
    def pin(self, data: st.DataObject) -> None:
        root = data.draw(st.sampled_from(sorted(self.given)))
        if self.store.has(root):
            self.store.pin(root, "pin")
            self.pinned.add(root)

    @rule()
    def unpin(self) -> None:
        self.store.unpin("pin")
        self.pinned.clear()

    @precondition(lambda self: self.given)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        root = data.draw(st.sampled_from(sorted(self.given)))
        self.store.delete(root)
        self.store.unpin("pin", root)
        self.pinned.discard(root)
        assert not self.store.has(root)

    @invariant()
    def within_quota_and_pins_kept(self) -> None:
        assert self.store.used_bytes <= self.store.quota_bytes
        for root, data in self.given.items():
            if self.store.has(root):
                assert self.store.read_range(root, 0, len(data)) == data
            else:
                assert root not in self.pinned


TestStoreAgainstModel = StoreAgainstModel.TestCase
