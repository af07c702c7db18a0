from __future__ import annotations

import shutil
import sqlite3
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from p2pcompute.errors import HomeError, UsageError
from p2pcompute.storage import journal as journal_module
from p2pcompute.storage.journal import Journal


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


def test_records_come_back_in_order_after_reopening(path: Path) -> None:
    with Journal.create(path) as journal:
        assert journal.append([b"a", b""]) == [1, 2]
        assert journal.append([b"c"]) == [3]
    with Journal.open(path) as journal:
        assert list(journal.replay()) == [(1, b"a"), (2, b""), (3, b"c")]
        assert list(journal.replay(after_lsn=2)) == [(3, b"c")]
        assert journal.append([b"d"]) == [4]


def test_replay_reads_in_slices(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "REPLAY_ROWS", 3)
    bodies = [str(n).encode() for n in range(10)]
    with Journal.create(path) as journal:
        journal.append(bodies)
        assert [body for _, body in journal.replay()] == bodies


def test_a_journal_is_never_created_over_another(path: Path) -> None:
    Journal.create(path).close()
    with pytest.raises(HomeError, match="exists already"):
        Journal.create(path)


def test_each_journal_has_its_own_epoch_and_keeps_it(path: Path, tmp_path: Path) -> None:
    with Journal.create(path) as first, Journal.create(tmp_path / "other.db") as second:
        assert len(first.epoch) == 8
        assert first.epoch != second.epoch
        epoch = first.epoch
    with Journal.open(path) as again:
        assert again.epoch == epoch


def test_a_new_epoch_outlives_the_process_and_keeps_the_records(path: Path) -> None:
    with Journal.create(path) as journal:
        old = journal.epoch
        journal.append([b"a"])
        new = journal.begin_new_epoch()
    with Journal.open(path) as again:
        assert again.epoch == new != old
        assert list(again.replay()) == [(1, b"a")]


def test_the_newest_snapshot_replaces_the_older(path: Path) -> None:
    with Journal.create(path) as journal:
        assert journal.latest_snapshot() is None
        journal.append([b"a", b"b"])
        journal.snapshot(1, b"one")
        journal.snapshot(2, b"two")
    with Journal.open(path) as again:
        assert again.latest_snapshot() == (2, b"two")


def test_an_empty_snapshot_is_a_snapshot(path: Path) -> None:
    with Journal.create(path) as journal:
        journal.snapshot(0, b"")
        assert journal.latest_snapshot() == (0, b"")


def test_a_snapshot_larger_than_one_row_comes_back_whole(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "PIECE_BYTES", 10)
    state = bytes(range(256))
    with Journal.create(path) as journal:
        journal.snapshot(0, state)
        assert journal.latest_snapshot() == (0, state)


def test_a_snapshot_must_stand_for_records_that_are_there(path: Path) -> None:
    with Journal.create(path) as journal:
        journal.append([b"a", b"b", b"c"])
        journal.snapshot(2, b"ab")
        journal.compact()
        for lsn in (1, 4, -1):
            with pytest.raises(UsageError, match=f"no snapshot at record {lsn}; the journal has 3 to 3"):
                journal.snapshot(lsn, b"")
        assert journal.latest_snapshot() == (2, b"ab")


def test_numbering_goes_on_after_all_records_are_compacted(path: Path) -> None:
    with Journal.create(path) as journal:
        journal.append([b"a", b"b", b"c"])
        journal.snapshot(3, b"abc")
        assert journal.compact() == 3
    with Journal.open(path) as again:
        assert list(again.replay()) == []
        assert again.append([b"d"]) == [4]
        assert list(again.replay(after_lsn=3)) == [(4, b"d")]


def test_compaction_keeps_what_no_snapshot_covers(path: Path) -> None:
    with Journal.create(path) as journal:
        journal.append([b"a", b"b"])
        assert journal.compact() == 0
        journal.snapshot(1, b"a")
        assert journal.compact() == 1
        assert list(journal.replay()) == [(2, b"b")]


