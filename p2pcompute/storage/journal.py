"""The journal: every record a peer must not forget, in order, in one SQLite file.

A record counts only once it is durable: `append` returns after the write-ahead log has been synchronised (WAL with
synchronous=FULL, https://www.sqlite.org/wal.html and /pragma.html#pragma_synchronous). A write that fails poisons the
journal: whether its bytes reached the disk is then unknown, so nothing more is written until the process starts again
and replays what is really there.

Every journal carries an epoch, 8 random bytes. Sequences, receipts and cheques are ordered within (key, epoch); a
restored copy begins a new epoch, so that its numbers never look like a fork of the ones already spent.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from p2pcompute.errors import HomeError, UsageError
from p2pcompute.storage.files import sync_directory
from p2pcompute.wire.limits import GIB, MIB

RECORD_BYTES_MAX: Final = 1 * MIB
"""One record: the largest holds a task's documents, each of at most 64 KiB, and its manifest."""
SNAPSHOT_BYTES_MAX: Final = 1 * GIB
"""A peer's whole state; it is held in memory twice while it is written."""
PIECE_BYTES: Final = 16 * MIB
"""A snapshot lies in rows of this size: SQLite refuses values of 10**9 bytes (SQLITE_MAX_LENGTH)."""
EPOCH_BYTES: Final = 8
REPLAY_ROWS: Final = 512
"""Records read from the file at a time during replay."""
CACHE_KIB: Final = 8 * 1024
WAL_PAGES_BEFORE_CHECKPOINT: Final = 1_000
"""SQLite's own default, written down: about 4 MiB of log before its pages are copied into the file."""

_APPLICATION_ID: Final = 0x70327063  # "p2pc", stored in the file's header
_FORMAT: Final = 1

_SCHEMA: Final = f"""
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA journal_mode = WAL;
BEGIN;
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_FORMAT};
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE record (lsn INTEGER PRIMARY KEY, check32 INTEGER NOT NULL, body BLOB NOT NULL);
CREATE TABLE snapshot (
  lsn INTEGER, piece INTEGER, check32 INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (lsn, piece)
);
COMMIT;
"""


