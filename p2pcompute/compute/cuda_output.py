"""What kernels print: the driver writes it to the process's standard output when it waits for a kernel."""

from __future__ import annotations

import ctypes
import fcntl
import os

from p2pcompute.compute.jobs import LOG_BYTES_MAX


class Printed:
    """Takes over file descriptor 1 of this process. What comes faster than it is read is lost: a pipe holds 64 KiB and
    is never waited for."""

    def __init__(self) -> None:
        self._reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        os.dup2(writing, 1)
        os.close(writing)
        fcntl.fcntl(1, fcntl.F_SETFL, os.O_NONBLOCK)
        self._libc = ctypes.CDLL(None)

    def take(self) -> str:
        """All that was printed since the last call, the first LOG_BYTES_MAX bytes of it."""
        self._libc.fflush(None)
        data = bytearray()
        while True:
            try:
                piece = os.read(self._reading, 1 << 16)
            except BlockingIOError:
                break
            data += piece[: LOG_BYTES_MAX - len(data)]
        return data.decode(errors="replace")