def test_compaction_keeps_what_is_asked_for(path: Path) -> None:
    with Journal.create(path) as journal:
        journal.append([b"a", b"b", b"c"])
        journal.snapshot(3, b"abc")
        assert journal.compact(keep_after_lsn=1) == 1
        assert [lsn for lsn, _ in journal.replay()] == [2, 3]


def test_compaction_gives_the_space_back(path: Path) -> None:
    with Journal.create(path) as journal:
        journal.append([bytes(100_000)] * 20)
        journal.snapshot(20, b"")
        journal.compact()
    assert path.stat().st_size < 100_000


def test_an_oversized_record_is_refused_and_the_journal_lives(path: Path) -> None:
    with Journal.create(path) as journal:
        with pytest.raises(UsageError, match="the limit is"):
            journal.append([b"fine", bytes(journal_module.RECORD_BYTES_MAX + 1)])
        assert journal.append([bytes(journal_module.RECORD_BYTES_MAX)]) == [1]


def test_a_second_opener_is_refused(path: Path) -> None:
    with Journal.create(path), pytest.raises(HomeError, match="in use by another process"):
        Journal.open(path)


def test_a_missing_journal_is_not_made_anew(path: Path) -> None:
    with pytest.raises(HomeError, match="is missing; restore"):
        Journal.open(path)
    assert not path.exists()


@pytest.mark.parametrize("content", [b"", b"not a database, but long enough to look" * 40])
def test_a_foreign_file_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(HomeError, match="is damaged"):
        Journal.open(path)


def test_a_journal_of_a_later_version_is_refused(path: Path) -> None:
    Journal.create(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(HomeError, match="format 99, this version reads 1; update"):
        Journal.open(path)


def _alter(path: Path, statement: str) -> None:
    with sqlite3.connect(path) as db:
        db.execute(statement)
    db.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE record SET body = x'00' WHERE lsn = 2",
        "DELETE FROM record WHERE lsn = 2",
        "UPDATE record SET lsn = 9 WHERE lsn = 3",
    ],
)
def test_an_altered_record_stops_the_replay(path: Path, statement: str) -> None:
    with Journal.create(path) as journal:
        journal.append([b"a", b"b", b"c"])
    _alter(path, statement)
    with Journal.open(path) as journal, pytest.raises(HomeError, match=r"record [23]"):
        list(journal.replay())


def test_an_altered_snapshot_is_refused(path: Path) -> None:
    with Journal.create(path) as journal:
        journal.snapshot(0, b"state")
    _alter(path, "UPDATE snapshot SET body = x'00'")
    with Journal.open(path) as journal, pytest.raises(HomeError, match="the snapshot at record 0"):
        journal.latest_snapshot()


