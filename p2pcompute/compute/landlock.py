"""Landlock: the calling thread loses every right to the file system, and to the network where the kernel knows how.

Source: Documentation/userspace-api/landlock.rst of Linux 6.18. A ruleset that handles a right and grants it nowhere
denies it everywhere. Descriptors that are already open stay usable.
"""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Final

from p2pcompute.errors import SandboxError

_CREATE_RULESET: Final = 444  # the same numbers on every machine
_RESTRICT_SELF: Final = 446
_VERSION_FLAG: Final = 1

_FS_RIGHTS_BY_ABI: Final = {1: 13, 2: 14, 3: 15, 5: 16}
"""From this ABI on, that many rights (the low bits) exist: 2 brought REFER, 3 TRUNCATE, 5 IOCTL_DEV."""
_NET_ABI: Final = 4  # bind and connect over TCP
_SCOPE_ABI: Final = 6  # abstract Unix sockets and signals to processes outside


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


def deny_everything() -> None:
    """Confine the calling thread for good; `no_new_privs` must be set. Raises SandboxError."""
    abi = abi_version()
    if abi < 1:
        raise SandboxError("this kernel has no Landlock; it needs Linux 5.13 or newer with CONFIG_SECURITY_LANDLOCK")
    libc = ctypes.CDLL(None, use_errno=True)
    attribute = ruleset(abi)
    fd = libc.syscall(_CREATE_RULESET, attribute, ctypes.c_size_t(len(attribute)), 0)
    if fd < 0:
        raise SandboxError(f"Landlock refuses the ruleset: {os.strerror(ctypes.get_errno())}")
    try:
        if libc.syscall(_RESTRICT_SELF, fd, 0) != 0:
            raise SandboxError(f"Landlock refuses to restrict this process: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(fd)
