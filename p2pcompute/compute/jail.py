"""The compile jail: a small process that loads NVRTC once and forks a sandboxed child for each compilation.

Run as `python -m p2pcompute.compute.jail DESCRIPTOR PARENT_PID JAIL` by compiler.py. It has one thread and holds no
secrets, so its forks inherit nothing; NVRTC is warm in it, so a fork compiles at once. What NVRTC can be talked into
(reading files, eating memory, crashing) ends with the fork.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from typing import Final

import msgspec

from p2pcompute.compute import sandbox
from p2pcompute.compute.channel import ChannelClosedError, ChildChannel
from p2pcompute.compute.nvrtc import OPTIONS, Compilation, Nvrtc
from p2pcompute.compute.source import MATH_HEADER, served_headers
from p2pcompute.errors import SandboxError
from p2pcompute.wire import limits

REQUEST_BYTES_MAX: Final = limits.SOURCE_BYTES_MAX + limits.MIB
LOG_BYTES_MAX: Final = 64 * limits.KIB
REPLY_BYTES_MAX: Final = limits.PTX_BYTES_MAX + LOG_BYTES_MAX + 4 * limits.KIB
_MEMORY_BYTES: Final = 2 * limits.GIB
"""Address space of one compilation, of which 0.4 GiB are the libraries. A large template-heavy kernel takes 0.3."""
_PIPE_READ_BYTES: Final = 1 << 18


class Request(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    main: str
    files: dict[str, str]
    options: tuple[str, ...]
    timeout_ms: int
    expressions: tuple[str, ...] = ()


class Reply(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """`ptx` is empty unless the compilation went well; `log` is the compiler's own text; `died` says, as a sentence,
    how a compilation ended that gave no answer; `entries` has the PTX name of each expression asked for."""

    ptx: str
    log: str
    died: str
    entries: tuple[str, ...] = ()


def main(descriptor: int, parent_pid: int, jail: int) -> None:
    """Serve compilations one at a time until the parent closes the channel. `jail` 0: what the kernel lacks of the
    sandbox is left out."""
    sandbox.die_with_parent(parent_pid)
    channel = ChildChannel(descriptor, REQUEST_BYTES_MAX)
    compiler = Nvrtc()
    headers = served_headers()
    warm = compiler.compile("warm.cu", "__global__ void warm() {}", headers, (*OPTIONS, f"--pre-include={MATH_HEADER}"))
    channel.send(msgspec.msgpack.encode(Reply("", warm.log, "" if warm.ok else "the compiler does not work here")))
    while True:
        try:
            frame, _ = channel.receive()
        except ChannelClosedError:
            return
        request = msgspec.msgpack.decode(frame, type=Request)
        channel.send(msgspec.msgpack.encode(_compile_apart(compiler, headers, request, bool(jail))))


def _compile_apart(compiler: Nvrtc, headers: dict[str, str], request: Request, jail: bool) -> Reply:
    """One compilation in a forked, sandboxed child, with a deadline and a bound on what it may answer."""
    reading, writing = os.pipe()
    zygote = os.getpid()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _in_the_jail(compiler, headers, request, jail, writing, zygote)
    os.close(writing)
    deadline = time.monotonic() + request.timeout_ms / 1000
    data, fault = _read_until(reading, deadline)
    os.close(reading)
    os.kill(pid, signal.SIGKILL)  # whatever it answered, it may not stay; one that is ending keeps its own status
    _, status = os.waitpid(pid, 0)
    if fault:
        return Reply("", "", fault)
    try:
        return msgspec.msgpack.decode(data, type=Reply)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return Reply("", "", f"the compiler died ({_how(status)}); it may use {_MEMORY_BYTES >> 30} GiB of memory")


def _in_the_jail(
    compiler: Nvrtc, headers: dict[str, str], request: Request, jail: bool, writing: int, zygote: int
) -> None:
    """Never returns: the child ends here whatever happens."""
    status = 1
    try:
        sandbox.die_with_parent(zygote)
        cpu_s = request.timeout_ms // 1000 + 2
        sandbox.apply(sandbox.compiler_profile(memory_bytes=_MEMORY_BYTES, cpu_s=cpu_s), required=jail)
        text, files = request.files[request.main], {**headers, **request.files}
        result = compiler.compile(request.main, text, files, request.options, request.expressions)
        with open(writing, "wb") as pipe:
            pipe.write(msgspec.msgpack.encode(_reply(result)))
        status = 0
    except SandboxError as error:
        os.write(writing, msgspec.msgpack.encode(Reply("", "", f"nothing was compiled: {error}")))
    finally:
        os._exit(status)


def _reply(result: Compilation) -> Reply:
    log = result.log.encode()[:LOG_BYTES_MAX].decode(errors="ignore")
    if len(result.ptx) > limits.PTX_BYTES_MAX:
        return Reply("", log, f"the PTX has {len(result.ptx)} bytes; the limit is {limits.PTX_BYTES_MAX}")
    return Reply(result.ptx, log, "", result.entries)


def _read_until(descriptor: int, deadline: float) -> tuple[bytes, str]:
    """All bytes up to the end of the pipe, or the reason to give up."""
    data = bytearray()
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([descriptor], [], [], left)[0]:
            return b"", "the compiler took longer than its time limit"
        piece = os.read(descriptor, _PIPE_READ_BYTES)
        if not piece:
            return bytes(data), ""
        data += piece
        if len(data) > REPLY_BYTES_MAX:
            return b"", "the compiler answered more than its limit"


def _how(status: int) -> str:
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return f"status {os.WEXITSTATUS(status)}"


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]))
