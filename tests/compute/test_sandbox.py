"""Escapes are tried for real, in a child process that jailed itself."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from functools import cache

import pytest

from p2pcompute.compute import landlock, sandbox, seccomp, syscalls
from p2pcompute.errors import SandboxError

_PROBES = """
import ctypes, errno, json, mmap, os, resource, signal, socket, sys, threading
from p2pcompute.compute import sandbox
memory_bytes = 1 << 30
profile = (sandbox.compiler_profile(memory_bytes=memory_bytes, cpu_s=5) if sys.argv[1] == "compiler"
           else sandbox.worker_profile(memory_bytes=memory_bytes))
libc = ctypes.CDLL(None, use_errno=True)
def raw(*arguments):
    if libc.syscall(*arguments) < 0:
        raise OSError(ctypes.get_errno(), "refused")
def thread():
    done = []
    t = threading.Thread(target=done.append, args=(1,)); t.start(); t.join()
def signal_parent(): os.kill(os.getppid(), 0)
def memory():
    mmap.mmap(-1, 2 << 30)
attempts = {
    "read a file": lambda: open("/etc/passwd"),
    "read the environment": lambda: open("/proc/self/environ"),
    "write a file": lambda: open("/tmp/p2pcompute-escape", "w"),
    "list a directory": lambda: os.listdir("/"),
    "make a socket": lambda: socket.socket(),
    "make a socket pair": lambda: socket.socketpair(),
    "fork": os.fork,
    "exec": lambda: os.execv("/bin/true", ["true"]),
    "trace": lambda: raw(101, 0, 0, 0, 0),
    "signal the parent": signal_parent,
    "raise the limits": lambda: resource.setrlimit(resource.RLIMIT_AS, (-1, -1)),
    "take more memory": memory,
    "start a thread": thread,
    "allocate": lambda: bytearray(64 << 20),
}
sandbox.apply(profile)
results = {}
for name, attempt in attempts.items():
    try:
        attempt()
        results[name] = "allowed"
    except (OSError, RuntimeError, MemoryError, ValueError) as error:
        results[name] = type(error).__name__
os.write(1, json.dumps(results).encode())
os._exit(0)
"""


@cache
def _probe(profile: str) -> dict[str, str]:
    run = subprocess.run([sys.executable, "-c", _PROBES, profile], capture_output=True, timeout=60, env={}, check=True)
    results: dict[str, str] = json.loads(run.stdout)
    return results


@pytest.mark.parametrize("profile", ["compiler", "worker"])
@pytest.mark.parametrize(
    "attempt",
    [
        "read a file",
        "read the environment",
        "write a file",
        "list a directory",
        "make a socket",
        "make a socket pair",
        "fork",
        "exec",
        "trace",
        "signal the parent",
    ],
)
def test_the_jail_refuses(profile: str, attempt: str) -> None:
    assert _probe(profile)[attempt] == "PermissionError"


@pytest.mark.parametrize("profile", ["compiler", "worker"])
def test_the_jail_keeps_its_limits(profile: str) -> None:
    assert _probe(profile)["raise the limits"] == "ValueError"  # what the resource module makes of EPERM


@pytest.mark.parametrize("profile", ["compiler", "worker"])
def test_the_jail_caps_memory(profile: str) -> None:
    assert _probe(profile)["take more memory"] == "OSError"


@pytest.mark.parametrize("profile", ["compiler", "worker"])
def test_the_jail_lets_work_go_on(profile: str) -> None:
    assert _probe(profile)["allocate"] == "allowed"


def test_only_the_worker_may_start_threads() -> None:
    assert _probe("worker")["start a thread"] == "allowed"
    assert _probe("compiler")["start a thread"] == "RuntimeError"


def test_a_process_with_threads_is_refused() -> None:
    script = textwrap.dedent("""
        import threading
        from p2pcompute.compute import sandbox
        release = threading.Event()
        threading.Thread(target=release.wait).start()
        try:
            sandbox.apply(sandbox.worker_profile(memory_bytes=1 << 30))
        except Exception as error:
            print(type(error).__name__, error)
        release.set()
    """)
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60, text=True, check=True)
    assert run.stdout.strip() == "SandboxError the process already has threads, which the sandbox would not bind"


def test_this_machine_offers_the_whole_jail() -> None:
    report = sandbox.available()
    assert report.is_full
    assert report.level == "jail"


def test_without_landlock_the_report_says_so_and_apply_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "abi_version", lambda: 0)
    report = sandbox.available()
    assert report.level == "none"
    assert "Landlock" in report.missing[0]
    with pytest.raises(SandboxError, match="no Landlock"):
        landlock.restrict()


def test_an_operator_may_go_without_what_the_kernel_lacks() -> None:
    script = (
        "import os\n"
        "from p2pcompute.compute import landlock, sandbox\n"
        "landlock.abi_version = lambda: 0\n"
        "sandbox.apply(sandbox.worker_profile(memory_bytes=1 << 30), required=False)\n"
        "try:\n"
        "    os.open('/etc/passwd', os.O_RDONLY)\n"
        "except PermissionError:\n"
        "    os.write(1, b'still refused')\n"
        "os._exit(0)\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60, check=True)
    assert run.stdout == b"still refused"


@pytest.mark.parametrize(("abi", "rights", "size"), [(1, 13, 8), (2, 14, 8), (3, 15, 8), (4, 15, 16), (7, 16, 24)])
def test_the_ruleset_holds_what_each_kernel_knows(abi: int, rights: int, size: int) -> None:
    attribute = landlock.ruleset(abi)
    assert len(attribute) == size
    assert int.from_bytes(attribute[:8], "little") == (1 << rights) - 1


@pytest.mark.parametrize("machine", sorted(syscalls.MACHINES))
@pytest.mark.parametrize("rules", [syscalls.COMPILER, syscalls.WORKER])
def test_every_machine_has_a_filter(machine: str, rules: tuple[syscalls.Allow, ...]) -> None:
    assert len(seccomp.assemble(rules, machine)) % 8 == 0
    only_x86 = {"poll", "time"}
    assert {rule.name for rule in rules} - only_x86 <= set(syscalls.MACHINES[machine].numbers)


def test_an_unknown_machine_is_refused() -> None:
    with pytest.raises(SandboxError, match="no table of system calls for riscv64"):
        seccomp.assemble(syscalls.COMPILER, "riscv64")
