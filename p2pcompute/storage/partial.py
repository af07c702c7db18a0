"""A blob on its way in: chunks arrive in any order, and a broken fetch goes on where it stopped.

Beside the data lies a map of the chunks that are there. It is written only after the data it speaks of has been
synchronised. Chunks that the caller vouches for are taken as they are; where there are others, found on the disk or
written unchecked, the whole is checked against the root at the end: a wrong map costs a second fetch, never a wrong
blob.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from p2pcompute.errors import HomeError, LocalError, UsageError, VerificationError
from p2pcompute.storage.files import TEMPORARY_SUFFIX, read_bounded, replace_file
from p2pcompute.wire.limits import BLOB_CHUNK_BYTES

STAT_BLOCK_BYTES: Final = 512
"""The unit of st_blocks (stat(2))."""

RootOf = Callable[[memoryview], bytes]
"""Content -> 32-byte root."""
Adopt = Callable[[Path, bytes, int], None]
"""Takes over a finished file with its root and size in bytes."""


class PartialBlob:
    """Made by `BlobStore.partial`. Not for several threads at once."""

    def __init__(self, directory: Path, root: bytes, size: int, root_of: RootOf, adopt: Adopt) -> None:
        self.root = root
        self.size = size
        self._root_of = root_of
        self._adopt = adopt
        self._data = directory / f"{root.hex()}.{size}"
        self._map = directory / f"{root.hex()}.{size}.map"
        self._chunks = -(-size // BLOB_CHUNK_BYTES)
        with _explained():
            self._file = os.open(self._data, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fresh = os.fstat(self._file).st_size != size
                os.ftruncate(self._file, size)
                self._have = bytearray(self._chunks) if fresh else self._read_map()
                self._unchecked = {number for number, here in enumerate(self._have) if here}
            except BaseException:
                os.close(self._file)
                raise

    def missing(self) -> list[int]:
        """Chunk numbers still to come, ascending. Chunk i holds the bytes from i * BLOB_CHUNK_BYTES on."""
        return [number for number, here in enumerate(self._have) if not here]

    def recheck(self, is_right: Callable[[int, bytes], bool]) -> None:
        """Have each chunk that nobody vouches for judged by (number, content); wrong ones are missing again."""
        for number in sorted(self._unchecked):
            with _explained():
                chunk = os.pread(self._file, BLOB_CHUNK_BYTES, number * BLOB_CHUNK_BYTES)
            if not is_right(number, chunk):
                self._have[number] = 0
        self._unchecked.clear()

    def write_at(self, offset: int, data: bytes | memoryview, *, checked: bool = False) -> None:
        """Put one whole chunk in its place; `checked` vouches that it is the right one.

        Raises UsageError for anything but a whole chunk, HomeError when the disk fails."""
        number, rest = divmod(offset, BLOB_CHUNK_BYTES)
        expected = min(BLOB_CHUNK_BYTES, self.size - offset)
        if rest or not 0 <= number < self._chunks or len(data) != expected:
            raise UsageError(f"{len(data)} bytes at {offset} are not a chunk of a blob of {self.size} bytes")
        with _explained():
            if os.pwrite(self._file, data, offset) != len(data):
                raise OSError(0, "the disk took only a part")
        self._have[number] = 1
        if checked:
            self._unchecked.discard(number)
        else:
            self._unchecked.add(number)

    def save(self) -> None:
        """Make what has arrived survive a crash."""
        with _explained():
            os.fdatasync(self._file)
            replace_file(self._map, self._have)

    def close(self) -> None:
        """Keep what has arrived for another time."""
        if self._file >= 0:
            try:
                self.save()
            finally:
                os.close(self._file)
                self._file = -1

    def discard(self) -> None:
        """Keep nothing."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        with _explained():
            self._data.unlink(missing_ok=True)
            self._map.unlink(missing_ok=True)

    def finish(self) -> None:
        """Let the store have the whole, checked against the root unless every chunk was vouched for.

        Raises LocalError while chunks are missing, VerificationError when the content has another root: then nothing
        is kept.
        """
        if missing := self.missing():
            raise LocalError(f"{len(missing)} of {self._chunks} chunks of blob {self.root.hex()[:16]} are missing")
        if not self._is_right():
            self.discard()
            raise VerificationError(f"what was fetched as blob {self.root.hex()[:16]} has another content")
        with _explained():
            os.fsync(self._file)
            os.close(self._file)
            self._file = -1
            self._adopt(self._data, self.root, self.size)
            self._map.unlink(missing_ok=True)

    def _is_right(self) -> bool:
        if self._chunks and not self._unchecked:
            return True
        return self._root_of(
            memoryview(mmap.mmap(self._file, self.size, prot=mmap.PROT_READ) if self.size else b"")
        ) == (self.root)

    def _read_map(self) -> bytearray:
        try:
            content = read_bounded(self._map, self._chunks)
        except FileNotFoundError:
            content = None
        if content is None or len(content) != self._chunks or content.translate(None, b"\x00\x01"):
            return bytearray(self._chunks)
        return bytearray(content)


def forget_oldest(directory: Path, bytes_max: int) -> None:
    """Remove the interrupted fetches that were not touched for longest, until the rest take at most `bytes_max` of the
    disk. Raises OSError."""
    entries = sorted(((entry, entry.stat()) for entry in directory.iterdir()), key=lambda pair: -pair[1].st_mtime_ns)
    kept_bytes = 0
    for entry, status in entries:
        kept_bytes += status.st_blocks * STAT_BLOCK_BYTES
        if kept_bytes > bytes_max or entry.name.endswith(TEMPORARY_SUFFIX):
            entry.unlink()


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HomeError(f"the blob store failed: {error.strerror} ({error.filename or 'partial blob'})") from error
