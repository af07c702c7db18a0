"""Cold processes: importing the package, --help, a client that has joined a provider."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import trio

from p2pcompute.node import factory

GOALS: Final = {"import_ms": ("<=", 150.0), "help_ms": ("<=", 250.0), "client_ready_s": ("<=", 2.0)}

CLIENT: Final = """
import sys, p2pcompute
with p2pcompute.Client(bootstrap=[sys.argv[1]]) as client:
    while client.status()["offers"] < 1:
        pass
"""


def measure(*, quick: bool) -> dict[str, object]:
    """Milliseconds and seconds of whole processes, from exec to exit."""
    rounds = 1 if quick else 7
    return {
        "import_ms": _wall_ms(["-c", "import p2pcompute"], rounds),
        "help_ms": _wall_ms(["-m", "p2pcompute", "--help"], rounds),
        "python_ms": _wall_ms(["-c", "pass"], rounds),
        "client_ready_s": trio.run(_client_ready_s, rounds),
    }


def _wall_ms(arguments: list[str], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        times.append(1000 * (time.perf_counter() - begin))
    return statistics.median(times)


async def _client_ready_s(rounds: int) -> float:
    """From exec of a client to its first offer in the book, exit included, with one provider on the same machine."""
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory) / "home"
        factory.create_home(home, "", "", "main")
        async with factory.open_provider(home, "", {"listen": ("/ip4/127.0.0.1/tcp/0",)}) as (peer, _):
            address = peer.addresses()[0]
            return await trio.to_thread.run_sync(lambda: _wall_ms(["-c", CLIENT, address], rounds) / 1000)
