"""System call numbers and the allow-lists of the jails, as data.

Everything absent from a profile's list is refused by the kernel. No list holds socket, connect, execve, ptrace, kill,
or what acts on another process. Those of the compiler and the CPU engine hold no call that names a file either: what
such a process may touch it already holds as a descriptor. The CUDA driver opens files as it goes; Landlock says which.
"""

from __future__ import annotations

import dataclasses
from typing import Final

CLONE_THREAD: Final = 0x0001_0000
PR_SET_NAME: Final = 15
F_DUPFD: Final = 0
F_GETFD: Final = 1
F_SETFD: Final = 2
F_GETFL: Final = 3
F_SETFL: Final = 4
F_DUPFD_CLOEXEC: Final = 1030


@dataclasses.dataclass(frozen=True, slots=True)
class Machine:
    """One instruction set: the `AUDIT_ARCH_*` value of linux/audit.h and its syscall numbers by name."""

    audit_arch: int
    numbers: dict[str, int]


@dataclasses.dataclass(frozen=True, slots=True)
class Allow:
    """Allow `name` when `argument & mask == value` (the low 32 bits of that argument); always, when `argument` is
    None."""

    name: str
    argument: int | None = None
    mask: int = 0xFFFF_FFFF
    value: int = 0


ONLY_X86_64: Final = frozenset({"poll", "time", "open", "stat", "lstat", "access", "readlink", "epoll_wait"})
"""Calls of old that aarch64 never had."""

# asm/unistd_64.h and asm-generic/unistd.h of Linux 6.18.
MACHINES: Final[dict[str, Machine]] = {
    "x86_64": Machine(
        audit_arch=0xC000_003E,
        numbers={
            "read": 0, "write": 1, "close": 3, "fstat": 5, "poll": 7, "lseek": 8, "mmap": 9, "mprotect": 10,
            "munmap": 11, "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "readv": 19,
            "writev": 20, "sched_yield": 24, "mremap": 25, "madvise": 28, "nanosleep": 35, "getpid": 39, "sendto": 44,
            "recvfrom": 45, "sendmsg": 46, "recvmsg": 47, "clone": 56, "exit": 60, "fcntl": 72, "gettimeofday": 96,
            "getrusage": 98, "sigaltstack": 131, "prctl": 157, "gettid": 186, "time": 201, "futex": 202,
            "sched_getaffinity": 204, "restart_syscall": 219, "clock_gettime": 228, "clock_getres": 229,
            "clock_nanosleep": 230, "exit_group": 231, "tgkill": 234, "ppoll": 271, "set_robust_list": 273,
            "getrandom": 318, "membarrier": 324, "rseq": 334, "clone3": 435,
            "open": 2, "stat": 4, "lstat": 6, "ioctl": 16, "pread64": 17, "pwrite64": 18, "access": 21, "msync": 26,
            "mincore": 27, "dup": 32, "uname": 63, "ftruncate": 77, "getcwd": 79, "readlink": 89, "getrlimit": 97,
            "sysinfo": 99, "getuid": 102, "getgid": 104, "geteuid": 107, "getegid": 108, "getppid": 110, "statfs": 137,
            "fstatfs": 138, "mlock": 149, "munlock": 150, "getdents64": 217, "epoll_wait": 232, "epoll_ctl": 233,
            "mbind": 237, "set_mempolicy": 238, "get_mempolicy": 239, "openat": 257, "newfstatat": 262,
            "readlinkat": 267, "faccessat": 269, "epoll_pwait": 281, "eventfd2": 290, "epoll_create1": 291,
            "pipe2": 293, "prlimit64": 302, "getcpu": 309, "memfd_create": 319, "statx": 332, "faccessat2": 439,
        },
    ),
    "aarch64": Machine(
        audit_arch=0xC000_00B7,
        numbers={
            "fcntl": 25, "close": 57, "lseek": 62, "read": 63, "write": 64, "readv": 65, "writev": 66, "ppoll": 73,
            "fstat": 80, "exit": 93, "exit_group": 94, "futex": 98, "set_robust_list": 99, "nanosleep": 101,
            "clock_gettime": 113, "clock_getres": 114, "clock_nanosleep": 115, "sched_getaffinity": 123,
            "sched_yield": 124, "restart_syscall": 128, "tgkill": 131, "sigaltstack": 132, "rt_sigaction": 134,
            "rt_sigprocmask": 135, "rt_sigreturn": 139, "getrusage": 165, "prctl": 167, "gettimeofday": 169,
            "getpid": 172, "gettid": 178, "sendto": 206, "recvfrom": 207, "sendmsg": 211, "recvmsg": 212, "brk": 214,
            "munmap": 215, "mremap": 216, "clone": 220, "mmap": 222, "mprotect": 226, "madvise": 233,
            "getrandom": 278, "membarrier": 283, "rseq": 293, "clone3": 435,
            "getcwd": 17, "eventfd2": 19, "epoll_create1": 20, "epoll_ctl": 21, "epoll_pwait": 22, "dup": 23,
            "ioctl": 29, "statfs": 43, "fstatfs": 44, "ftruncate": 46, "faccessat": 48, "openat": 56, "pipe2": 59,
            "getdents64": 61, "pread64": 67, "pwrite64": 68, "readlinkat": 78, "newfstatat": 79, "uname": 160,
            "getrlimit": 163, "getcpu": 168, "getppid": 173, "getuid": 174, "geteuid": 175, "getgid": 176,
            "getegid": 177, "sysinfo": 179, "msync": 227, "mlock": 228, "munlock": 229, "mincore": 232, "mbind": 235,
            "get_mempolicy": 236, "set_mempolicy": 237, "prlimit64": 261, "memfd_create": 279, "statx": 291,
            "faccessat2": 439,
        },
    ),
}  # fmt: skip

