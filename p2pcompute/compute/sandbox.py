"""The jail around everything that handles a stranger's code: one call, for good, or an error.

Four layers that do not lean on each other: resource limits, `no_new_privs`, Landlock (no file, no network), seccomp
(no system call but a few). The order matters: each takes away what the next no longer needs. A process whose libraries
start threads jails itself in two halves: files before the threads, which inherit that, calls after them, for all.
"""

from __future__ import annotations

import ctypes
import dataclasses
import os
import platform
import resource
import signal
from collections.abc import Iterable, Mapping
from typing import Final

from p2pcompute.compute import landlock, seccomp, syscalls
from p2pcompute.errors import SandboxError

_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NO_NEW_PRIVS: Final = 38


@dataclasses.dataclass(frozen=True, slots=True)
class Profile:
    """What one kind of jailed process keeps: its system calls, and soft = hard resource limits by their name in
    `resource` (bytes, seconds or counts)."""

    name: str
    allow: tuple[syscalls.Allow, ...]
    limits: Mapping[str, int]


@dataclasses.dataclass(frozen=True, slots=True)
class SandboxReport:
    """What this machine offers. `missing` has one sentence for each layer it lacks; empty means `apply` will work."""

    landlock_abi: int
    seccomp: bool
    missing: tuple[str, ...]

    @property
    def is_full(self) -> bool:
        return not self.missing

    @property
    def level(self) -> str:
        """The isolation level of offers: `jail` (all layers) or `none` (strangers' work is refused by default)."""
        return "jail" if self.is_full else "none"


def compiler_profile(*, memory_bytes: int, cpu_s: int) -> Profile:
    """For one compilation: no threads, no new descriptors, no files."""
    limits = {"RLIMIT_AS": memory_bytes, "RLIMIT_CPU": cpu_s, "RLIMIT_NPROC": 0, "RLIMIT_NOFILE": 0}
    return Profile("compiler", syscalls.COMPILER, limits)


def worker_profile(*, memory_bytes: int) -> Profile:
    """For a CPU engine. Its processor time is bounded per job by the supervisor, not here: it serves many jobs."""
    return Profile("worker", syscalls.WORKER, {"RLIMIT_AS": memory_bytes, "RLIMIT_NOFILE": 16})


def cuda_profile(*, data_bytes: int) -> Profile:
    """For a CUDA engine. Address space cannot be bounded, since the driver reserves it by the terabyte; memory of the
    process's own (`data_bytes`, heap and private mappings) can."""
    return Profile("cuda", syscalls.CUDA, {"RLIMIT_DATA": data_bytes, "RLIMIT_NOFILE": 1024})


def available() -> SandboxReport:
    """Ask the kernel what it has; changes nothing."""
    missing = []
    abi = landlock.abi_version()
    if abi < 1:
        missing.append("the kernel has no Landlock (needs Linux 5.13 with CONFIG_SECURITY_LANDLOCK)")
    filters = seccomp.is_supported()
    if not filters:
        missing.append(f"the kernel takes no system call filters, or {platform.machine()} has no table of them")
    return SandboxReport(abi, filters, tuple(missing))


def apply(profile: Profile, *, required: bool = True) -> None:
    """Jail the calling process until it ends. All layers, or SandboxError and the caller must not go on.

    With `required` off, layers that this kernel lacks are left out, for operators who serve only friends; what the
    kernel has but refuses is an error even then. Must run before the process has a second thread, since Landlock binds
    only the calling one, and after everything that needs a file (imports, libraries) was loaded.
    """
    confine_files((), required=required)
    confine_calls(profile, required=required)


def confine_files(grants: Iterable[landlock.Grant], *, required: bool = True) -> None:
    """The first half: no file and no network but what is granted, for this thread and all it will start. Raises as
    `apply` does."""
    if len(os.listdir("/proc/self/task")) != 1:
        raise SandboxError("the process already has threads, which the sandbox would not bind")
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    if required or landlock.abi_version() >= 1:
        landlock.restrict(grants)


def confine_calls(profile: Profile, *, required: bool = True) -> None:
    """The second half: limits, and no system call but the profile's, for all threads. Raises as `apply` does."""
    _prctl(_PR_SET_DUMPABLE, 0)
    try:
        for name, value in {"RLIMIT_CORE": 0, "RLIMIT_FSIZE": 0, **profile.limits}.items():
            resource.setrlimit(getattr(resource, name), (value, value))
    except (ValueError, OSError) as error:
        raise SandboxError(f"the kernel refuses a resource limit: {error}") from error
    if required or seccomp.is_supported():
        seccomp.install(profile.allow)


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise SandboxError(f"the kernel refuses prctl {option}: {os.strerror(ctypes.get_errno())}")


def die_with_parent(parent_pid: int) -> None:
    """SIGKILL this process when the thread that started it ends, so that a killed node leaves nobody behind."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:  # it ended before the call
        os._exit(1)