def test_a_flipped_page_is_noticed_on_opening(path: Path) -> None:
    with Journal.create(path) as journal:
        journal.append([bytes(3_000)] * 50)
    data = bytearray(path.read_bytes())
    for page in range(2, len(data) // 4096):
        data[page * 4096] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(HomeError, match="is damaged"):
        Journal.open(path)


def test_a_failed_write_poisons_the_journal(path: Path) -> None:
    with Journal.create(path) as journal:
        journal.append([b"a"])
        pages = journal._db.execute("PRAGMA page_count").fetchone()[0]
        journal._db.execute(f"PRAGMA max_page_count = {pages}")  # what a full disk looks like to SQLite
        with pytest.raises(HomeError, match=r"full.*make room on the disk"):
            journal.append([bytes(500_000)])
        journal._db.execute("PRAGMA max_page_count = 1000000")
        with pytest.raises(HomeError, match="nothing more is written"):
            journal.append([b"small"])
    with Journal.open(path) as again:
        assert list(again.replay()) == [(1, b"a")]


def test_a_closed_journal_says_so(path: Path) -> None:
    journal = Journal.create(path)
    journal.close()
    with pytest.raises(HomeError, match="is closed"):
        journal.append([b"a"])


@settings(max_examples=60, deadline=None)
@given(
    batches=st.lists(st.lists(st.binary(max_size=6_000), min_size=1, max_size=4), min_size=1, max_size=12),
    data=st.data(),
)
def test_a_torn_log_loses_whole_commits_from_the_end_only(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[bytes]], data: st.DataObject
) -> None:
    """Power fails at any byte of the log: what is left is a prefix of the commits, each whole, and all that were
    durable at the cut are there."""
    home = tmp_path_factory.mktemp("crash")
    path, wal = home / "journal.db", home / "journal.db-wal"
    copy = home / "after"
    copy.mkdir()
    with Journal.create(path) as journal:
        ends = [wal.stat().st_size]
        for batch in batches:
            journal.append(batch)
            ends.append(wal.stat().st_size)
        cut = data.draw(st.integers(min_value=0, max_value=ends[-1]))
        shutil.copy(path, copy)
        (copy / "journal.db-wal").write_bytes(wal.read_bytes()[:cut])

    durable = sum(end <= cut for end in ends[1:])
    commits = [[body for batch in batches[:count] for body in batch] for count in range(len(batches) + 1)]
    if cut < ends[0]:
        with pytest.raises(HomeError):
            Journal.open(copy / "journal.db")
        return
    with Journal.open(copy / "journal.db") as again:
        found = [body for _, body in again.replay()]
        assert found == commits[durable]
        assert again.append([b"next"]) == [len(found) + 1]
        assert [body for _, body in again.replay()] == [*found, b"next"]


class JournalAgainstModel(RuleBasedStateMachine):
    """Any order of writes, snapshots, compactions and power failures, with the log folded into the file every few
    pages: nothing that was durable is lost, and numbering goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.temporary = tempfile.TemporaryDirectory()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(journal_module, "WAL_PAGES_BEFORE_CHECKPOINT", 4)
        self.life = 0
        self.path = Path(self.temporary.name) / "0" / "journal.db"
        self.path.parent.mkdir()
        self.journal = Journal.create(self.path)
        self.epoch = self.journal.epoch
        self.records: dict[int, bytes] = {}
        self.newest = 0
        self.state: tuple[int, bytes] | None = None

    def teardown(self) -> None:
        self.journal.close()
        self.patch.undo()
        self.temporary.cleanup()

    @rule(batch=st.lists(st.binary(max_size=5_000), max_size=4))
    def append(self, batch: list[bytes]) -> None:
        lsns = self.journal.append(batch)
        assert lsns == list(range(self.newest + 1, self.newest + 1 + len(batch)))
        self.records.update(zip(lsns, batch))
        self.newest += len(batch)

    @rule(state=st.binary(max_size=5_000), data=st.data())
    def snapshot(self, state: bytes, data: st.DataObject) -> None:
        lsn = data.draw(st.integers(self.state[0] if self.state else 0, self.newest))
        self.journal.snapshot(lsn, state)
        self.state = (lsn, state)

    @rule(keep=st.none() | st.integers(0, 20))
    def compact(self, keep: int | None) -> None:
        covered = self.state[0] if self.state else 0
        gone = [lsn for lsn in self.records if lsn <= (covered if keep is None else min(covered, keep))]
        assert self.journal.compact(keep) == len(gone)
        for lsn in gone:
            del self.records[lsn]

    @rule()
    def begin_new_epoch(self) -> None:
        self.epoch = self.journal.begin_new_epoch()

    @rule()
    def power_fails(self) -> None:
        """Only what the disk holds at this moment is left: the files are copied under the running process."""
        self.life += 1
        copy = Path(self.temporary.name) / str(self.life)
        shutil.copytree(self.path.parent, copy)
        self.journal.close()
        self.path = copy / "journal.db"
        self.journal = Journal.open(self.path)

    @invariant()
    def all_durable_is_there(self) -> None:
        assert dict(self.journal.replay()) == self.records
        assert self.journal.latest_snapshot() == self.state
        assert self.journal.last_lsn == self.newest
        assert self.journal.epoch == self.epoch


TestJournalAgainstModel = JournalAgainstModel.TestCase
TestJournalAgainstModel.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