_MEMORY = ("mmap", "mprotect", "munmap", "mremap", "madvise", "brk")
_SIGNALS = ("rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "restart_syscall")
_CLOCKS = ("clock_gettime", "clock_getres", "gettimeofday", "time", "getrusage")
_OWN_DESCRIPTORS = ("read", "write", "readv", "writev", "close", "fstat", "lseek")
_SELF = ("getpid", "gettid", "getrandom", "exit", "exit_group", "futex")

COMPILER: Final = tuple(Allow(name) for name in (*_MEMORY, *_SIGNALS, *_CLOCKS, *_OWN_DESCRIPTORS, *_SELF))
"""NVRTC at work: memory, and one pipe for the answer. No threads, no descriptors but those it has."""

WORKER: Final = (
    *COMPILER,
    *(Allow(name) for name in ("recvfrom", "recvmsg", "sendto", "sendmsg", "poll", "ppoll")),
    *(Allow(name) for name in ("sched_yield", "sched_getaffinity", "nanosleep", "clock_nanosleep", "membarrier")),
    *(Allow(name) for name in ("set_robust_list", "rseq")),
    Allow("clone", argument=0, mask=CLONE_THREAD, value=CLONE_THREAD),
    Allow("prctl", argument=0, value=PR_SET_NAME),
    Allow("fcntl", argument=1, value=F_GETFD),
    Allow("fcntl", argument=1, value=F_GETFL),
    Allow("fcntl", argument=1, value=F_DUPFD_CLOEXEC),  # Python maps a duplicate
)
"""The CPU engine: the compiler's calls, its socket, and threads of its own process (`clone` without CLONE_THREAD,
which is fork, stays refused)."""

_NAMED_FILES = ("open", "openat", "stat", "lstat", "newfstatat", "statx", "access", "faccessat", "faccessat2",
                "readlink", "readlinkat", "getdents64", "getcwd", "statfs", "fstatfs")  # fmt: skip
_EVENTS = ("eventfd2", "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "pipe2", "dup")
_OWN_MEMORY = ("mincore", "msync", "mlock", "munlock", "mbind", "get_mempolicy", "set_mempolicy", "memfd_create",
               "ftruncate", "pread64", "pwrite64")  # fmt: skip
_WHOAMI = ("getuid", "geteuid", "getgid", "getegid", "getppid", "uname", "sysinfo", "getcpu", "getrlimit")

CUDA: Final = (
    *WORKER,
    *(Allow(name) for name in (*_NAMED_FILES, *_EVENTS, *_OWN_MEMORY, *_WHOAMI)),
    Allow("prlimit64", argument=0, value=0),
    Allow("fcntl", argument=1, value=F_DUPFD),
    Allow("fcntl", argument=1, value=F_SETFD),
    Allow("fcntl", argument=1, value=F_SETFL),
    Allow("ioctl", argument=1, mask=0xFF00, value=ord("F") << 8),  # nv-ioctl-numbers.h: NV_IOCTL_MAGIC
    Allow("ioctl", argument=1, mask=0xFFFF_FF00, value=0),  # uvm_ioctl.h: UVM_IOCTL_BASE
    Allow("ioctl", argument=1, mask=0xFFFF_FF00, value=0x3000_0000),  # uvm_linux_ioctl.h: UVM_INITIALIZE
)
"""The CUDA engine: what NVIDIA's libraries should need once a context exists. Of ioctl only what the headers of the
open kernel modules number, of fcntl nothing that sends signals to whom one names."""
