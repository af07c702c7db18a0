"""Landlock: the calling thread loses every right to the file system but those granted, and to the network where the
kernel knows how.

Source: Documentation/userspace-api/landlock.rst of Linux 6.18. A ruleset that handles a right and grants it nowhere
denies it everywhere. Descriptors that are already open stay usable. Threads that the caller starts later are bound too,
those that it has already started are not.
"""

from __future__ import annotations

import ctypes
import dataclasses
import os
import stat
import struct
from collections.abc import Iterable
from typing import Final

from p2pcompute.errors import SandboxError

_CREATE_RULESET: Final = 444  # the same numbers on every machine
_ADD_RULE: Final = 445
_RULE_PATH_BENEATH: Final = 1
_RESTRICT_SELF: Final = 446
_VERSION_FLAG: Final = 1

_FS_RIGHTS_BY_ABI: Final = {1: 13, 2: 14, 3: 15, 5: 16}
"""From this ABI on, that many rights (the low bits) exist: 2 brought REFER, 3 TRUNCATE, 5 IOCTL_DEV."""
_NET_ABI: Final = 4  # bind and connect over TCP
_SCOPE_ABI: Final = 6  # abstract Unix sockets and signals to processes outside

# linux/landlock.h
_WRITE_FILE: Final = 1 << 1
_READ_FILE: Final = 1 << 2
_READ_DIRECTORY: Final = 1 << 3
_DEVICE_IOCTL: Final = 1 << 15


@dataclasses.dataclass(frozen=True, slots=True)
class Grant:
    """What may be done with a file, or with all that lies in a directory: read it, or, for a device, also write and
    control it. Nothing may be executed, made, renamed or removed."""

    path: str
    is_device: bool = False

    def rights(self, is_directory: bool) -> int:
        if self.is_device:
            return _READ_FILE | _WRITE_FILE | _DEVICE_IOCTL
        return _READ_FILE | (_READ_DIRECTORY if is_directory else 0)


def abi_version() -> int:
    """The kernel's Landlock ABI; 0 when Landlock is absent or switched off."""
    libc = ctypes.CDLL(None, use_errno=True)
    return max(0, int(libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION_FLAG)))


def ruleset(abi: int) -> bytes:
    """`struct landlock_ruleset_attr` that denies all that this ABI can deny."""
    rights = max(count for version, count in _FS_RIGHTS_BY_ABI.items() if version <= abi)
    attribute = struct.pack("=Q", (1 << rights) - 1)
    if abi >= _NET_ABI:
        attribute += struct.pack("=Q", 0b11)
    if abi >= _SCOPE_ABI:
        attribute += struct.pack("=Q", 0b11)
    return attribute


def restrict(grants: Iterable[Grant] = ()) -> None:
    """Confine the calling thread for good; `no_new_privs` must be set. Paths that do not exist are left out. Raises
    SandboxError."""
    abi = abi_version()
    if abi < 1:
        raise SandboxError("this kernel has no Landlock; it needs Linux 5.13 or newer with CONFIG_SECURITY_LANDLOCK")
    libc = ctypes.CDLL(None, use_errno=True)
    attribute = ruleset(abi)
    fd = libc.syscall(_CREATE_RULESET, attribute, ctypes.c_size_t(len(attribute)), 0)
    if fd < 0:
        raise SandboxError(f"Landlock refuses the ruleset: {os.strerror(ctypes.get_errno())}")
    try:
        for grant in grants:
            _add(libc, fd, grant, int.from_bytes(attribute[:8], "little"))
        if libc.syscall(_RESTRICT_SELF, fd, 0) != 0:
            raise SandboxError(f"Landlock refuses to restrict this process: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(fd)


def _add(libc: ctypes.CDLL, ruleset_fd: int, grant: Grant, handled: int) -> None:
    try:
        fd = os.open(grant.path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    except OSError as error:
        raise SandboxError(f"{grant.path} cannot be granted: {error.strerror}") from error
    try:
        rights = grant.rights(stat.S_ISDIR(os.fstat(fd).st_mode)) & handled
        rule = struct.pack("=Qi", rights, fd)
        if libc.syscall(_ADD_RULE, ruleset_fd, _RULE_PATH_BENEATH, rule, 0) != 0:
            raise SandboxError(f"Landlock refuses to grant {grant.path}: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(fd)
