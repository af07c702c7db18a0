"""What the owner of this machine does with it: processors, terminals, keyboard and mouse. Linux only, needs nothing.

Each source is read where it may be and says nothing otherwise; `Inputs.sources` names those that can be read.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import select
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_TERMINALS: Final = ("/dev/pts/[0-9]*", "/dev/tty[1-9]*")
_INPUT_EVENTS: Final = "/dev/input/event*"
_KEYBOARD: Final = re.compile(r"^\s*\w+:((?:\s+\d+)+)\s.*\bi8042\b", re.MULTILINE)
_EVENT_BYTES: Final = 4_096
_DEVICES_MAX: Final = 256


class Processors:
    """The share of all processors that processes other than this one and its workers use, from look to look."""

    def __init__(self, proc: Path = _PROC) -> None:
        self._proc = proc
        self._busy, self._total = self._all_ticks()
        self._own: dict[int, int] = {}

    def others_percent(self, workers: Iterable[int]) -> float:
        """Since the last look, in per cent of all processors; 0 when no time has passed. `workers`: ids of live
        children; those that ended count with this process."""
        own = {pid: ticks for pid in (os.getpid(), *workers) if (ticks := self._ticks_of(pid)) is not None}
        spent = sum(ticks - self._own.get(pid, ticks) for pid, ticks in own.items())
        busy, total = self._all_ticks()
        passed, used = total - self._total, busy - self._busy
        self._busy, self._total, self._own = busy, total, own
        return 100.0 * max(0, used - spent) / passed if passed > 0 else 0.0

    def _all_ticks(self) -> tuple[int, int]:
        """Busy ones and all since the machine started: proc(5), /proc/stat."""
        with contextlib.suppress(OSError, ValueError):
            values = [int(word) for word in (self._proc / "stat").read_text().split("\n", 1)[0].split()[1:9]]
            return sum(values) - values[3] - values[4], sum(values)
        return 0, 0

    def _ticks_of(self, pid: int) -> int | None:
        """User and system time of a process and of its ended children; None when it is gone."""
        try:
            fields = (self._proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
            return sum(int(word) for word in fields[11:15])
        except (OSError, ValueError):
            return None


class Inputs:
    """When somebody last touched this machine. Close with `close`."""

    def __init__(
        self, proc: Path = _PROC, terminals: tuple[str, ...] = _TERMINALS, events: str = _INPUT_EVENTS
    ) -> None:
        self._proc, self._terminals = proc, terminals
        self._devices: list[int] = []
        for path in sorted(glob.glob(events))[:_DEVICES_MAX]:
            with contextlib.suppress(OSError):
                self._devices.append(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        self._interrupts = self._count_interrupts()
        self._touched_s: float | None = None

    @property
    def sources(self) -> tuple[str, ...]:
        """What can be read here, in words."""
        return tuple(
            name
            for name, readable in (
                ("terminals", bool(self._terminal_times())),
                ("keyboard interrupts", self._interrupts is not None),
                (f"{len(self._devices)} input devices", bool(self._devices)),
            )
            if readable
        )

    def close(self) -> None:
        """Let the devices go."""
        while self._devices:
            os.close(self._devices.pop())

    def idle_s(self, wall_s: float) -> float | None:
        """Seconds since the last input that was seen, at Unix time `wall_s`; None when nothing here can tell."""
        interrupts = self._count_interrupts()
        if interrupts != self._interrupts or self._drained():
            self._interrupts, self._touched_s = interrupts, wall_s
        times = [*self._terminal_times(), *([] if self._touched_s is None else [self._touched_s])]
        return max(0.0, wall_s - max(times)) if times else None

    def _terminal_times(self) -> list[float]:
        """When each terminal was last read from, which is when a line or key was typed there."""
        times = []
        for pattern in self._terminals:
            for path in glob.glob(pattern)[:_DEVICES_MAX]:
                with contextlib.suppress(OSError):
                    times.append(os.stat(path).st_atime)
        return times

    def _count_interrupts(self) -> int | None:
        """Of the PS/2 controller, which laptops' keyboards and touchpads use."""
        try:
            rows = _KEYBOARD.findall((self._proc / "interrupts").read_text())
        except OSError:
            return None
        return sum(int(word) for row in rows for word in row.split()) if rows else None

    def _drained(self) -> bool:
        """Whether any device had events; they are thrown away unread."""
        touched = False
        ready, _, _ = select.select(self._devices, [], [], 0) if self._devices else ([], [], [])
        for descriptor in ready:
            try:
                while data := os.read(descriptor, _EVENT_BYTES):
                    touched = touched or bool(data)
            except BlockingIOError:
                pass
            except OSError:  # unplugged
                self._devices.remove(descriptor)
                os.close(descriptor)
        return touched
