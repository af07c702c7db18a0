"""Small file operations that survive a crash: a file is either the old one or the new one, never half of each."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import Final

TEMPORARY_SUFFIX: Final = ".new"

Content = bytes | bytearray | memoryview


def replace_file(path: Path, content: Content) -> None:
    """Put `content` at `path` durably: temporary file, synchronise, rename, synchronise the directory. Mode 0600.

    Raises OSError; then nothing changed, and no temporary file stays.
    """
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}{TEMPORARY_SUFFIX}")
    write_new_file(temporary, content)
    try:
        os.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_directory(path.parent)


def write_new_file(path: Path, content: Content) -> None:
    """A synchronised file of mode 0600 where none was. Raises OSError; then no file stays."""
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            rest = memoryview(content)
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink()
        raise


def sync_directory(directory: Path) -> None:
    """Make the names in `directory` durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_bounded(path: Path, bytes_max: int) -> bytes | None:
    """The content of a file, or None when it is longer than `bytes_max`. Raises OSError."""
    with path.open("rb") as file:
        content = file.read(bytes_max + 1)
    return content if len(content) <= bytes_max else None
