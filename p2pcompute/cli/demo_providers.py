"""The demo's provider processes: started, watched, stopped."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

import trio

from p2pcompute.identity import names
from p2pcompute.node import factory
from p2pcompute.node.config import DEFAULT_NETWORK

PRICE_FIRST: Final = 1_000_000
PRICE_STEP: Final = 100_000
PRICE_LIAR: Final = 200_000
"""Micro-credits per device-second: the liar undercuts everyone, so it is drawn at once."""
PRICE_GB: Final = 50_000
"""Micro-credits per 10^9 bytes that travel, from honest providers."""
START_S: Final = 60.0
STOP_S: Final = 15.0


@dataclasses.dataclass
class Provider:
    """One provider process, with a home and an operator of its own."""

    number: int
    home: Path
    peer: bytes
    price: int
    liar: bool
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def name(self) -> str:
        """For people: provider 3 (…Xy12abcd)."""
        return f"provider {self.number} (…{names.short(self.peer)})"

    @property
    def price_gb(self) -> int:
        return 0 if self.liar else PRICE_GB

    @property
    def alive(self) -> bool:
        return self.process.poll() is None


def spawn(number: int, root: Path, bootstrap: str, *, liar: bool) -> Provider:
    """Make a home and start a provider on it, on a free port of the loopback interface."""
    home, log = root / f"provider{number}", root / f"provider{number}.log"
    peer = factory.create_home(home, "", "", DEFAULT_NETWORK)
    price = PRICE_LIAR if liar else PRICE_FIRST + PRICE_STEP * number
    command = ["liar", str(home), bootstrap, str(price)] if liar else _serve_command(home, bootstrap, price)
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "p2pcompute.cli.tethered", str(os.getpid()), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,  # a Ctrl-C in the terminal is for the demo, which then stops its providers
        )
    return Provider(number, home, peer, price, liar, process, log)


def _serve_command(home: Path, bootstrap: str, price: int) -> list[str]:
    return [
        "serve",
        "--json",
        *("--home", str(home)),
        *("--listen", "/ip4/127.0.0.1/tcp/0"),
        *("--bootstrap", bootstrap),
        *("--price", f"{price / 1_000_000:.6f}"),
        *("--price-gb", f"{PRICE_GB / 1_000_000:.6f}"),
    ]


async def wait_listening(provider: Provider) -> bool:
    """Read the provider's output up to the line that says it listens; False when it ends or is too slow."""
    assert provider.process.stdout is not None
    stream = trio.lowlevel.FdStream(os.dup(provider.process.stdout.fileno()))
    data = b""
    with trio.move_on_after(START_S):
        async with stream:
            while more := await stream.receive_some(65536):
                data += more
                if any(_says_listening(line) for line in data.split(b"\n")[:-1]):
                    return True
    return False


def _says_listening(line: bytes) -> bool:
    with contextlib.suppress(ValueError):
        event = json.loads(line)
        return isinstance(event, dict) and event.get("event") == "listening"
    return False


async def drain_output(provider: Provider) -> None:
    """Keep the provider's output pipe empty, for as long as it writes."""
    assert provider.process.stdout is not None
    async with trio.lowlevel.FdStream(os.dup(provider.process.stdout.fileno())) as stream:
        while await stream.receive_some(65536):
            pass


@contextlib.asynccontextmanager
async def stopping(providers: Sequence[Provider]) -> AsyncIterator[None]:
    """Stop all providers at the end of the block: asked first, then killed. Cannot be cancelled."""
    try:
        yield
    finally:
        with trio.CancelScope(shield=True):
            for provider in providers:
                if provider.alive:
                    provider.process.send_signal(signal.SIGTERM)
            with trio.move_on_after(STOP_S):
                while any(p.alive for p in providers):
                    await trio.sleep(0.05)
            for provider in providers:
                provider.process.kill()
                provider.process.wait()
