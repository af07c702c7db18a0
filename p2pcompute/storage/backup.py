"""A stopped home as one tar file, and back."""

from __future__ import annotations

import os
import shutil
import tarfile
from pathlib import Path, PurePosixPath
from typing import Final

from p2pcompute.errors import HomeError, UsageError
from p2pcompute.storage.home import Home, Layout

_NEVER: Final = ("lock", "control.sock", "journal.db-shm")
"""Belong to a running process."""
FILES_MAX: Final = 10_000_000


def back_up(root: Path, file: Path) -> int:
    """Write a home to a new tar file of mode 0600; its size in bytes. Raises HomeError while the home is in use, and
    UsageError when the file exists."""
    with Home.open(root) as home:
        try:
            descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except FileExistsError:
            raise UsageError(f"{file} exists already; a backup is never overwritten") from None
        except OSError as error:
            raise UsageError(f"{file} cannot be written: {error.strerror}") from error
        try:
            with os.fdopen(descriptor, "wb") as raw:
                with tarfile.open(fileobj=raw, mode="w") as tar:
                    for entry in sorted(home.layout.root.iterdir()):
                        if entry.name not in _NEVER:
                            tar.add(entry, entry.name, filter=_private)
                os.fsync(raw.fileno())
        except BaseException:
            file.unlink(missing_ok=True)
            raise
    return file.stat().st_size


def _private(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Files and directories only, owned by nobody in particular."""
    if not (member.isfile() or member.isdir()):
        return None
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def restore(file: Path, root: Path) -> bytes:
    """Make a home out of a backup, in a directory that does not exist; its new epoch.

    The lost home may have signed things the backup does not know of; in a new epoch nothing contradicts them. Raises
    HomeError and UsageError; then nothing stays.
    """
    if root.exists():
        raise HomeError(f"{root} exists already; choose another directory with --home")
    root.mkdir(mode=0o700, parents=True)
    try:
        _extract(file, root)
        if not Layout(root).marker.is_file():
            raise UsageError(f"{file} is no backup of a home")
        with Home.open(root) as home:
            return home.begin_new_epoch()
    except BaseException:
        shutil.rmtree(root, ignore_errors=True)
        raise


def _extract(file: Path, root: Path) -> None:
    try:
        with tarfile.open(file, mode="r:") as tar:
            for count, member in enumerate(tar):
                if count >= FILES_MAX or not (member.isfile() or member.isdir()):
                    raise UsageError(f"{file} is no backup of a home")
                _place(tar, member, root)
    except (tarfile.TarError, EOFError) as error:
        raise UsageError(f"{file} is no backup of a home: {error}") from error
    except OSError as error:
        raise UsageError(f"{file} cannot be restored: {error.strerror or error}") from error


def _place(tar: tarfile.TarFile, member: tarfile.TarInfo, root: Path) -> None:
    """One member under `root`, private to us. (tarfile's own filters came only with Python 3.11.4.)"""
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        raise tarfile.TarError(f"{member.name!r} lies outside of it")
    target = root / path
    if member.isdir():
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        return
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    content = tar.extractfile(member)
    assert content is not None, "only regular files come here"
    with content, open(target, "xb", opener=_open_private) as file:
        shutil.copyfileobj(content, file)


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
