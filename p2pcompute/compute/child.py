"""A child process of ours: started by exec, with nothing but one socket, and gone when we say so.

Never forked from the running program: a fork of a process with trio, threads and keys in it inherits them all.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from typing import Final

import trio

from p2pcompute.compute.parent_channel import ParentChannel

ENVIRONMENT: Final = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""All that a child sees, unless it needs more. numpy's linear algebra must not start threads at import: the sandbox
would refuse."""
_LAST_WORDS_BYTES_MAX: Final = 2048
_KILLED_S: Final = 30.0
"""A killed process is gone at once, unless it waits inside a device driver."""


class Child:
    """`python PROGRAM... DESCRIPTOR PARENT_PID ARGUMENTS...`, in its own session, with next to no environment.

    Must be made on the thread that runs trio: the kernel kills the child when the *thread* that started it ends, and
    trio's helper threads come and go. Close it with `aclose`, always.
    """

    def __init__(
        self,
        program: tuple[str, ...],
        frame_bytes_max: int,
        *arguments: int,
        environment: Mapping[str, str] = ENVIRONMENT,
    ) -> None:
        """`program` is `-m` and a module; `environment` all that the child sees."""
        ours, theirs = socket.socketpair()
        self._stderr, stderr = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)  # a full pipe must not block the child
        numbers = (theirs.fileno(), os.getpid(), *arguments)
        command = [sys.executable, "-E", "-P", *program, *map(str, numbers)]
        with theirs:
            try:
                self._process = subprocess.Popen(
                    command,
                    env=dict(environment),
                    cwd="/",
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=stderr,
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,  # a Ctrl-C in the terminal is for us, not for it
                )
            except BaseException:
                ours.close()
                os.close(self._stderr)
                raise
            finally:
                os.close(stderr)
        self._pidfd = os.pidfd_open(self._process.pid)
        self.channel = ParentChannel(ours, frame_bytes_max)
        self._ending: str | None = None

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal; nothing when it is gone."""
        if self._ending is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    async def aclose(self) -> str:
        """Kill the child, wait until it is gone, free what it held; returns one sentence on how it had ended. Cannot be
        cancelled, and may be called again. A child that the kernel cannot end is left behind after 30 s."""
        if self._ending is None:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + _KILLED_S) as killing:
                self._process.kill()  # a child that is already ending keeps its own status
                await trio.lowlevel.wait_readable(self._pidfd)
            if killing.cancelled_caught:
                self._ending = f"did not end within {_KILLED_S:.0f} s of SIGKILL"
            else:
                self._ending = self._describe(self._process.wait())
            self.channel.close()
            os.close(self._pidfd)
            os.close(self._stderr)
        return self._ending

    def _describe(self, status: int) -> str:
        how = f"was killed by {_signal_name(-status)}" if status < 0 else f"ended with status {status}"
        try:
            words = os.read(self._stderr, _LAST_WORDS_BYTES_MAX).decode(errors="replace").strip().splitlines()
        except BlockingIOError:
            words = []
        return f"{how}: {words[-1][:300]}" if words else how


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
