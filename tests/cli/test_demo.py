"""The demo over real processes: what it promises, what it survives, and that nothing outlives it."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

TIMEOUT_S = 150
START = re.compile(r"provider (\d) \(…(\w{8})\) starts as process (\d+)")


class Demo:
    """A demo in its own process group, its stderr read line by line."""

    def __init__(self, out_dir: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "p2pcompute", "demo", "--json", "--out-dir", str(out_dir)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.providers: dict[str, int] = {}
        self.lines: list[str] = []

    def watch(self, until: Callable[[str], bool]) -> str:
        """Read lines until one satisfies `until`, or the end ('')."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            if match := START.search(line):
                self.providers[match[2]] = int(match[3])
            if until(line):
                return line
        return ""

    def finish(self) -> dict[str, object]:
        """Read the rest; the object on the last line."""
        self.watch(lambda _: False)
        assert self.process.stdout is not None
        last = self.process.stdout.read().splitlines()[-1]
        assert self.process.wait(TIMEOUT_S) == 0, "".join(self.lines)
        score = json.loads(last)
        assert isinstance(score, dict)
        return score

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    running = Demo(tmp_path)
    yield running
    running.close()


def children_of(pids: list[int]) -> list[int]:
    """The processes whose parent is one of these."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        if parent in pids:
            found.append(int(stat.parent.name))
    return found


def wait_until_gone(pids: list[int]) -> None:
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            assert select.select([descriptor], [], [], 20)[0], f"process {pid} still runs"
        finally:
            os.close(descriptor)


def test_every_task_is_accepted_and_the_liar_is_caught(demo: Demo, tmp_path: Path) -> None:
    score = demo.finish()
    assert score["accepted"] == score["tasks"] == 3
    assert (score["peers"], score["wrong_accepted"], score["liars_caught"]) == (5, 0, 1)
    assert score["receipts_verified"] == 6
    assert Path(str(score["picture"])).read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "evidence.p2p").stat().st_size > 1000
    wait_until_gone(list(demo.providers.values()))


@pytest.mark.parametrize("number", [1, 2])
def test_a_provider_killed_while_it_works_costs_nothing_but_time(demo: Demo, number: int) -> None:
    line = demo.watch(lambda line: f"provider {number}" in line and "takes the task" in line)
    match = re.search(r"…(\w{8})", line)
    assert match is not None
    os.kill(demo.providers[match[1]], signal.SIGKILL)
    score = demo.finish()
    assert score["accepted"] == 3
    assert score["wrong_accepted"] == 0


@pytest.mark.parametrize("moment", ["starts as process", "listens, asks", "takes the task"])
def test_an_interrupt_leaves_no_process_behind(demo: Demo, moment: str) -> None:
    assert demo.watch(lambda line: moment in line)
    providers = list(demo.providers.values())
    workers = children_of([*providers, demo.process.pid])
    demo.process.send_signal(signal.SIGINT)
    demo.watch(lambda _: False)
    assert demo.process.wait(TIMEOUT_S) != 0
    wait_until_gone([*providers, *workers])


def test_a_killed_demo_leaves_no_process_behind(demo: Demo) -> None:
    assert demo.watch(lambda line: "takes the task" in line)
    providers = list(demo.providers.values())
    workers = children_of(providers)
    demo.process.kill()
    wait_until_gone([*providers, *workers])
