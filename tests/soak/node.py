"""One home with a provider in it, and the process that lives there at the moment."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import trio

from p2pcompute.cli.app import run
from p2pcompute.node.control import RemoteNode
from p2pcompute.storage.home import Layout
from tests.hostile.node import memory_bytes

START_S: Final = 60.0
"""A start on a machine that does much else at the time."""
ANSWER_S: Final = 30.0
TASKS_PER_CONNECTION: Final = 9
"""At rest: a node without work has 21 tasks and 9 for each connection, 18 files and one for each connection."""
FILES_PER_CONNECTION: Final = 1
DEFECTS: Final = ("Traceback", "a defect", "never awaited", "was destroyed but it is pending")
"""What no log may hold, however rudely the others went."""
DEFECT_LINES: Final = 40


@dataclasses.dataclass(frozen=True)
class Footprint:
    """What one process holds: its own word for trio tasks and open files, the kernel's for its memory."""

    memory_bytes: int
    files: int
    tasks: int
    connections: int

    @property
    def tasks_beside_connections(self) -> int:
        return self.tasks - TASKS_PER_CONNECTION * self.connections

    @property
    def files_beside_connections(self) -> int:
        return self.files - FILES_PER_CONNECTION * self.connections


class Node:
    """Made by `Node.begin`; keeps its home, port and log from one process to the next."""

    def __init__(self, home: Path, name: str) -> None:
        self.home, self.name = home, name
        self.log = home.parent / f"{home.name}.log"
        self.address = "/ip4/127.0.0.1/tcp/0"
        self.peer = ""
        self.busy = True
        """Down, stopped or starting, and somebody sees to it."""
        self.process: subprocess.Popen[str] | None = None
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            assert run(["init", "--home", str(home), "--no-passphrase"]) == 0

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    async def begin(self, *options: str) -> None:
        """Start on the same port as before. Without a bootstrap among `options`, peers.txt must do."""
        listen = self.address.partition("/p2p/")[0]
        command = ["serve", "--json", "--home", self.home, "--listen", listen, "--memory", "64MiB", "--threads", "1"]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "p2pcompute", *map(str, command), *options],
                stdout=subprocess.PIPE,
                stderr=log,
                stdin=subprocess.DEVNULL,
                text=True,
                start_new_session=True,
            )
        with trio.fail_after(START_S):
            first = await trio.to_thread.run_sync(self._first_line, abandon_on_cancel=True)
        assert first, f"{self.name} did not start: {self.log.read_text()[-2_000:]}"
        said = json.loads(first)
        self.address, self.peer, self.busy = str(said["addresses"][0]), str(said["peer"]), False

    def _first_line(self) -> str:
        assert self.process is not None
        assert self.process.stdout is not None
        return str(self.process.stdout.readline())

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    async def end(self, number: int) -> None:
        """Returns when the process is gone. One that is asked to end does so without an error."""
        assert self.process is not None
        self.signal(number)
        await trio.to_thread.run_sync(self.process.communicate)
        if self.process.returncode not in (0, -number):
            with self.log.open("a") as log:
                log.write(f"a defect: the process ended with {self.process.returncode}\n")

    def destroy(self) -> None:
        """Whatever state it is in."""
        if self.process is not None:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.communicate()

    async def status(self) -> dict[str, Any]:
        with trio.fail_after(ANSWER_S):
            return await RemoteNode(Layout(self.home).control_socket).status()

    async def neighbours(self) -> set[str]:
        with trio.fail_after(ANSWER_S):
            rows = await RemoteNode(Layout(self.home).control_socket).table("peers")
        return {str(row["peer"]) for row in rows}

    async def known_providers(self) -> set[str]:
        """Whose offers stand in its book."""
        with trio.fail_after(ANSWER_S):
            rows = await RemoteNode(Layout(self.home).control_socket).table("book")
        return {str(row["peer"]) for row in rows}

    async def footprint(self) -> Footprint:
        status = await self.status()
        connections = status["inbound"] + status["outbound"]
        return Footprint(memory_bytes(self.pid), status["files"], status["tasks"], connections)

    def defects(self) -> list[str]:
        """What its log says of defects: each line that speaks of one, with what follows."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        found = [at for at, line in enumerate(lines) if any(word in line for word in DEFECTS)]
        return ["\n".join(lines[at : at + DEFECT_LINES]) for at in found]
