"""Content-addressed files: a blob's name is its Merkle root, so it can never change, only be there or not.

    blobs/ab/abcd…      a whole blob, named by its root in hexadecimal
    blobs/new/…         one being written; removed at the next start
    blobs/partial/…     one being fetched, kept across restarts (see partial.py)

A file's modification time is the blob's last use: what nobody pinned and nobody used for longest goes first when
room is needed.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import secrets
import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from p2pcompute.errors import HomeError, LocalError, UsageError
from p2pcompute.storage.files import Content, sync_directory, write_new_file
from p2pcompute.storage.partial import PartialBlob, RootOf, forget_oldest
from p2pcompute.wire.limits import BUFFER_BYTES_MAX, GIB

ROOT_BYTES: Final = 32
QUOTA_BYTES_DEFAULT: Final = 16 * GIB
DISK_BLOCK_BYTES: Final = 4096
"""A blob is charged in whole blocks and at least one, so that many tiny blobs count for what they take."""
PARTIAL_SHARE: Final = 4
"""Interrupted fetches may keep one part in this many of the quota, on top of it, from one start to the next."""
PINS_PER_BLOB_MAX: Final = 4_096
PINNED_BLOBS_MAX: Final = 262_144


class BlobStore:
    """The blobs of one home, within a quota. Every method may be called from any thread, and may block on the disk.

    Pins live in memory: whoever needs a blob after a restart pins it again before the first `put`.
    """

    def __init__(self, directory: Path, root_of: RootOf, quota_bytes: int = QUOTA_BYTES_DEFAULT) -> None:
        self._directory = directory
        self._root_of = root_of
        self._quota_bytes = quota_bytes
        self._lock = threading.RLock()
        self._sizes: OrderedDict[bytes, int] = OrderedDict()
        """Root -> size in bytes, least recently used first."""
        self._used_bytes = 0
        self._reserved_bytes = 0
        """Promised to blobs on their way in."""
        self._fetching: set[bytes] = set()
        self._pins: dict[bytes, set[str]] = {}
        with _explained():
            self._new = _directory(directory / "new")
            self._partial = _directory(directory / "partial")
            for leftover in self._new.iterdir():
                leftover.unlink()
            forget_oldest(self._partial, quota_bytes // PARTIAL_SHARE)
            self._scan()

    @property
    def used_bytes(self) -> int:
        """What the blobs here are charged for, with those on their way in."""
        with self._lock:
            return self._used_bytes + self._reserved_bytes

    @property
    def quota_bytes(self) -> int:
        return self._quota_bytes

    def __len__(self) -> int:
        return len(self._sizes)

    # Writing ------------------------------------------------------------------------------------------------------

    def put(self, data: Content, token: str = "") -> tuple[bytes, int]:
        """Keep `data` durably; its (root, size in bytes). With a `token` it is pinned before anything can evict it.

        Raises UsageError over BUFFER_BYTES_MAX, HomeError when there is no room or the disk fails.
        """
        view = memoryview(data).cast("B") if memoryview(data).nbytes else memoryview(b"")
        _check_size(view.nbytes)
        root = self._root_of(view)
        pinned = bool(token) and self.pin(root, token)
        try:
            self._put(root, view)
        except BaseException:
            if pinned:
                self.unpin(token, root)
            raise
        return root, view.nbytes

    def _put(self, root: bytes, view: memoryview) -> None:
        with self._lock:
            here = self._touch(root)
        if not here:
            with self._room(view.nbytes), _explained():
                temporary = self._new / secrets.token_hex(16)
                write_new_file(temporary, view)
                self._adopt(temporary, root, view.nbytes)

    @contextlib.contextmanager
    def partial(self, root: bytes, size: int) -> Iterator[PartialBlob | None]:
        """A blob to be filled chunk by chunk, with what an earlier try left; None when the whole is here already.

        Room for all of it is held as long as the block. Raises UsageError for a bad root or size, LocalError when the
        same blob is being fetched already, HomeError when there is no room or the disk fails.
        """
        _check_root(root)
        _check_size(size)
        with self._lock:
            if self._touch(root):
                here = True
            elif root in self._fetching:
                raise LocalError(f"blob {_short(root)} is being fetched already")
            else:
                here = False
                self._fetching.add(root)
        if here:
            yield None
            return
        try:
            with self._room(size):
                partial = PartialBlob(self._partial, root, size, self._root_of, self._adopt)
                try:
                    yield partial
                finally:
                    partial.close()
        finally:
            self._fetching.discard(root)

    def delete(self, root: bytes) -> bool:
        """Forget a blob, pinned or not; whether it was here."""
        with self._lock:
            size = self._sizes.pop(root, None)
            if size is None:
                return False
            self._used_bytes -= _charge(size)
            with _explained():
                self._path(root).unlink(missing_ok=True)
            return True

    # Reading ------------------------------------------------------------------------------------------------------

    def has(self, root: bytes) -> bool:
        with self._lock:
            return root in self._sizes

    def size(self, root: bytes) -> int:
        """In bytes. Raises LocalError when the blob is not here."""
        with self._lock:
            if root not in self._sizes:
                raise _absent(root)
            return self._sizes[root]

    def read(self, root: bytes) -> bytes:
        """The whole blob, checked against its root. Raises LocalError when it is not here, HomeError when the disk
        altered it: it is deleted then, so that it can be fetched again."""
        data = self.read_range(root, 0, self.size(root))
        if self._root_of(memoryview(data)) != root:
            raise self._damaged(root)
        return data

    def read_range(self, root: bytes, offset: int, length: int) -> bytes:
        """`length` bytes from `offset`, unchecked: whoever gets them checks them against the tree.

        Raises UsageError for a range outside the blob, LocalError when it is not here.
        """
        size = self.size(root)
        if offset < 0 or length < 0 or offset + length > size:
            raise UsageError(f"bytes {offset} to {offset + length} lie outside a blob of {size} bytes")
        with self._opened(root) as file, _explained():
            data = _pread_all(file, length, offset)
        if len(data) != length:
            raise self._damaged(root)
        return data

    def mapped(self, root: bytes) -> memoryview:
        """The blob as read-only memory, unchecked, for as long as anything refers to it. Deleting the blob meanwhile
        does no harm. Raises LocalError when it is not here."""
        size = self.size(root)
        with self._opened(root) as file:
            if os.fstat(file).st_size != size:
                raise self._damaged(root)
            return memoryview(mmap.mmap(file, size, prot=mmap.PROT_READ) if size else b"")

    # Pins ---------------------------------------------------------------------------------------------------------

    def pin(self, root: bytes, token: str) -> bool:
        """Keep the blob, or the one that will come, until `unpin` with the same token; whether that was new.

        Raises HomeError when there are too many pins."""
        _check_root(root)
        with self._lock:
            tokens = self._pins.get(root, set())
            if token in tokens:
                return False
            if len(tokens) >= PINS_PER_BLOB_MAX or (not tokens and len(self._pins) >= PINNED_BLOBS_MAX):
                raise HomeError("too many blobs are in use at once; finish or cancel some tasks")
            self._pins[root] = tokens | {token}
            return True

    def unpin(self, token: str, root: bytes | None = None) -> None:
        """Let go of what `token` pinned: of `root`, or of everything."""
        with self._lock:
            for pinned in [root] if root is not None else list(self._pins):
                tokens = self._pins.get(pinned, set()) - {token}
                if tokens:
                    self._pins[pinned] = tokens
                else:
                    self._pins.pop(pinned, None)

    # Inside -------------------------------------------------------------------------------------------------------

    def _path(self, root: bytes) -> Path:
        name = root.hex()
        return self._directory / name[:2] / name

    def _scan(self) -> None:
        found: list[tuple[int, bytes, int]] = []
        for shelf in self._directory.iterdir():
            if len(shelf.name) != 2 or not shelf.is_dir():
                continue
            with os.scandir(shelf) as entries:
                for entry in entries:
                    root = _root_from_name(entry.name)
                    if root is not None and entry.is_file(follow_symlinks=False):
                        status = entry.stat(follow_symlinks=False)
                        found.append((status.st_mtime_ns, root, status.st_size))
        for _, root, size in sorted(found):
            self._sizes[root] = size
            self._used_bytes += _charge(size)

    def _touch(self, root: bytes) -> bool:
        """Note a use; whether the blob is here. A file that vanished behind our back is forgotten."""
        if root not in self._sizes:
            return False
        self._sizes.move_to_end(root)
        try:
            os.utime(self._path(root))
        except FileNotFoundError:
            self._used_bytes -= _charge(self._sizes.pop(root))
            return False
        except OSError:
            pass  # a read-only disk: the order in memory still holds
        return True

    def _adopt(self, file: Path, root: bytes, size: int) -> None:
        """Move a finished, synchronised file, whose root was checked, to its place. Raises OSError."""
        path = self._path(root)
        with self._lock:
            if not path.parent.is_dir():
                path.parent.mkdir(mode=0o700)
                sync_directory(self._directory)
            os.utime(file)
            file.rename(path)
            if root not in self._sizes:
                self._sizes[root] = size
                self._used_bytes += _charge(size)
        sync_directory(path.parent)

    @contextlib.contextmanager
    def _room(self, size: int) -> Iterator[None]:
        """Hold room for a blob on its way in, evicting others for it. Raises HomeError when too much is pinned."""
        charge = _charge(size)
        with self._lock:
            self._make_room(charge)
            self._reserved_bytes += charge
        try:
            yield
        finally:
            with self._lock:
                self._reserved_bytes -= charge

    def _damaged(self, root: bytes) -> HomeError:
        self.delete(root)
        return HomeError(f"blob {_short(root)} was damaged on the disk and is deleted; fetch it again")

    def _make_room(self, charge: int) -> None:
        excess = self.used_bytes + charge - self._quota_bytes
        victims: list[bytes] = []
        for root, size in self._sizes.items():
            if excess <= 0:
                break
            if root not in self._pins:
                victims.append(root)
                excess -= _charge(size)
        if excess > 0:
            raise HomeError(
                f"the blob store is full: {excess} bytes are missing in a quota of {self._quota_bytes}, the rest is "
                "in use; raise the quota or finish some tasks"
            )
        for root in victims:
            self.delete(root)

    @contextlib.contextmanager
    def _opened(self, root: bytes) -> Iterator[int]:
        with self._lock:
            if not self._touch(root):
                raise _absent(root)
            with _explained():
                file = os.open(self._path(root), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            yield file
        finally:
            os.close(file)


_PREAD_BYTES_MAX: Final = GIB
"""Linux transfers at most 0x7ffff000 bytes per call (read(2))."""


def _pread_all(file: int, length: int, offset: int) -> bytes:
    if length <= _PREAD_BYTES_MAX:
        return os.pread(file, length, offset)
    pieces = range(offset, offset + length, _PREAD_BYTES_MAX)
    return b"".join(os.pread(file, min(_PREAD_BYTES_MAX, offset + length - at), at) for at in pieces)


def _charge(size: int) -> int:
    return max(1, -(-size // DISK_BLOCK_BYTES)) * DISK_BLOCK_BYTES


def _check_size(size: int) -> None:
    if not 0 <= size <= BUFFER_BYTES_MAX:
        raise UsageError(f"a blob of {size} bytes; the limit is {BUFFER_BYTES_MAX}")


def _check_root(root: bytes) -> None:
    if len(root) != ROOT_BYTES:
        raise UsageError(f"a blob's root has {ROOT_BYTES} bytes, not {len(root)}")


def _root_from_name(name: str) -> bytes | None:
    try:
        root = bytes.fromhex(name)
    except ValueError:
        return None
    return root if len(root) == ROOT_BYTES and root.hex() == name else None


def _absent(root: bytes) -> LocalError:
    return LocalError(f"blob {_short(root)} is not in this home")


def _short(root: bytes) -> str:
    return root.hex()[:16]


def _directory(path: Path) -> Path:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HomeError(f"the blob store failed: {error.strerror} ({error.filename or 'no file'})") from error