class Journal:
    """Append-only records with log sequence numbers (lsn) 1, 2, 3 … without gaps. Safe to call from any thread, one
    call at a time; async code goes through `GroupCommitter`."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._db = connection
        self._lock = threading.Lock()
        self._fault = ""
        self.epoch: bytes = b""
        """8 bytes that name this life of the journal."""
        self.last_lsn: int = 0
        """The newest durable record, 0 while there is none. Compaction never lowers it."""
        self.forgotten_lsn: int = 0
        """Records up to this one were compacted away; a snapshot stands for them."""

    @classmethod
    def create(cls, path: Path) -> Journal:
        """A new, empty journal with a fresh epoch. Raises HomeError when `path` exists or cannot be written."""
        if path.exists():
            raise HomeError(f"{path} exists already; a new journal never overwrites an old one")
        with _explained(path, "cannot be created"):
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
            os.close(descriptor)
            journal = cls(path, _connect(path))
            try:
                journal._db.executescript(_SCHEMA)
                journal.epoch = secrets.token_bytes(EPOCH_BYTES)
                journal._transact(lambda db: db.execute("INSERT INTO meta VALUES ('epoch', ?)", (journal.epoch,)))
                sync_directory(path.parent)
            except BaseException:
                journal._db.close()
                raise
        return journal

    @classmethod
    def open(cls, path: Path) -> Journal:
        """An existing journal, checked. Raises HomeError when it is missing, in use, damaged or from a newer version.

        A torn write at the end of the log, as a crash leaves it, is no damage: SQLite drops it, and nobody was told
        that it was durable.
        """
        if not path.is_file():
            raise HomeError(f"the journal {path} is missing; restore the home from a backup")
        with _explained(path, "cannot be opened"):
            journal = cls(path, _connect(path))
            try:
                journal._check()
            except BaseException:
                journal._db.close()
                raise
        return journal

    def close(self) -> None:
        with self._lock:
            self._db.close()
            self._fault = self._fault or f"the journal {self._path} is closed"

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Writing ------------------------------------------------------------------------------------------------------

    def append(self, records: Sequence[bytes]) -> list[int]:
        """Make all `records` durable in one commit; their lsns, in order. None or all of them are kept.

        Raises UsageError for a record over RECORD_BYTES_MAX (nothing written), HomeError when the write fails or an
        earlier one did.
        """
        for record in records:
            check_record(record)
        with self._lock:
            first = self.last_lsn + 1
            rows = [(lsn, _check32(lsn, 0, body), body) for lsn, body in enumerate(records, first)]
            self._write(lambda db: db.executemany("INSERT INTO record VALUES (?, ?, ?)", rows))
            self.last_lsn += len(rows)
        return list(range(first, first + len(records)))

    def snapshot(self, lsn: int, state: bytes) -> None:
        """Keep `state`, which stands for all records up to and including `lsn`, instead of any older snapshot."""
        if not self.forgotten_lsn <= lsn <= self.last_lsn:
            raise UsageError(
                f"no snapshot at record {lsn}; the journal has {self.forgotten_lsn + 1} to {self.last_lsn}"
            )
        if len(state) > SNAPSHOT_BYTES_MAX:
            raise UsageError(f"a snapshot of {len(state)} bytes; the limit is {SNAPSHOT_BYTES_MAX}")
        pieces = [state[at : at + PIECE_BYTES] for at in range(0, max(len(state), 1), PIECE_BYTES)]
        rows = [(lsn, number, _check32(lsn, number, piece), piece) for number, piece in enumerate(pieces)]

        def replace(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM snapshot")
            db.executemany("INSERT INTO snapshot VALUES (?, ?, ?, ?)", rows)

        with self._lock:
            self._write(replace)

    def compact(self, keep_after_lsn: int | None = None) -> int:
        """Forget records that the latest snapshot stands for, and give their space back; how many were forgotten.

        `keep_after_lsn` keeps later ones, say those still within their retention time.
        """
        with self._lock:
            covered = self._db.execute("SELECT max(lsn) FROM snapshot").fetchone()[0] or 0
            limit = covered if keep_after_lsn is None else min(covered, keep_after_lsn)
            limit = max(limit, self.forgotten_lsn)

            def forget(db: sqlite3.Connection) -> None:
                db.execute("DELETE FROM record WHERE lsn <= ?", (limit,))
                # The file may now hold no record at all, and lsns must still go on from here.
                db.execute("INSERT OR REPLACE INTO meta VALUES ('forgotten_lsn', ?)", (limit,))

            self._write(forget)
            forgotten, self.forgotten_lsn = limit - self.forgotten_lsn, limit
            with self._poisoning("compacting"):
                # A script, because `execute` takes one step of a statement without columns, and this one frees one
                # page per step.
                self._db.executescript("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE);")
        return forgotten

    def begin_new_epoch(self) -> bytes:
        """A fresh epoch for a home restored from a backup; the records stay."""
        epoch = secrets.token_bytes(EPOCH_BYTES)
        with self._lock:
            self._write(lambda db: db.execute("UPDATE meta SET value = ? WHERE name = 'epoch'", (epoch,)))
            self.epoch = epoch
        return epoch

    # Reading ------------------------------------------------------------------------------------------------------

    def replay(self, after_lsn: int = 0) -> Iterator[tuple[int, bytes]]:
        """(lsn, record) of every record after `after_lsn` that is still kept, in order, read in slices so that memory
        stays small. Not while `compact` runs.

        Raises HomeError where a record is missing or altered; records before it have been given out by then.
        """
        expected = max(after_lsn, self.forgotten_lsn) + 1
        while expected <= self.last_lsn:
            with self._lock, self._reading():
                rows = self._db.execute(
                    "SELECT lsn, check32, body FROM record WHERE lsn >= ? ORDER BY lsn LIMIT ?", (expected, REPLAY_ROWS)
                ).fetchall()
            if not rows:
                raise HomeError(_damaged(self._path, f"record {expected}"))
            for lsn, check32, body in rows:
                if lsn != expected or check32 != _check32(lsn, 0, body):
                    raise HomeError(_damaged(self._path, f"record {expected}"))
                expected += 1
                yield lsn, body

    def latest_snapshot(self) -> tuple[int, bytes] | None:
        """(lsn, state) of the newest snapshot, or None. Raises HomeError when it is altered."""
        with self._lock, self._reading():
            rows = self._db.execute("SELECT lsn, piece, check32, body FROM snapshot ORDER BY piece").fetchall()
        for number, (lsn, piece, check32, body) in enumerate(rows):
            if piece != number or check32 != _check32(lsn, piece, body):
                raise HomeError(_damaged(self._path, f"the snapshot at record {lsn}"))
        return (rows[0][0], b"".join(row[3] for row in rows)) if rows else None

    # Inside -------------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        """Is this file ours, whole, and of a version we know?"""
        if self._db.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION_ID:
            raise HomeError(_damaged(self._path, "its header"))
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version != _FORMAT:
            raise HomeError(f"the journal {self._path} has format {version}, this version reads {_FORMAT}; update")
        fault = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if fault != "ok":
            raise HomeError(_damaged(self._path, str(fault).splitlines()[-1]))
        meta = dict(self._db.execute("SELECT name, value FROM meta").fetchall())
        if len(meta.get("epoch", b"")) != EPOCH_BYTES:
            raise HomeError(_damaged(self._path, "its epoch"))
        self.epoch = meta["epoch"]
        self.forgotten_lsn = int(meta.get("forgotten_lsn", 0))
        self.last_lsn = max(self._db.execute("SELECT max(lsn) FROM record").fetchone()[0] or 0, self.forgotten_lsn)

    def _write(self, work: Callable[[sqlite3.Connection], object]) -> None:
        """One durable transaction, or a poisoned journal. Hold the lock."""
        if self._fault:
            raise HomeError(self._fault)
        with self._poisoning("writing"):
            self._transact(work)

    def _transact(self, work: Callable[[sqlite3.Connection], object]) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        work(self._db)
        self._db.execute("COMMIT")

    @contextlib.contextmanager
    def _poisoning(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, MemoryError) as error:
            self._fault = (
                f"{doing} the journal {self._path} failed ({error}); nothing more is written: "
                "make room on the disk or mend it, then start again"
            )
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise HomeError(self._fault) from error

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise HomeError(_damaged(self._path, str(error))) from error


def check_record(record: bytes) -> None:
    """Raises UsageError when `record` is too large to be kept."""
    if len(record) > RECORD_BYTES_MAX:
        raise UsageError(f"a journal record of {len(record)} bytes; the limit is {RECORD_BYTES_MAX}")


def _connect(path: Path) -> sqlite3.Connection:
    # check_same_thread: our lock serialises the threads that trio lends us.
    db = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False, cached_statements=32)
    try:
        # Exclusive: one process per journal, and no shared-memory file beside it.
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA synchronous = FULL")
        db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        db.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES_BEFORE_CHECKPOINT}")
        # The file may come from anywhere: no cell may run code from its schema.
        db.execute("PRAGMA trusted_schema = OFF")
    except BaseException:
        db.close()
        raise
    return db


@contextlib.contextmanager
def _explained(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise HomeError(f"the journal {path} is in use by another process") from error
        raise HomeError(f"the journal {path} {what}: {error}") from error
    except sqlite3.DatabaseError as error:
        raise HomeError(_damaged(path, str(error))) from error
    except OSError as error:
        raise HomeError(f"the journal {path} {what}: {error.strerror}") from error


def _damaged(path: Path, where: str) -> str:
    return f"the journal {path} is damaged ({where}); move the home aside and restore it from a backup"


def _check32(lsn: int, piece: int, body: bytes) -> int:
    """CRC-32 over place and content: a record that moved is as damaged as one that changed."""
    return zlib.crc32(body, zlib.crc32(lsn.to_bytes(8, "little") + piece.to_bytes(4, "little")))
