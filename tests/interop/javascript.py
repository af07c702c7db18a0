"""js-libp2p peers for interop tests and benchmarks: separate Node processes that speak JSON lines."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import trio

HERE: Final = Path(__file__).parent / "js"
PATIENCE_S: Final = 60.0
LINE_BYTES_MAX: Final = 1 << 20


class MissingJavaScriptError(Exception):
    """The js peers cannot be started; the text says what to type."""


def node_command() -> str:
    """The Node binary. Raises MissingJavaScriptError when it or the packages are missing."""
    node = shutil.which("node")
    if node is None:
        raise MissingJavaScriptError("Node.js 20 or newer is needed to compare with js-libp2p, and was not found.")
    if not (HERE / "node_modules" / "libp2p").is_dir():
        raise MissingJavaScriptError("The js-libp2p packages are not installed; type: ./dev test --interop")
    return node


class JsPeer:
    """A peer that does what it is told. `events` collects what it says unasked."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._answers = trio.open_memory_channel[dict[str, Any]](64)
        self._changed = trio.Event()
        self.events: list[dict[str, Any]] = []
        self.peer = ""
        self.address = ""

    async def read(self) -> None:
        """Until the process ends."""
        assert self._process.stdout is not None
        rest = b""
        async for data in self._process.stdout:
            *lines, rest = (rest + data).split(b"\n")
            assert len(rest) <= LINE_BYTES_MAX
            for line in lines:
                event = json.loads(line)
                if event["event"] in ("done", "failed"):
                    await self._answers[0].send(event)
                else:
                    self.events.append(event)
            self._changed.set()
            self._changed = trio.Event()

    async def tell(self, command: str, **options: object) -> dict[str, Any]:
        """Give a command and wait until it is done. Raises AssertionError with the peer's reason when it failed."""
        assert self._process.stdin is not None
        await self._process.stdin.send_all(json.dumps({"command": command, **options}).encode() + b"\n")
        answer = await self._answers[1].receive()
        assert answer["event"] == "done", answer["reason"]
        return answer

    async def until(self, name: str, count: int = 1, **fields: object) -> list[dict[str, Any]]:
        """Events of that name and with those fields, once there are `count`."""
        while True:
            found = [e for e in self.events if e["event"] == name and all(e.get(k) == v for k, v in fields.items())]
            if len(found) >= count:
                return found
            await self._changed.wait()


@asynccontextmanager
async def js_peer(*arguments: str, script: str = "peer.mjs") -> AsyncIterator[JsPeer]:
    """A running js peer. peer.mjs takes a topic and listens on loopback."""
    command = [node_command(), str(HERE / script), *arguments]
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(  # type: ignore[assignment]
            lambda task_status: trio.run_process(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, check=False, task_status=task_status
            )
        )
        peer = JsPeer(process)
        nursery.start_soon(peer.read)
        with trio.fail_after(PATIENCE_S):
            (ready,) = await peer.until("ready")
            peer.peer, peer.address = ready["peer"], ready["addresses"][0]
            yield peer
        nursery.cancel_scope.cancel()
