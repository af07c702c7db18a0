"""The command line under test: in this process, or as processes of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from p2pcompute.cli.app import run

TIMEOUT_S = 60


class Command:
    """Runs commands in this process and keeps what the last one printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.out = self.err = ""

    def __call__(self, *arguments: object) -> int:
        self._capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        self.out, self.err = self._capsys.readouterr()
        return code

    @property
    def last(self) -> Any:
        """The JSON value on the last line of stdout."""
        return json.loads(self.out.splitlines()[-1])


class Provider:
    """`p2pcompute serve` on a free port of the loopback interface."""

    def __init__(self, home: Path, *options: str) -> None:
        self.home = home
        if not home.exists():
            assert run(["init", "--home", str(home), "--no-passphrase"]) == 0
        self.process = start(
            "serve", "--json", "--home", home, "--listen", "/ip4/127.0.0.1/tcp/0", "--memory", "64MiB", *options
        )
        assert self.process.stdout is not None
        first = self.process.stdout.readline()
        assert first, self.process.communicate()[1]
        self.listening: dict[str, Any] = json.loads(first)

    @property
    def address(self) -> str:
        return str(self.listening["addresses"][0])

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Exit code and the rest of stdout."""
        self.process.send_signal(number)
        out, _ = self.process.communicate(timeout=TIMEOUT_S)
        return self.process.returncode, out


def start(*arguments: object) -> subprocess.Popen[str]:
    """A command as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "p2pcompute", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


@contextmanager
def serving(home: Path, *options: str) -> Iterator[Provider]:
    """A provider for as long as the block runs."""
    provider = Provider(home, *options)
    try:
        yield provider
    finally:
        if provider.process.poll() is None:
            provider.process.kill()
        provider.process.communicate()


def descendants(pid: int) -> set[int]:
    """Live processes under `pid`, by /proc."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    found: set[int] = set()
    while more := {child for child, parent in parents.items() if parent in found | {pid}} - found:
        found |= more
    return found


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
