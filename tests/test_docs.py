"""The tutorial, typed in: every console command and Python program of it, in order, in an empty directory."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TUTORIAL = Path(__file__).resolve().parent.parent / "docs" / "tutorial.md"
BLOCK = re.compile(r"^```(console|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ADDRESS = re.compile(r"/ip4/127\.0\.0\.1/tcp/…/p2p/12D3KooW…")
"""Stands for the address that the first provider printed."""


class Reader:
    """Somebody who follows the tutorial. What serves, goes on serving, in a terminal of its own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self._environment = {"PATH": path, "HOME": str(directory), "LANG": "C.UTF-8"}
        self._serving: list[subprocess.Popen[str]] = []
        self.address = ""

    def type(self, text: str) -> str:
        """What a command prints."""
        command = ADDRESS.sub(self.address, text)
        if " serve " in command:
            return self._serve(command)
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self._directory,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        return done.stdout

    def _serve(self, command: str) -> str:
        with (self._directory / f"serve{len(self._serving)}.log").open("w") as log:
            process = subprocess.Popen(
                shlex.split(command),
                cwd=self._directory,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self._serving.append(process)
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        self.address = self.address or address
        return address

    def leave(self) -> list[int]:
        """Ctrl-C in every terminal; the exit codes."""
        for process in self._serving:
            process.send_signal(signal.SIGINT)
        for process in self._serving:
            process.communicate(timeout=60)
        return [process.returncode for process in self._serving]

    def kill(self) -> None:
        for process in self._serving:
            process.kill()
            process.communicate()


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    person = Reader(tmp_path)
    yield person
    person.kill()


def fits(shown: str, printed: str) -> bool:
    """Whether `printed` is what the page shows; there, … stands for anything."""
    return re.fullmatch(".*".join(map(re.escape, shown.split("…"))), printed) is not None


def test_the_tutorial_does_what_it_says(reader: Reader, tmp_path: Path) -> None:
    blocks = BLOCK.findall(TUTORIAL.read_text(encoding="utf-8"))
    assert {kind for kind, _ in blocks} == {"console", "python"}
    for kind, text in blocks:
        if kind == "python":
            (tmp_path / "program.py").write_text(ADDRESS.sub(reader.address, text))
            assert reader.type("python program.py").strip() == text.rpartition("  # ")[2].partition("\n")[0]
            continue
        for command, shown in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE):
            printed = reader.type(command)
            assert not shown or fits(shown.strip(), printed.strip()), f"{command}\n{printed}"
    assert reader.leave() == [0, 0]
