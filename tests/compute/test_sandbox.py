"""Escapes are tried for real, in a child process that jailed itself."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from functools import cache
from pathlib import Path

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


_CUDA_PROBES = """
import ctypes, fcntl, json, os, resource, signal, socket, sys, threading
from pathlib import Path
from p2pcompute.compute import cuda_files, sandbox
home = Path(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
def raw(*arguments):
    if libc.syscall(*arguments) < 0:
        raise OSError(ctypes.get_errno(), "refused")
def write(path):
    os.close(os.open(path, os.O_RDWR | os.O_CREAT))
reading, _ = os.pipe()
attempts = {
    "read a library's folder": lambda: os.listdir("/usr/lib"),
    "read of the system": lambda: Path("/proc/meminfo").read_text(),
    "read its own part of /proc": lambda: Path("/proc/self/status").read_text(),
    "use a device": lambda: write("/dev/null"),
    "read a home": lambda: (home / "key").read_text(),
    "list a home": lambda: os.listdir(home),
    "read the accounts": lambda: Path("/etc/passwd").read_text(),
    "read another process's part of /proc": lambda: Path(f"/proc/{os.getppid()}/status").read_text(),
    "use another device": lambda: write("/dev/ptmx"),
    "write a library": lambda: write("/usr/lib/p2pcompute-escape"),
    "write a file": lambda: write("/tmp/p2pcompute-escape"),
    "make a socket": socket.socket,
    "make a socket pair": socket.socketpair,
    "fork": os.fork,
    "exec": lambda: os.execv("/bin/true", ["true"]),
    "trace": lambda: raw(101, 0, 0, 0, 0),
    "signal the parent": lambda: os.kill(os.getppid(), 0),
    "limit the parent": lambda: resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (8, 8)),
    "bind the parent to a processor": lambda: os.sched_setaffinity(os.getppid(), {0}),
    "have signals sent": lambda: fcntl.fcntl(reading, fcntl.F_SETOWN, os.getppid()),
    "have signals sent by a device": lambda: fcntl.ioctl(reading, 0x5452, b"\\1\\0\\0\\0"),
}
results = {}
def probe(where):
    for name, attempt in attempts.items():
        try:
            attempt()
            results[where, name] = "allowed"
        except (OSError, ValueError) as error:
            results[where, name] = type(error).__name__
sandbox.confine_files(cuda_files.grants())
go = threading.Event()
started_before = threading.Thread(target=lambda: (go.wait(), probe("a thread")))
started_before.start()
sandbox.confine_calls(sandbox.cuda_profile(data_bytes=8 << 30))
probe("the main thread")
go.set()
started_before.join()
os.write(1, json.dumps([[*key, value] for key, value in results.items()]).encode())
os._exit(0)
"""
_CUDA_MAY = ("read a library's folder", "read of the system", "read its own part of /proc", "use a device")


def test_the_cuda_jail_lets_the_driver_work_and_nothing_else(tmp_path: Path) -> None:
    """Threads that were there before the second half are bound too."""
    (tmp_path / "key").write_text("secret")
    command = [sys.executable, "-c", _CUDA_PROBES, str(tmp_path)]
    run = subprocess.run(command, capture_output=True, timeout=60, env={}, check=True)
    results = [tuple(row) for row in json.loads(run.stdout)]
    assert {where for where, _, _ in results} == {"the main thread", "a thread"}
    allowed = {(where, name) for where, name, result in results if result == "allowed"}
    assert allowed == {(where, name) for where, _, _ in results for name in _CUDA_MAY}
    refused = {(name, result) for _, name, result in results if name not in _CUDA_MAY}
    assert {result for _, result in refused} == {"PermissionError"}
    assert len(refused) == len(results) // 2 - len(_CUDA_MAY)


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
@pytest.mark.parametrize("rules", [syscalls.COMPILER, syscalls.WORKER, syscalls.CUDA])
def test_every_machine_has_a_filter(machine: str, rules: tuple[syscalls.Allow, ...]) -> None:
    assert len(seccomp.assemble(rules, machine)) % 8 == 0
    missing = {rule.name for rule in rules} - set(syscalls.MACHINES[machine].numbers)
    assert missing == ({rule.name for rule in rules} & syscalls.ONLY_X86_64 if machine == "aarch64" else set())


def test_an_unknown_machine_is_refused() -> None:
    with pytest.raises(SandboxError, match="no table of system calls for riscv64"):
        seccomp.assemble(syscalls.COMPILER, "riscv64")
