"""A home: the directory in which one peer keeps everything, and the lock that keeps other processes out of it."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import os
import stat
import tomllib
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from p2pcompute.errors import HomeError
from p2pcompute.storage.files import TEMPORARY_SUFFIX, read_bounded, replace_file, sync_directory
from p2pcompute.storage.journal import Journal

FORMAT: Final = 1
MARKER_BYTES_MAX: Final = 4096
SOCKET_PATH_BYTES_MAX: Final = 107
"""unix(7): sun_path holds 108 bytes with the final zero."""


@dataclasses.dataclass(frozen=True, slots=True)
class Layout:
    """Where things lie under a home's `root`."""

    root: Path

    @property
    def marker(self) -> Path:
        """Written last by `Home.create`: a directory without it is no home yet."""
        return self.root / "home.toml"

    @property
    def config(self) -> Path:
        return self.root / "config.toml"

    @property
    def keys(self) -> Path:
        return self.root / "keys"

    @property
    def journal(self) -> Path:
        return self.root / "journal.db"

    @property
    def blobs(self) -> Path:
        return self.root / "blobs"

    @property
    def peers(self) -> Path:
        """Where peers were met; a cache."""
        return self.root / "peers.txt"

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def control_socket(self) -> Path:
        """Where the running process listens for commands. Raises HomeError when no socket can have so long a name."""
        path = self.root.absolute() / "control.sock"
        if len(os.fsencode(path)) > SOCKET_PATH_BYTES_MAX:
            raise HomeError(
                f"the path of the home {self.root} is too long for its control socket "
                f"({SOCKET_PATH_BYTES_MAX} bytes at most); choose a shorter one with --home"
            )
        return path


class Home:
    """An open home: locked, checked, its journal open. Use it as a context manager, or `close` it."""

    def __init__(self, layout: Layout, lock: _Lock, journal: Journal) -> None:
        self.layout = layout
        self.journal = journal
        self._lock = lock

    @classmethod
    def create(cls, root: Path) -> Home:
        """A new home at `root`: a path that does not exist, an empty directory, or one whose creation was interrupted.

        Raises HomeError when there is a home already, something else is there, or it cannot be written.
        """
        layout = Layout(root)
        with _explained(root, "cannot be made"):
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            if layout.marker.exists():
                raise HomeError(f"{root} is a home already; use it, or choose another directory with --home")
            _refuse_foreign_content(layout)
            root.chmod(0o700)
            lock = _Lock.take(layout)
        with lock.released_on_error(), _explained(root, "cannot be made"):
            _remove_half_made(layout)
            layout.keys.mkdir(mode=0o700, exist_ok=True)
            layout.blobs.mkdir(mode=0o700, exist_ok=True)
            journal = Journal.create(layout.journal)
            try:
                replace_file(layout.marker, f"# A home of p2pcompute. Keep it private.\nformat = {FORMAT}\n".encode())
                sync_directory(root.absolute().parent)
            except BaseException:
                journal.close()
                raise
        return cls(layout, lock, journal)

    @classmethod
    def open(cls, root: Path) -> Home:
        """An existing home, locked for this process.

        Raises HomeError when it is missing, half made, open to other users, damaged, or in use by another process.
        """
        layout = Layout(root)
        with _explained(root, "cannot be opened"):
            _check(layout)
            lock = _Lock.take(layout)
        with lock.released_on_error():
            journal = Journal.open(layout.journal)
        return cls(layout, lock, journal)

    @property
    def epoch(self) -> bytes:
        """8 bytes that name this life of the home; see `Journal.epoch`."""
        return self.journal.epoch

    def begin_new_epoch(self) -> bytes:
        """To be called once when this home was restored from a backup, before anything is signed."""
        return self.journal.begin_new_epoch()

    def close(self) -> None:
        self.journal.close()
        self._lock.release()

    def __enter__(self) -> Home:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Lock:
    """flock(2) on a file of the home. The kernel lifts it when the process ends, however it ends."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        _held.add(self)

    @classmethod
    def take(cls, layout: Layout) -> _Lock:
        descriptor = os.open(layout.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        except OSError as error:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            process = f"process {holder}" if holder.isdigit() else "another process"
            raise HomeError(f"{layout.root} is in use by {process}; stop it or use another --home") from error
        return cls(descriptor)

    def release(self) -> None:
        """Lift the lock, whoever has a copy of the descriptor: a child that another thread is starting has one until it
        runs its program."""
        if self._descriptor >= 0:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        self.leave()

    def leave(self) -> None:
        """Close our copy of the descriptor; the lock is another process's."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    @contextlib.contextmanager
    def released_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.release()
            raise


_held: weakref.WeakSet[_Lock] = weakref.WeakSet()


def _close_in_child() -> None:
    # A forked child shares the lock; were it to outlive us, the home would stay locked.
    for lock in list(_held):
        lock.leave()


os.register_at_fork(after_in_child=_close_in_child)


def _check(layout: Layout) -> None:
    """Is there a whole home of our format, and is it private? Raises HomeError, OSError."""
    root = layout.root
    if not root.is_dir():
        raise HomeError(f"there is no home at {root}; make one with: p2pcompute init --home {root}")
    status = root.stat()
    if status.st_uid != os.geteuid():
        raise HomeError(f"the home {root} belongs to another user; run as that user or use another --home")
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise HomeError(f"the home {root} is open to other users; close it with: chmod 700 {root}")
    if not layout.marker.is_file():
        raise HomeError(f"{root} is not a whole home; make one with: p2pcompute init --home {root}")
    _check_marker(layout)
    for part in (layout.keys, layout.blobs):
        if not part.is_dir():
            raise HomeError(f"the home {root} is damaged: {part.name}/ is missing; restore it from a backup")


def _check_marker(layout: Layout) -> None:
    content = read_bounded(layout.marker, MARKER_BYTES_MAX)
    try:
        version = tomllib.loads((content or b"").decode()).get("format")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        version = None
    if not isinstance(version, int):
        raise HomeError(f"the home {layout.root} is damaged: {layout.marker.name} is unreadable; restore a backup")
    if version != FORMAT:
        raise HomeError(f"the home {layout.root} has format {version}, this version reads {FORMAT}; update")


def _refuse_foreign_content(layout: Layout) -> None:
    ours = {p.name for p in (layout.keys, layout.blobs, layout.lock, layout.journal)}
    for entry in layout.root.iterdir():
        made_by_us = entry.name in ours or entry.name.startswith(layout.journal.name) or _is_temporary_marker(entry)
        if not made_by_us or (entry.is_dir() and any(entry.iterdir())):
            raise HomeError(f"{layout.root} holds other things ({entry.name}); choose an empty directory with --home")


def _is_temporary_marker(entry: Path) -> bool:
    return entry.name.startswith("home.toml.") and entry.name.endswith(TEMPORARY_SUFFIX)


def _remove_half_made(layout: Layout) -> None:
    """What an interrupted `create` left: nothing in it was ever used, as the marker is written last."""
    for entry in list(layout.root.iterdir()):
        if entry.name.startswith(layout.journal.name) or _is_temporary_marker(entry):
            entry.unlink()


@contextlib.contextmanager
def _explained(root: Path, what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HomeError(f"the home {root} {what}: {error.strerror}") from error
